//! Nothing is left on any node by locks that were released, abandoned or dropped half-way.

use std::time::Duration;

use rand::RngExt;
use redlock::LockError;
use testkit::RedisServer;

use crate::support::{SECOND, connected, impatient, lock_keys, millis, over};

/// Fails with a client that drops the losing futures: the acquire of a straggler is sent, its
/// release never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_cycles_that_return_at_quorum_leave_no_key() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = connected(&servers).await;
    for cycle in 0..3_000 {
        let guard = redlock.try_lock(format!("cycle:{cycle}")).await.unwrap();
        guard.release().await.unwrap();
    }
    assert!(redlock.close(5 * SECOND).await, "stragglers answer");
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquisitions_dropped_in_their_first_millisecond_leave_no_key() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = over(&servers).ttl(30 * SECOND).build().unwrap();
    crate::support::warm_up(&redlock).await;
    let mut acquired = 0;
    for attempt in 0..400 {
        let patience = Duration::from_micros(rand::rng().random_range(0..1_000));
        // Half of them hold on to the guard for a moment, the others never see it.
        let request = redlock.try_lock(format!("dropped:{attempt}")).into_future();
        let race = async { tokio::time::sleep(patience).await };
        tokio::select! {
            biased;
            () = spin(patience) => {}
            guard = request => { acquired += usize::from(guard.is_ok()); }
            () = race => {}
        }
    }
    println!("{acquired} of 400 came to a guard before they were dropped");
    tokio::time::sleep(millis(700)).await;
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

/// Finer than a timer's millisecond.
async fn spin(patience: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < patience {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_hung_node_was_asked_is_released_once_it_runs_again() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = over(&servers).ttl(60 * SECOND).restart_guard(redlock::RestartGuard::Off).build().unwrap();
    crate::support::warm_up(&redlock).await;
    servers[4].pause().await.unwrap();
    for cycle in 0..200 {
        redlock.try_lock(format!("cycle:{cycle}")).await.unwrap().release().await.unwrap();
    }
    // Longer than a stalled connection is kept: the releases travel on the next one.
    tokio::time::sleep(6 * SECOND).await;
    for cycle in 200..220 {
        redlock.try_lock(format!("cycle:{cycle}")).await.unwrap().release().await.unwrap();
    }
    servers[4].resume().await.unwrap();
    crate::support::warm_up(&redlock).await;
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

/// The connection breaks under a held lock; the release follows on the next connection.
#[tokio::test]
async fn a_release_is_owed_to_a_node_that_was_unreachable() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let proxy = testkit::Proxy::start(servers[0].addr()).await;
    let redlock = redlock::Redlock::builder()
        .nodes([format!("redis://{}", proxy.addr())])
        .ttl(60 * SECOND)
        .restart_guard(redlock::RestartGuard::Off)
        .build()
        .unwrap();
    let guard = redlock.lock("order:42").renew(false).await.unwrap();
    proxy.set(testkit::Mode::BlackHole);
    drop(guard);
    proxy.reset_connections();
    proxy.set(testkit::Mode::Forward);
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

/// A late grant must not outlive the attempt that nobody waited for.
#[tokio::test]
async fn a_grant_that_comes_after_the_timeout_is_released() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = impatient(&servers).await;
    for server in &servers {
        server.pause().await.unwrap();
    }
    let error = redlock.try_lock("order:42").await.unwrap_err();
    assert!(matches!(error, LockError::Unavailable { .. }), "{error:?}");
    for server in &servers {
        server.resume().await.unwrap();
    }
    assert!(redlock.close(5 * SECOND).await);
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}
