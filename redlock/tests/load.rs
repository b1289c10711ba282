//! More at once than nodes can do at once: it takes its time, and nothing is lost.

use std::time::Instant;

use futures_util::FutureExt as _;
use redlock::{Guard, Redlock, RestartGuard, SimNetwork, SimNode};
use testkit::{Mode, Proxy, RedisServer};
use tokio::task::JoinSet;

use crate::support::{SECOND, millis, over, warm_up};

async fn take(redlock: &Redlock, leases: usize) -> Vec<Guard> {
    let mut tasks = JoinSet::new();
    (0..leases).for_each(|lease| drop(tasks.spawn(redlock.lock(format!("lease:{lease}")).into_future())));
    tasks.join_all().await.into_iter().map(Result::unwrap).collect()
}

fn lost(guards: &[Guard]) -> usize {
    guards.iter().filter(|guard| !guard.is_valid()).count()
}

/// Every renewal has a quorum at once; the third answer never comes in time.
#[tokio::test(start_paused = true)]
async fn a_silent_node_holds_up_no_renewals() {
    let nodes: Vec<_> = (0..3_u64)
        .map(|number| {
            let quick = SimNetwork::new().latency(millis(1)..=millis(1));
            SimNode::new(format!("node-{number}")).over(quick, number)
        })
        .collect();
    let silent = nodes[2].link();
    let builder = nodes.into_iter().fold(Redlock::builder(), redlock::Builder::node);
    let builder = builder.ttl(3 * SECOND).node_timeout(SECOND).restart_guard(RestartGuard::Off);
    let redlock = builder.build().unwrap();
    let guards = take(&redlock, 1_500).await;
    silent.set(SimNetwork::new().latency(12 * SECOND..=12 * SECOND).notice(600 * SECOND));
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(lost(&guards), 0, "of {}", guards.len());
}

/// Two commands a round trip, each with what has come meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_many_leases_over_a_long_way_are_renewed() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await;
    let builder = Redlock::builder().nodes([format!("redis://{}", proxy.addr())]).node_timeout(SECOND);
    let redlock = builder.ttl(4 * SECOND).restart_guard(RestartGuard::Off).build().unwrap();
    warm_up(&redlock).await;
    let guards = take(&redlock, 5_000).await;
    proxy.set(Mode::Delay(millis(20)));
    // Long enough for each to be renewed twice, and lost if it was not.
    tokio::time::sleep(8 * SECOND).await;
    assert_eq!(lost(&guards), 0, "of {}", guards.len());
}

/// Each task has a key of its own, and all of them want it in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_herd_on_free_keys_gets_through() {
    let servers = RedisServer::fleet(3).await.unwrap();
    // Fresh: that it has to meet its nodes first is part of it.
    let redlock = over(&servers).node_timeout(millis(50)).build().unwrap();
    let started = Instant::now();
    let guards = take(&redlock, 12_000).await;
    eprintln!("{} locks after {:?}", guards.len(), started.elapsed());
    assert_eq!(lost(&guards), 0);
}

/// Futures that were polled once and are kept, as `select!` and buffered streams keep them.
#[tokio::test(start_paused = true)]
async fn who_is_not_polled_any_more_holds_nobody_up() {
    let near = SimNetwork::new().latency(millis(1)..=millis(1));
    let node = SimNode::new("node").over(near, 1);
    let redlock = Redlock::builder().node(node).restart_guard(RestartGuard::Off).build().unwrap();
    // The first of all has begun to meet the nodes.
    let mut first = Box::pin(redlock.lock("first").into_future());
    assert!((&mut first).now_or_never().is_none());
    drop(redlock.lock("second").wait(SECOND).await.unwrap());
    // These have all the room there is.
    let mut begun: Vec<_> = (0..2_000).map(|key| Box::pin(redlock.lock(key.to_string()).into_future())).collect();
    assert!(begun.iter_mut().all(|request| request.now_or_never().is_none()));
    drop(redlock.lock("third").wait(5 * SECOND).await.unwrap());
    drop(redlock.try_lock("fourth").await.unwrap());
}
