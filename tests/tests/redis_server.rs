//! Redis servers: each fault does what it says.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use testkit::{FaultError, RedisServer, Reply, Restart, cli};

async fn set(server: &RedisServer, key: &str) {
    assert_eq!(server.command(&["SET", key, "v"]).await.unwrap(), Reply::from("OK"));
}

#[tokio::test]
async fn a_server_answers_and_has_its_own_data() {
    let (one, two) = (RedisServer::start().await.unwrap(), RedisServer::start().await.unwrap());
    assert_eq!(cli(one.addr(), &["SET", "k", "v"]).await, Reply::from("OK"));
    assert_eq!(cli(one.addr(), &["GET", "k"]).await, Reply::from("v"));
    assert_eq!(cli(two.addr(), &["GET", "k"]).await, Reply::Nil);
    assert_eq!(cli(one.addr(), &["EXISTS", "k"]).await, Reply::Int(1));
    assert_eq!(cli(one.addr(), &["MGET", "k", "x"]).await, Reply::List(vec![Reply::from("v"), Reply::Nil]));
    assert!(matches!(cli(one.addr(), &["NONSENSE"]).await, Reply::Error(error) if error.contains("unknown command")));
    assert_eq!(one.keys("*").await, ["k"]);
    assert_eq!(one.url(), format!("redis://127.0.0.1:{}", one.port()));
}

#[tokio::test]
async fn a_fleet_is_as_many_different_servers_as_asked_for() {
    let fleet = RedisServer::fleet(5).await.unwrap();
    let mut ports: Vec<_> = fleet.iter().map(RedisServer::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 5);
}

#[tokio::test]
async fn a_killed_server_refuses_connections() {
    let server = RedisServer::start().await.unwrap();
    server.kill().await.unwrap();
    let error = server.command(&["PING"]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(matches!(server.pause().await, Err(FaultError::NotRunning)));
    assert!(matches!(server.resume().await, Err(FaultError::NotRunning)));
    server.kill().await.unwrap();
}

#[tokio::test]
async fn a_paused_server_answers_nothing_and_later_what_arrived_meanwhile() {
    let server = RedisServer::start().await.unwrap();
    server.pause().await.unwrap();
    let addr = server.addr();
    let answer = tokio::spawn(async move { cli(addr, &["PING"]).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!answer.is_finished(), "a stopped server answered");
    server.resume().await.unwrap();
    assert_eq!(answer.await.unwrap(), Reply::from("PONG"));
}

#[tokio::test]
async fn restarted_empty_it_has_no_keys() {
    for persistent in [false, true] {
        let server = RedisServer::builder().persistent(persistent).start().await.unwrap();
        let port = server.port();
        set(&server, "k").await;
        server.restart(Restart::Empty).await.unwrap();
        assert!(server.keys("*").await.is_empty());
        assert_eq!(server.port(), port);
        set(&server, "k").await;
    }
}

#[tokio::test]
async fn restarted_with_data_it_has_its_keys_also_from_killed_and_paused() {
    let server = RedisServer::builder().persistent(true).start().await.unwrap();
    set(&server, "a").await;
    server.restart(Restart::WithData).await.unwrap();
    set(&server, "b").await;
    server.kill().await.unwrap();
    server.restart(Restart::WithData).await.unwrap();
    set(&server, "c").await;
    server.pause().await.unwrap();
    server.restart(Restart::WithData).await.unwrap();
    assert_eq!(server.keys("*").await, ["a", "b", "c"]);
}

#[tokio::test]
async fn without_persistence_there_is_no_data_to_restart_with() {
    let server = RedisServer::start().await.unwrap();
    assert!(matches!(server.restart(Restart::WithData).await, Err(FaultError::NotPersistent)));
    assert_eq!(server.command(&["PING"]).await.unwrap(), Reply::from("PONG"));
}

#[tokio::test]
async fn a_password_is_asked_from_others_and_sent_by_us() {
    let server = RedisServer::builder().arg("--requirepass").arg("secret").start().await.unwrap();
    assert!(matches!(cli(server.addr(), &["PING"]).await, Reply::Error(error) if error.starts_with("NOAUTH")));
    assert_eq!(server.command(&["PING"]).await.unwrap(), Reply::from("PONG"));
}

#[tokio::test]
async fn a_setting_that_the_server_refuses_is_shown_in_its_words() {
    let error = RedisServer::builder().arg("--no-such-setting").arg("1").start().await.unwrap_err();
    assert!(error.to_string().contains("no-such-setting"), "{error}");
}

#[tokio::test]
async fn restarted_with_much_data_it_is_ready_when_all_of_it_is_read() {
    let slow = RedisServer::builder().persistent(true).arg("--key-load-delay").arg("50");
    let server = slow.start().await.unwrap();
    let many = "for i = 1, 4000 do redis.call('SET', 'k' .. i, 'v') end";
    assert_eq!(server.command(&["EVAL", many, "0"]).await.unwrap(), Reply::Nil);
    server.restart(Restart::WithData).await.unwrap();
    assert_eq!(server.command(&["DBSIZE"]).await.unwrap(), Reply::Int(4000));
}
