//! The scripts on a real server: forgotten, reloaded, and in order all the same.

use std::time::Duration;

use redlock::Released;
use testkit::RedisServer;

use crate::support::{SECOND, command, connected, lock_keys, over};

#[tokio::test]
async fn scripts_a_server_forgot_are_loaded_again_unnoticed() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    for round in 0..5 {
        for server in &servers {
            command(server, &["SCRIPT", "FLUSH"]).await;
        }
        let guard = redlock.try_lock(format!("order:{round}")).await.unwrap();
        for server in &servers {
            command(server, &["SCRIPT", "FLUSH"]).await;
        }
        guard.extend(SECOND).await.unwrap();
        for server in &servers {
            command(server, &["SCRIPT", "FLUSH"]).await;
        }
        assert_eq!(guard.release().await.unwrap(), Released::Released);
    }
    assert!(redlock.close(SECOND).await);
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

/// Acquires sent again must not overtake releases that ran meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_flushed_under_load_leave_no_key() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = over(&servers).ttl(60 * SECOND).build().unwrap();
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let redlock = redlock.clone();
            tokio::spawn(async move {
                for cycle in 0..400 {
                    // Dropped half-way as often as not, so that releases follow at once.
                    let request = redlock.try_lock(format!("{worker}:{cycle}"));
                    let patience = Duration::from_micros(50 * (cycle % 20));
                    let _ = tokio::time::timeout(patience, request.into_future()).await;
                }
            })
        })
        .collect();
    // Other clients come and bring the script back in between: releases run whose acquires did not.
    while !workers.iter().all(|worker| worker.is_finished()) {
        for server in &servers {
            command(server, &["SCRIPT", "FLUSH"]).await;
        }
        let _ = over(&servers).build().unwrap().try_lock("another").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(redlock.close(10 * SECOND).await);
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

#[tokio::test]
async fn a_release_is_published_on_the_channel_of_its_key() {
    let server = RedisServer::start().await.unwrap();
    let redlock = over(std::slice::from_ref(&server)).key_prefix("redlock:").build().unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut subscription = client.get_async_pubsub().await.unwrap();
    subscription.subscribe("redlock:released:redlock:order:42").await.unwrap();
    redlock.lock("order:42").await.unwrap().release().await.unwrap();
    let mut messages = subscription.into_on_message();
    let message = futures_util::StreamExt::next(&mut messages);
    let message = tokio::time::timeout(SECOND, message).await.unwrap().unwrap();
    assert_eq!(message.get_channel_name(), "redlock:released:redlock:order:42");
}
