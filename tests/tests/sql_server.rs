//! SQL servers: each fault does what it says, and what was committed survives it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::ErrorKind;
use std::time::Duration;

use testkit::{FaultError, SqlServer};

async fn with_a_row() -> SqlServer {
    let server = SqlServer::start().await.unwrap();
    server.query("test", "CREATE TABLE t (a INT PRIMARY KEY, b TEXT)").await.unwrap();
    server.query("test", "INSERT INTO t VALUES (1, 'one'), (2, NULL)").await.unwrap();
    server
}

async fn assert_has_the_row(server: &SqlServer) {
    let rows = server.query("test", "SELECT a, b FROM t ORDER BY a").await.unwrap();
    assert_eq!(rows, [[Some("1".to_owned()), Some("one".to_owned())], [Some("2".to_owned()), None]]);
}

#[tokio::test]
async fn a_server_answers_and_makes_databases() {
    let server = SqlServer::start().await.unwrap();
    assert_eq!(server.url("test"), format!("mysql://root@127.0.0.1:{}/test", server.port()));
    server.create_database("a`b").await.unwrap();
    server.create_database("a`b").await.unwrap();
    assert!(server.query("a`b", "SELECT 1").await.is_ok());
    let error = server.query("absent", "SELECT 1").await.unwrap_err();
    assert!(error.to_string().contains("Unknown database"), "{error}");
    let long = server.query("", "SELECT REPEAT('x', 70000)").await.unwrap();
    assert_eq!(long[0][0].as_ref().unwrap().len(), 70_000);
}

#[tokio::test]
async fn restarted_it_has_its_rows_also_from_killed_and_paused() {
    let server = with_a_row().await;
    server.restart().await.unwrap();
    assert_has_the_row(&server).await;
    server.kill().await.unwrap();
    assert_eq!(server.query("test", "SELECT 1").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(matches!(server.pause().await, Err(FaultError::NotRunning)));
    server.restart().await.unwrap();
    assert_has_the_row(&server).await;
    server.pause().await.unwrap();
    server.restart().await.unwrap();
    assert_has_the_row(&server).await;
}

#[tokio::test]
async fn a_paused_server_answers_nothing_and_later_what_arrived_meanwhile() {
    let server = std::sync::Arc::new(with_a_row().await);
    server.pause().await.unwrap();
    let asking = std::sync::Arc::clone(&server);
    let answer = tokio::spawn(async move { asking.query("test", "SELECT 1").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!answer.is_finished(), "a stopped server answered");
    server.resume().await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap(), [[Some("1".to_owned())]]);
}
