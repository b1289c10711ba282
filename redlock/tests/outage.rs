//! Nodes that hang, die or come back: what it costs, and what is said of it.

use std::time::{Duration, Instant};

use redlock::{Cause, LockError, NodeState, Redlock, RestartGuard, SimNode};
use testkit::{RedisServer, Restart};

use crate::support::{SECOND, connected, impatient, lock_keys, median, millis, percentile, warm_up};

const ROUND: usize = 300;

/// Acquire times of one round of sequential locks on keys of their own.
async fn acquire_p99(redlock: &Redlock, label: &str) -> Duration {
    let mut times = Vec::with_capacity(ROUND);
    for lock in 0..ROUND {
        let start = Instant::now();
        let guard = redlock.try_lock(format!("{label}:{lock}")).await.unwrap();
        times.push(start.elapsed());
        guard.release().await.unwrap();
    }
    percentile(times, 99)
}

/// Healthy and faulty rounds in turn, three of each; the fault goes to two other nodes each time.
#[tokio::test]
async fn alone_two_hung_nodes_of_five_do_not_slow_an_acquire() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = impatient(&servers).await;
    acquire_p99(&redlock, "warm").await;
    let (mut healthy, mut hung) = (Vec::new(), Vec::new());
    for round in 0..3 {
        healthy.push(acquire_p99(&redlock, "healthy").await);
        let pair = [&servers[round], &servers[round + 2]];
        for server in pair {
            server.pause().await.unwrap();
        }
        hung.push(acquire_p99(&redlock, "hung").await);
        for server in pair {
            server.resume().await.unwrap();
        }
        warm_up(&redlock).await;
    }
    assert_close(healthy, hung);
}

#[tokio::test]
async fn alone_two_dead_nodes_of_five_do_not_slow_an_acquire() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = impatient(&servers).await;
    acquire_p99(&redlock, "warm").await;
    let (mut healthy, mut dead) = (Vec::new(), Vec::new());
    for round in 0..3 {
        healthy.push(acquire_p99(&redlock, "healthy").await);
        let pair = [&servers[round], &servers[round + 2]];
        for server in pair {
            server.kill().await.unwrap();
        }
        dead.push(acquire_p99(&redlock, "dead").await);
        for server in pair {
            server.restart(Restart::Empty).await.unwrap();
        }
        warm_up(&redlock).await;
    }
    assert_close(healthy, dead);
}

fn assert_close(healthy: Vec<Duration>, faulty: Vec<Duration>) {
    let (healthy, faulty) = (median(healthy), median(faulty));
    println!("acquire p99: healthy {healthy:?}, faulty {faulty:?}");
    assert!(faulty <= 3 * healthy + millis(2), "healthy {healthy:?}, faulty {faulty:?}");
}

#[tokio::test]
async fn alone_three_dead_nodes_of_five_are_an_outage_with_each_cause() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = impatient(&servers).await;
    for server in &servers[..3] {
        server.kill().await.unwrap();
    }
    for attempt in 0..3 {
        let start = Instant::now();
        let error = redlock.try_lock("order:42").await.unwrap_err();
        assert!(start.elapsed() < millis(250), "attempt {attempt}: {:?}", start.elapsed());
        let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
        for server in &servers[..3] {
            let failure = nodes.iter().find(|failure| failure.node == server.url());
            assert_eq!(failure.expect("named").cause, Cause::Refused, "{error}");
        }
        assert_eq!(nodes.len(), 3, "{error}");
    }
}

#[tokio::test]
async fn alone_three_hung_nodes_of_five_are_an_outage_by_timeout() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = impatient(&servers).await;
    for server in &servers[..3] {
        server.pause().await.unwrap();
    }
    let start = Instant::now();
    let error = redlock.try_lock("order:42").await.unwrap_err();
    assert!(start.elapsed() < millis(250), "{:?}", start.elapsed());
    let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
    assert!(nodes.iter().all(|failure| failure.cause == Cause::Timeout), "{error}");
    assert_eq!(nodes.len(), 3, "{error}");
}

#[tokio::test]
async fn two_dead_nodes_of_four_are_an_answer() {
    let servers = RedisServer::fleet(4).await.unwrap();
    let redlock = impatient(&servers).await;
    for server in &servers[..2] {
        server.kill().await.unwrap();
    }
    let error = tokio::time::timeout(5 * SECOND, redlock.try_lock("order:42")).await.unwrap();
    assert!(matches!(error, Err(LockError::Unavailable { .. })), "{error:?}");
}

#[tokio::test]
async fn an_outage_is_waited_out() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = impatient(&servers).await;
    for server in &servers {
        server.kill().await.unwrap();
    }
    let error = redlock.lock("order:42").wait(millis(50)).await.unwrap_err();
    let LockError::TimedOut { last, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*last, LockError::Unavailable { .. }), "{last:?}");
    let waiting = tokio::spawn(redlock.lock("order:42").wait(20 * SECOND).into_future());
    for server in &servers {
        server.restart(Restart::Empty).await.unwrap();
    }
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

/// A node that hangs for longer than its connection is kept is connected to again once it runs again.
#[tokio::test]
async fn a_connection_that_stalls_is_given_up_and_replaced() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let redlock = impatient(&servers).await;
    servers[0].pause().await.unwrap();
    let cause = || async {
        match redlock.try_lock("order:42").await.unwrap_err() {
            LockError::Unavailable { nodes, .. } => nodes[0].clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(cause().await.cause, Cause::Timeout);
    // Later it is known to be down, and requests fail without waiting for the node timeout.
    testkit::eventually(20 * SECOND, || async { !cause().await.detail.is_empty() }).await;
    servers[0].resume().await.unwrap();
    redlock.lock("order:42").wait(10 * SECOND).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn inspect_tells_free_held_and_failed_apart() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("order:42").await.unwrap();
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.len() == 3 }).await;
    crate::support::command(&servers[1], &["DEL", "order:42"]).await;
    servers[2].kill().await.unwrap();
    let inspection = redlock.inspect("order:42").await;
    let NodeState::Held { value, remaining, .. } = &inspection.nodes[0].state else { panic!("{inspection}") };
    assert!(remaining.is_some(), "{inspection}");
    let owner = format!(":{}:", std::process::id());
    assert!(String::from_utf8_lossy(value).contains(&owner), "{inspection}");
    assert_eq!(inspection.nodes[1].state, NodeState::Free, "{inspection}");
    assert!(matches!(inspection.nodes[2].state, NodeState::Error(_)), "{inspection}");
    drop(guard);

    let refused = redlock.inspect("x".repeat(2_000)).await;
    assert!(refused.to_string().contains("2000 bytes long"), "{refused}");
}

/// It is the nodes' silence, however short the ttl was.
#[tokio::test]
async fn silence_within_a_short_ttl_is_an_outage() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    for server in &servers {
        server.pause().await.unwrap();
    }
    let error = redlock.try_lock("order:42").ttl(millis(100)).await.unwrap_err();
    for server in &servers {
        server.resume().await.unwrap();
    }
    let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
    assert!(nodes.len() == 3 && nodes.iter().all(|node| node.cause == Cause::Timeout), "{error}");
}

/// A manager meets its nodes before its first lock; that takes as long as their answers, not as they may take.
#[tokio::test(start_paused = true)]
async fn the_first_lock_waits_for_the_answers_of_its_nodes_only() {
    let builder = Redlock::builder().node(SimNode::new("one")).node(SimNode::new("two")).node(SimNode::new("three"));
    let redlock = builder.node_timeout(SECOND).restart_guard(RestartGuard::Off).build().unwrap();
    let asked = tokio::time::Instant::now();
    let guard = redlock.lock("order:42").await.unwrap();
    assert!(asked.elapsed() < millis(100), "{:?}", asked.elapsed());
    guard.release().await.unwrap();
}
