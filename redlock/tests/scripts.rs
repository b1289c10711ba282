//! The scripts on a real server: forgotten, reloaded, and in order all the same.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use redlock::node::suite::ask;
use redlock::{Claim, FencingToken, RedisNode, Released, Request};
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
    assert!(redlock.close(5 * SECOND).await);
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
    let message = tokio::time::timeout(5 * SECOND, message).await.unwrap().unwrap();
    assert_eq!(message.get_channel_name(), "redlock:released:redlock:order:42");
}

/// What many operations have in common is told once, and each has its own all the same.
#[tokio::test]
async fn operations_that_travel_together_keep_their_own_terms() {
    let server = RedisServer::start().await.unwrap();
    let node = RedisNode::open(&server.url()).unwrap();
    let token = FencingToken::new(1).unwrap();
    let seconds = Duration::from_secs;
    let claim = |key: usize| Arc::new(Claim::new([key.to_string()].into(), format!("owner {key}")));
    let acquire = |key, ttl: i64| Request::Acquire {
        claim: claim(key),
        ttl: seconds(ttl.unsigned_abs()),
        proposal: token,
        span: 1,
    };
    let extend = |key, ttl: i64| Request::Extend { claim: claim(key), ttl: seconds(ttl.unsigned_abs()), token };
    for key in 0..20 {
        ask(&node, acquire(key, 10)).await.unwrap();
    }
    server.pause().await.unwrap();
    let expected: Vec<(usize, i64)> = (0..40).map(|key| (key, [100, 200, 300][key % 3])).collect();
    let requests = expected.iter().map(|&(key, ttl)| if key < 20 { extend(key, ttl) } else { acquire(key, ttl) });
    let answers: Vec<_> = requests.map(|request| Box::pin(ask(&node, request))).collect();
    let mut answers = futures_util::future::join_all(answers);
    assert!((&mut answers).now_or_never().is_none());
    server.resume().await.unwrap();
    assert!(answers.await.iter().all(Result::is_ok));
    for (key, ttl) in expected {
        let left = command(&server, &["PTTL", &key.to_string()]).await.int().unwrap();
        assert!((ttl * 1000 - 60_000..=ttl * 1000).contains(&left), "{key}: {left} of {ttl} s");
    }
}
