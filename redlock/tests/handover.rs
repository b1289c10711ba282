//! Leases that go from task to task without asking the nodes, and the moments in which that could
//! go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redlock::{Cause, Guard, LockError, NodeState, Redlock, RestartGuard, SimNode};
use testkit::RedisServer;

use crate::support::{SECOND, command, connected, impatient, lock_keys, millis, over};

/// The value under which `resource` is held on every node that holds it.
async fn holder(redlock: &Redlock, resource: &str) -> Vec<u8> {
    let inspection = redlock.inspect(resource).await;
    let values = inspection.nodes.iter().filter_map(|node| node.state.value().map(<[u8]>::to_vec));
    let values: std::collections::BTreeSet<_> = values.collect();
    assert_eq!(values.len(), 1, "one holder: {inspection}");
    values.into_iter().next().unwrap()
}

async fn nobody_holds(redlock: &Redlock, servers: &[RedisServer]) {
    assert!(redlock.close(5 * SECOND).await);
    testkit::eventually(5 * SECOND, || async { lock_keys(servers).await.is_empty() }).await;
}

/// Locks `resource` in a task of its own, and gives it the time to stand in the line.
async fn queued(redlock: &Redlock, resource: &'static str) -> tokio::task::JoinHandle<Result<Guard, LockError>> {
    let task = tokio::spawn(redlock.lock(resource).into_future());
    // It stands in the line by the first time it is polled.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    task
}

fn simulated(nodes: &[SimNode], ttl: Duration) -> Redlock {
    let builder = nodes.iter().fold(Redlock::builder(), |builder, node| builder.node(node.clone()));
    builder.ttl(ttl).restart_guard(RestartGuard::Off).build().unwrap()
}

/// A lease that reserved tokens, because somebody waited behind when it was won.
async fn with_tokens(redlock: &Redlock, resource: &'static str) -> Guard {
    let before = redlock.lock(resource).await.unwrap();
    let first = queued(redlock, resource).await;
    let second = queued(redlock, resource).await;
    before.release().await.unwrap();
    let first = first.await.unwrap().unwrap();
    second.abort();
    let _ = second.await;
    first
}

#[tokio::test]
async fn who_asks_first_is_served_first() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("order:42").await.unwrap();
    let mut served = tokio::task::JoinSet::new();
    let turns = Arc::new(AtomicU64::new(0));
    for place in 0..32 {
        let (request, turns) = (redlock.lock("order:42"), Arc::clone(&turns));
        served.spawn(async move {
            let guard = request.await.unwrap();
            let turn = turns.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(millis(1)).await;
            drop(guard);
            (place, turn)
        });
        tokio::task::yield_now().await;
    }
    drop(guard);
    while let Some(done) = served.join_next().await {
        let (place, turn) = done.unwrap();
        assert_eq!(place, turn);
    }
    nobody_holds(&redlock, &servers).await;
}

#[tokio::test]
async fn a_long_line_is_served_with_few_commands_and_growing_tokens() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let mut before = 0;
    for server in &servers {
        before += scripts_sent(server).await;
    }
    let guard = redlock.lock("order:42").await.unwrap();
    let last = Arc::new(AtomicU64::new(guard.fence().get()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (request, last) = (redlock.lock("order:42"), Arc::clone(&last));
        tasks.spawn(async move {
            let guard = request.await.unwrap();
            let token = guard.fence().get();
            assert!(last.swap(token, Ordering::SeqCst) < token, "tokens grow");
            assert!(guard.is_valid());
        });
    }
    tokio::task::yield_now().await;
    drop(guard);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    nobody_holds(&redlock, &servers).await;
    let mut after = 0;
    for server in &servers {
        after += scripts_sent(server).await;
    }
    let sections = 201;
    assert!(after - before < i64::from(sections), "{} commands for {sections} sections on 3 nodes", after - before);
    // Whoever comes from elsewhere gets a larger one all the same.
    let guard = connected(&servers).await.lock("order:42").await.unwrap();
    assert!(guard.fence().get() > last.load(Ordering::SeqCst));
}

async fn scripts_sent(server: &RedisServer) -> i64 {
    let stats = command(server, &["INFO", "commandstats"]).await;
    let calls = |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse().ok();
    stats.text().unwrap().lines().find_map(calls).unwrap_or(0)
}

/// In paused time, so that the moment in which the process may keep the lease does not pass.
#[tokio::test(start_paused = true)]
async fn the_same_keys_and_ttl_are_handed_over_with_the_next_token() {
    let nodes = [SimNode::new("a"), SimNode::new("b"), SimNode::new("c")];
    let redlock = simulated(&nodes, 10 * SECOND);
    let first = with_tokens(&redlock, "order:42").await;
    let (value, token) = (holder(&redlock, "order:42").await, first.fence().get());
    let waiter = queued(&redlock, "order:42").await;
    first.release().await.unwrap();
    let second = waiter.await.unwrap().unwrap();
    assert_eq!(holder(&redlock, "order:42").await, value, "it is the same claim");
    assert_eq!(second.fence().get(), token + 1);
    drop(second);
    assert!(nodes.iter().all(SimNode::is_empty));
}

#[tokio::test]
async fn another_ttl_is_asked_of_the_nodes() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = over(&servers).max_ttl(60 * SECOND).build().unwrap();
    let first = with_tokens(&redlock, "order:42").await;
    let value = holder(&redlock, "order:42").await;
    let waiter = tokio::spawn(redlock.lock("order:42").ttl(30 * SECOND).into_future());
    tokio::task::yield_now().await;
    first.release().await.unwrap();
    let second = waiter.await.unwrap().unwrap();
    assert_ne!(holder(&redlock, "order:42").await, value, "another claim");
    assert!(second.validity() > 20 * SECOND);
    drop(second);
    nobody_holds(&redlock, &servers).await;
}

#[tokio::test]
async fn other_keys_are_asked_of_the_nodes() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let first = with_tokens(&redlock, "sku:1").await;
    let value = holder(&redlock, "sku:1").await;
    let both = tokio::spawn(redlock.lock(["sku:1", "sku:2"]).into_future());
    tokio::time::timeout(millis(50), async {
        while !both.is_finished() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_err();
    first.release().await.unwrap();
    let both = both.await.unwrap().unwrap();
    assert_ne!(holder(&redlock, "sku:1").await, value);
    assert_eq!(holder(&redlock, "sku:1").await, holder(&redlock, "sku:2").await);
    drop(both);
    nobody_holds(&redlock, &servers).await;
}

#[tokio::test]
async fn a_floor_above_the_tokens_left_is_asked_of_the_nodes() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let first = with_tokens(&redlock, "order:42").await;
    let floor = first.fence().get() + 1_000_000_000;
    let waiter = tokio::spawn(redlock.lock("order:42").fence_floor(floor).into_future());
    tokio::task::yield_now().await;
    first.release().await.unwrap();
    assert!(waiter.await.unwrap().unwrap().fence().get() > floor);
    nobody_holds(&redlock, &servers).await;
}

/// In paused time: what is left is known to the millisecond.
#[tokio::test(start_paused = true)]
async fn a_lease_with_little_time_left_is_extended_before_it_is_taken() {
    let nodes = [SimNode::new("a"), SimNode::new("b"), SimNode::new("c")];
    let redlock = simulated(&nodes, millis(160));
    for (held, extended) in [(10, false), (90, true)] {
        let before = redlock.lock("order:42").await.unwrap();
        let request = || tokio::spawn(redlock.lock("order:42").renew(false).into_future());
        let (first, second) = (request(), request());
        tokio::task::yield_now().await;
        before.release().await.unwrap();
        let first = first.await.unwrap().unwrap();
        let value = holder(&redlock, "order:42").await;
        tokio::time::sleep(millis(held)).await;
        assert_eq!(first.validity() <= millis(80), extended, "{:?}", first.validity());
        first.release().await.unwrap();
        let second = second.await.unwrap().unwrap();
        assert_eq!(holder(&redlock, "order:42").await, value, "it was handed over");
        assert_eq!(second.validity() > millis(150), extended, "{:?}", second.validity());
        assert!(second.validity() > millis(80));
        drop(second);
    }
}

/// It cannot be extended, and what is left is not worth taking.
#[tokio::test(start_paused = true)]
async fn a_lease_with_little_time_left_that_cannot_be_extended_is_not_taken() {
    let nodes = [SimNode::new("a"), SimNode::new("b"), SimNode::new("c")];
    let redlock = simulated(&nodes, millis(160));
    let before = redlock.lock("order:42").await.unwrap();
    let request = || tokio::spawn(redlock.lock("order:42").renew(false).wait(SECOND).into_future());
    let (first, second) = (request(), request());
    tokio::task::yield_now().await;
    before.release().await.unwrap();
    let first = first.await.unwrap().unwrap();
    tokio::time::sleep(millis(90)).await;
    nodes[1..].iter().for_each(SimNode::stop);
    first.release().await.unwrap();
    let error = second.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, LockError::TimedOut { last, .. } if matches!(**last, LockError::Unavailable { .. })),
        "{error}"
    );
}

/// The lease is passed to a waiter in the very moment in which that one is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_waiter_that_vanishes_in_that_moment_leaks_nothing() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    for turn in 0..300_u64 {
        let guard = redlock.lock("order:42").wait(5 * SECOND).await.unwrap();
        let vanishing: Vec<_> = (0..3)
            .map(|_| {
                let request = redlock.lock("order:42").wait(5 * SECOND);
                // Who is served before it vanishes lets go.
                tokio::spawn(async move { drop(request.await) })
            })
            .collect();
        let staying = tokio::spawn(redlock.lock("order:42").wait(5 * SECOND).into_future());
        let spin = Instant::now();
        while spin.elapsed() < Duration::from_micros(turn % 100) {
            std::hint::spin_loop();
        }
        let dropping = tokio::spawn(async move { drop(guard) });
        for task in &vanishing {
            task.abort();
        }
        dropping.await.unwrap();
        let started = Instant::now();
        drop(staying.await.unwrap().unwrap());
        assert!(started.elapsed() < SECOND, "nobody holds what was passed to who is gone");
        for task in vanishing {
            let _ = task.await;
        }
    }
    nobody_holds(&redlock, &servers).await;
}

#[tokio::test]
async fn alone_who_is_dropped_leaves_the_line_at_once() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("order:42").await.unwrap();
    let first = queued(&redlock, "order:42").await;
    let second = queued(&redlock, "order:42").await;
    first.abort();
    let _ = first.await;
    guard.release().await.unwrap();
    let started = Instant::now();
    second.await.unwrap().unwrap().release().await.unwrap();
    assert!(started.elapsed() < SECOND);
    nobody_holds(&redlock, &servers).await;
}

#[tokio::test]
async fn a_lost_guard_that_nobody_drops_holds_nobody_up() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = over(&servers).ttl(millis(600)).build().unwrap();
    let forgotten = redlock.lock("order:42").renew(false).await.unwrap();
    let started = Instant::now();
    // Looked at later, so that whoever waits for its end waits for longer than this.
    let left = forgotten.validity();
    let mut waiters = Vec::new();
    for _ in 0..3 {
        waiters.push(queued(&redlock, "order:42").await);
    }
    for waiter in waiters {
        waiter.await.unwrap().unwrap().release().await.unwrap();
    }
    let waited = started.elapsed();
    assert!(waited >= left, "{waited:?} of {left:?}: it was still held");
    assert!(waited < 3 * SECOND, "{waited:?}");
    assert!(!forgotten.is_valid());
    let fence = forgotten.fence();
    drop(forgotten);
    assert!(redlock.lock("order:42").await.unwrap().fence() > fence);
    nobody_holds(&redlock, &servers).await;
}

#[tokio::test]
async fn a_wait_that_runs_out_behind_others_says_what_it_waited_for() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("order:42").await.unwrap();
    let _before = queued(&redlock, "order:42").await;
    let started = Instant::now();
    let error = redlock.lock("order:42").wait(millis(200)).await.unwrap_err();
    assert!(started.elapsed() >= millis(200));
    let LockError::TimedOut { last, .. } = error else { panic!("{error}") };
    let LockError::Contended { retry_after, .. } = *last else { panic!("{last}") };
    assert!(retry_after > SECOND && retry_after <= 10 * SECOND, "{retry_after:?}");
    drop(guard);
}

#[tokio::test]
async fn a_wait_that_runs_out_behind_others_tells_an_outage_from_a_holder() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = impatient(&servers).await;
    for server in &servers {
        server.kill().await.unwrap();
    }
    let _before = queued(&redlock, "order:42").await;
    let error = redlock.lock("order:42").wait(millis(500)).await.unwrap_err();
    let LockError::TimedOut { last, .. } = error else { panic!("{error}") };
    let LockError::Unavailable { nodes, .. } = *last else { panic!("{last}") };
    assert!(nodes.iter().all(|node| matches!(node.cause, Cause::Refused | Cause::Timeout)), "{nodes:?}");
}

/// Sixteen tasks of one process take turns without a pause; one of another wants in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_another_process_gets_its_turn() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let (redlock, other) = (connected(&servers).await, connected(&servers).await);
    let busy: Vec<_> = (0..16)
        .map(|_| {
            let redlock = redlock.clone();
            tokio::spawn(async move {
                loop {
                    let guard = redlock.lock("order:42").wait(None).await.unwrap();
                    tokio::time::sleep(millis(1)).await;
                    drop(guard);
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let started = Instant::now();
        let guard = other.lock("order:42").await.unwrap();
        assert!(started.elapsed() < 2 * SECOND, "{:?}", started.elapsed());
        guard.release().await.unwrap();
    }
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    for task in busy {
        let _ = task.await;
    }
    nobody_holds(&redlock, &servers).await;
}

/// Who lets go and asks again at once does so before it is known that others wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_one_task_gives_way_too() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let until = Instant::now() + 3 * SECOND;
    let mut tasks = Vec::new();
    for number in 0..2 {
        let redlock = connected(&servers).await;
        tasks.push(tokio::spawn(async move {
            let mut turns = 0_u32;
            while Instant::now() < until {
                let guard = redlock.lock("order:42").wait(None).await.unwrap();
                tokio::task::yield_now().await;
                turns += 1;
                if number == 0 {
                    drop(guard);
                } else {
                    guard.release().await.unwrap();
                }
            }
            assert!(redlock.close(5 * SECOND).await);
            turns
        }));
    }
    let mut turns = Vec::new();
    for task in tasks {
        turns.push(task.await.unwrap());
    }
    let sum: u32 = turns.iter().sum();
    assert!(turns.iter().all(|turns| *turns >= sum / 8), "{turns:?}");
    println!("{turns:?}");
}

/// A release is noticed by its notice, long before a poll would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_waiter_of_another_process_is_woken_by_the_release() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let (redlock, other) = (connected(&servers).await, connected(&servers).await);
    let mut waits = Vec::new();
    for _ in 0..21 {
        let guard = redlock.lock("order:42").await.unwrap();
        let waiter = tokio::spawn(other.lock("order:42").into_future());
        // Long enough for its polls to have become rare.
        tokio::time::sleep(millis(150)).await;
        let released = Instant::now();
        drop(guard);
        let guard = waiter.await.unwrap().unwrap();
        waits.push(released.elapsed());
        drop(guard);
    }
    let median = crate::support::median(waits);
    // A poll would come after 50 ms on average.
    assert!(median < millis(20), "{median:?}");
    nobody_holds(&redlock, &servers).await;
}

#[tokio::test]
async fn without_waiters_nothing_is_listened_to() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let (redlock, other) = (connected(&servers).await, connected(&servers).await);
    let listeners = || async {
        let told = command(&servers[0], &["PUBSUB", "NUMSUB", "redlock:released:order:42"]).await;
        format!("{told:?}")
    };
    let nobody = listeners().await;
    let guard = redlock.lock("order:42").await.unwrap();
    let waiter = queued(&other, "order:42").await;
    testkit::eventually(5 * SECOND, || async { listeners().await != nobody }).await;
    waiter.abort();
    let _ = waiter.await;
    testkit::eventually(5 * SECOND, || async { listeners().await == nobody }).await;
    assert!(matches!(redlock.inspect("order:42").await.nodes[0].state, NodeState::Held { .. }));
    drop(guard);
}

/// Eight tasks keep one key busy inside this process; somebody waits for it and another one together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_who_waits_for_several_keys_gets_them_from_those_who_hand_on_one() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let busy: Vec<_> = (0..8).map(|_| tokio::spawn(keep_busy(redlock.clone(), "a"))).collect();
    tokio::time::sleep(millis(200)).await;
    for _ in 0..10 {
        let asked = Instant::now();
        let guard = redlock.lock(["a", "b"]).wait(5 * SECOND).await.unwrap();
        let waited = asked.elapsed();
        println!("waited {waited:?}");
        assert!(waited < millis(500), "{waited:?}");
        guard.release().await.unwrap();
        // Whoever asks again at once is there before the others.
        tokio::time::sleep(millis(150)).await;
    }
    assert!(busy.iter().all(|task| !task.is_finished()));
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    for task in busy {
        let _ = task.await;
    }
    nobody_holds(&redlock, &servers).await;
}

async fn keep_busy(redlock: Redlock, resource: &'static str) {
    loop {
        let guard = redlock.lock(resource).await.unwrap();
        tokio::time::sleep(millis(1)).await;
        guard.release().await.unwrap();
    }
}

/// Futures that are kept and not polled, as `select!` and buffered streams keep them.
#[tokio::test(start_paused = true)]
async fn who_stands_first_and_is_not_polled_holds_up_nobody() {
    let redlock = simulated(&[SimNode::new("node")], 10 * SECOND);
    let guard = redlock.lock("order:42").await.unwrap();
    let mut first = Box::pin(redlock.lock("order:42").wait(None).into_future());
    assert!((&mut first).now_or_never().is_none());
    let behind = queued(&redlock, "order:42").await;
    guard.release().await.unwrap();
    let waited = tokio::time::Instant::now();
    let guard = behind.await.unwrap().unwrap();
    assert!(waited.elapsed() <= SECOND, "{:?}", waited.elapsed());
    // And the lease does not go to somebody who is not there to take it.
    let last = queued(&redlock, "order:42").await;
    guard.release().await.unwrap();
    drop(last.await.unwrap().unwrap());
    drop(first.await.unwrap());
}
