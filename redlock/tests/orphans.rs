//! Nothing is left on any node by locks that were released, abandoned or dropped half-way.

use std::time::{Duration, Instant};

use rand::RngExt;
use redlock::LockError;
use testkit::RedisServer;

use crate::support::{SECOND, connected, impatient, lock_keys, median, millis, over};

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
async fn acquisitions_dropped_on_their_way_leave_no_key() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = over(&servers).ttl(30 * SECOND).build().unwrap();
    crate::support::warm_up(&redlock).await;
    // The first lock of a manager meets all nodes first; here every drop shall hit a round.
    redlock.lock("first").await.unwrap().release().await.unwrap();
    let usual = usual_time(&redlock).await;
    let mut acquired = 0;
    for attempt in 0..400 {
        let patience = usual.mul_f64(rand::rng().random_range(0.0..2.0));
        let request = redlock.try_lock(format!("dropped:{attempt}")).into_future();
        tokio::select! {
            biased;
            () = spin(patience) => {}
            guard = request => { acquired += usize::from(guard.is_ok()); }
        }
    }
    println!("{acquired} of 400 came to a guard before they were dropped");
    assert!((1..400).contains(&acquired), "{acquired}: the drops hit acquisitions on their way");
    assert!(redlock.close(5 * SECOND).await, "stragglers answer");
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

/// How long an acquisition takes on this machine, beside somebody who spins as the test does.
async fn usual_time(redlock: &redlock::Redlock) -> Duration {
    let mut times = Vec::new();
    for number in 0..20 {
        let started = Instant::now();
        let request = redlock.try_lock(format!("usual:{number}")).into_future();
        tokio::select! {
            biased;
            () = spin(30 * SECOND) => panic!("nobody answers"),
            guard = request => {
                times.push(started.elapsed());
                drop(guard.unwrap());
            }
        }
    }
    median(times)
}

/// Finer than a timer's millisecond.
async fn spin(patience: Duration) {
    let start = Instant::now();
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

/// `close` must not say that all is done while a node is yet to be told.
#[tokio::test]
async fn a_release_that_is_owed_is_under_way() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let redlock = over(&servers).ttl(60 * SECOND).build().unwrap();
    let guard = redlock.lock("order:42").renew(false).await.unwrap();
    servers[0].pause().await.unwrap();
    // Until the connection is given up.
    testkit::eventually(20 * SECOND, || async {
        matches!(redlock.try_lock("x").await, Err(LockError::Unavailable { nodes, .. }) if !nodes[0].detail.is_empty())
    })
    .await;
    drop(guard);
    assert!(!redlock.close(millis(100)).await, "the node does not know yet");
    drop(redlock);
    servers[0].resume().await.unwrap();
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

/// A server that is busy with somebody's script refuses the release; it is told afterwards.
#[tokio::test]
async fn a_release_that_a_busy_node_refused_is_sent_again() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let redlock = over(&servers).ttl(60 * SECOND).build().unwrap();
    let guard = redlock.lock("order:42").renew(false).await.unwrap();
    crate::support::command(&servers[0], &["CONFIG", "SET", "busy-reply-threshold", "20"]).await;
    let address = servers[0].addr();
    let busy = tokio::spawn(async move { testkit::cli(address, &["EVAL", "while true do end", "0"]).await });
    testkit::eventually(5 * SECOND, || async {
        matches!(servers[0].command(&["GET", "x"]).await, Ok(testkit::Reply::Error(e)) if e.starts_with("BUSY"))
    })
    .await;
    drop(guard);
    tokio::time::sleep(millis(100)).await;
    crate::support::command(&servers[0], &["SCRIPT", "KILL"]).await;
    let _ = busy.await;
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}
