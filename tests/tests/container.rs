//! MySQL 9 in a container, with the same faults as a child process.

#![cfg(feature = "containers")]

use std::process::Command;
use std::time::Duration;

use testkit::{FaultError, SqlServer};
use tokio::time::timeout;

#[tokio::test]
async fn container_mysql9_survives_its_faults_on_the_same_port() {
    let server = SqlServer::container_mysql9().await.unwrap();
    let port = server.port();
    let version = server.query("test", "SELECT VERSION()").await.unwrap();
    assert!(version[0][0].as_ref().unwrap().starts_with("9."), "{version:?}");
    server.query("test", "CREATE TABLE t (a INT PRIMARY KEY)").await.unwrap();
    server.query("test", "INSERT INTO t VALUES (1)").await.unwrap();

    server.pause().await.unwrap();
    let answer = timeout(Duration::from_millis(500), server.query("test", "SELECT a FROM t")).await;
    assert!(answer.is_err(), "a paused server answered");
    server.resume().await.unwrap();
    assert_eq!(server.query("test", "SELECT a FROM t").await.unwrap(), [[Some("1".to_owned())]]);

    server.kill().await.unwrap();
    assert!(matches!(server.pause().await, Err(FaultError::NotRunning)));
    assert!(server.query("test", "SELECT a FROM t").await.is_err(), "a killed server answered");
    server.restart().await.unwrap();
    assert_eq!(server.query("test", "SELECT a FROM t").await.unwrap(), [[Some("1".to_owned())]]);
    server.pause().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.query("test", "SELECT a FROM t").await.unwrap(), [[Some("1".to_owned())]]);
    assert_eq!(server.port(), port);

    // A frozen container has to go away like any other.
    server.pause().await.unwrap();
    drop(server);
    let left = format!("name=testkit-{}-", std::process::id());
    let listed = Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &left]).output();
    assert_eq!(listed.unwrap().stdout, b"");
}
