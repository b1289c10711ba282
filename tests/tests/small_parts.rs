//! The small parts: ports that stay ours, waiting for a condition, servers named by the environment.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testkit::{FaultError, Port, RedisServer, Reply, SqlServer, StartError, eventually};

#[test]
fn a_port_is_free_and_below_the_ephemeral_ones_and_claimed() {
    let port = Port::draw().unwrap();
    assert!((10_000..=30_000).contains(&port.number()));
    std::net::TcpListener::bind(port.addr()).unwrap();
    assert!(UdpSocket::bind(port.addr()).is_err(), "another process would take it for free");
    let addr = port.addr();
    drop(port);
    UdpSocket::bind(addr).unwrap();
}

#[tokio::test]
async fn eventually_waits_until_the_condition_holds() {
    let looks = AtomicU32::new(0);
    eventually(Duration::from_secs(5), async || looks.fetch_add(1, Ordering::Relaxed) == 3).await;
    assert_eq!(looks.load(Ordering::Relaxed), 4);
}

#[tokio::test]
#[should_panic(expected = "small_parts.rs")]
async fn eventually_gives_up_and_names_the_line() {
    let never = eventually(Duration::from_millis(20), || async { false });
    tokio::time::timeout(Duration::from_secs(5), never).await.unwrap();
}

#[tokio::test]
async fn a_named_redis_is_used_and_not_hurt() {
    let real = RedisServer::builder().arg("--requirepass").arg("secret").start().await.unwrap();
    let url = format!("redis://:secret@127.0.0.1:{}/3", real.port());
    let named = RedisServer::named(&url).unwrap();
    assert_eq!(named.url(), url);
    assert_eq!(named.command(&["SET", "k", "v"]).await.unwrap(), Reply::from("OK"));
    assert!(real.keys("*").await.is_empty(), "it went to another database");
    assert_eq!(named.keys("*").await, ["k"]);
    assert!(matches!(named.kill().await, Err(FaultError::NotOurs { .. })));
    drop(named);
    assert_eq!(real.command(&["PING"]).await.unwrap(), Reply::from("PONG"));
}

#[tokio::test]
async fn a_named_database_is_used_and_not_hurt() {
    let real = SqlServer::start().await.unwrap();
    let sql = "CREATE USER u@'127.0.0.1' IDENTIFIED BY 'secret'";
    real.query("", sql).await.unwrap();
    real.query("", "GRANT ALL ON *.* TO u@'127.0.0.1'").await.unwrap();
    let url = format!("mysql://u:secret@127.0.0.1:{}/test", real.port());
    let named = SqlServer::named(&url).unwrap();
    named.create_database("other").await.unwrap();
    assert_eq!(named.url("other"), format!("mysql://u:secret@127.0.0.1:{}/other", real.port()));
    let rows = named.query("other", "SELECT CURRENT_USER(), NULL").await.unwrap();
    assert_eq!(rows, [[Some("u@127.0.0.1".to_owned()), None]]);
    assert!(matches!(named.restart().await, Err(FaultError::NotOurs { .. })));
    drop(named);
    assert!(real.query("other", "SELECT 1").await.is_ok());
}

#[test]
fn a_url_that_cannot_be_read_is_shown() {
    for url in ["", "localhost:6379", "http://127.0.0.1"] {
        assert!(matches!(RedisServer::named(url), Err(StartError::Named { .. })), "{url}");
        assert!(matches!(SqlServer::named(url), Err(StartError::Named { .. })), "{url}");
    }
}
