//! Renewal: a held lock stays held, a lost one is announced, an ended one stays ended.

use std::time::Duration;

use redlock::{ExtendError, LockError, LossReason, Redlock, RestartGuard, RunError, SimNetwork, SimNode};
use testkit::{RedisServer, Restart};

use crate::support::{SECOND, command, connected, impatient, millis};

fn simulated(count: usize) -> (Redlock, Vec<SimNode>) {
    let nodes: Vec<_> = (0..count).map(|node| SimNode::new(format!("node-{node}"))).collect();
    let builder = nodes.iter().cloned().fold(Redlock::builder(), redlock::Builder::node);
    (builder.build().unwrap(), nodes)
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_renewed_for_as_long_as_it_lives() {
    let (redlock, nodes) = simulated(5);
    let guard = redlock.lock("job").ttl(9 * SECOND).await.unwrap();
    for _ in 0..600 {
        tokio::time::sleep(SECOND).await;
        assert!(guard.validity() > 5 * SECOND, "{:?}", guard.validity());
        assert!(matches!(redlock.try_lock("job").await, Err(LockError::Contended { .. })));
    }
    drop(guard);
    assert!(nodes.iter().all(SimNode::is_empty));
    tokio::time::sleep(60 * SECOND).await;
    assert!(nodes.iter().all(SimNode::is_empty), "nothing renews a released lock");
}

#[tokio::test(start_paused = true)]
async fn without_renewal_a_lease_ends_at_its_deadline() {
    let (redlock, _) = simulated(3);
    let guard = redlock.lock("job").ttl(9 * SECOND).renew(false).await.unwrap();
    let validity = guard.validity();
    assert_eq!(validity, 9 * SECOND - millis(90 + 2));
    let start = tokio::time::Instant::now();
    assert_eq!(guard.lost().await, LossReason::Deadline);
    let late = start.elapsed() - validity;
    assert!(late < millis(2), "timers have a resolution of a millisecond: {late:?}");
}

#[tokio::test(start_paused = true)]
async fn an_extension_lengthens_and_never_shortens() {
    let (redlock, _) = simulated(3);
    let guard = redlock.lock("job").ttl(8 * SECOND).renew(false).await.unwrap();
    guard.extend(SECOND).await.unwrap();
    assert!(guard.validity() > 7 * SECOND, "{:?}", guard.validity());
    tokio::time::sleep(6 * SECOND).await;
    guard.extend(10 * SECOND).await.unwrap();
    assert!(guard.validity() > 9 * SECOND, "{:?}", guard.validity());
}

#[tokio::test(start_paused = true)]
async fn loss_drops_the_work_and_release_ends_the_watch() {
    let (redlock, nodes) = simulated(3);
    let work = redlock.lock("job").ttl(3 * SECOND).renew(false);
    let ran = work.run(async |_| tokio::time::sleep(60 * SECOND).await).await;
    assert!(matches!(ran, Err(RunError::Lost(LossReason::Deadline))), "{ran:?}");
    assert!(nodes.iter().all(SimNode::is_empty));

    let guard = redlock.lock("job").await.unwrap();
    let lost = tokio::spawn(guard.lost());
    guard.release().await.unwrap();
    assert_eq!(lost.await.unwrap(), LossReason::Released);
}

#[tokio::test(start_paused = true)]
async fn loss_in_the_moment_the_work_ends_wins() {
    let (redlock, _) = simulated(3);
    let work = redlock.lock("job").ttl(3 * SECOND).renew(false);
    // Blocks over the deadline and then ends without another await.
    let ran = work
        .run(async |lease| {
            tokio::time::advance(lease.validity()).await;
            42
        })
        .await;
    assert!(matches!(ran, Err(RunError::Lost(LossReason::Deadline))), "{ran:?}");
}

#[tokio::test]
async fn work_under_a_lock_can_be_spawned() {
    let (redlock, _) = simulated(3);
    let local = String::from("moved in");
    let work = redlock.lock("job").run(async move |lease| {
        tokio::task::yield_now().await;
        lease.extend(SECOND).await.map(|()| local.len())
    });
    assert_eq!(tokio::spawn(work).await.unwrap().unwrap().unwrap(), 8);
}

/// Half of the keys taken away: renewal goes on. One more: no quorum holds it, it is lost at once.
#[tokio::test]
async fn a_lease_that_a_quorum_no_longer_holds_is_lost_before_its_deadline() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("job").ttl(6 * SECOND).await.unwrap();
    for server in &servers[..2] {
        testkit::eventually(millis(2_500), || async { !server.keys("job").await.is_empty() }).await;
        command(server, &["DEL", "job"]).await;
    }
    guard.extend(6 * SECOND).await.expect("three of five still hold it");
    for server in &servers[..3] {
        command(server, &["SET", "job", "another"]).await;
    }
    let extended = guard.extend(6 * SECOND).await;
    assert!(matches!(extended, Err(ExtendError::Lost(LossReason::Quorum))), "{extended:?}");
    assert!(!guard.is_valid());
    assert_eq!(guard.lost().await, LossReason::Quorum);
    assert_eq!(servers[3].keys("job").await, ["job"], "a failed extend deletes nothing");
    drop(guard);
    assert!(redlock.close(5 * SECOND).await);
    assert_eq!(servers[2].keys("job").await, ["job"], "another's key is not touched");
}

/// Extension is counted over all nodes, not over those that granted at first.
#[tokio::test]
async fn an_extension_needs_a_quorum_of_all_nodes() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = connected(&servers).await;
    for server in &servers[..2] {
        server.kill().await.unwrap();
    }
    let guard = redlock.lock("job").ttl(5 * SECOND).renew(false).await.unwrap();
    testkit::eventually(millis(2_500), || async { !servers[4].keys("job").await.is_empty() }).await;
    servers[4].kill().await.unwrap();
    let extended = guard.extend(5 * SECOND).await;
    assert!(matches!(extended, Err(ExtendError::Unavailable { .. })), "{extended:?}");
    assert!(guard.is_valid(), "an outage during an extension is no loss");
    for server in &servers[..2] {
        server.restart(Restart::Empty).await.unwrap();
    }
}

#[tokio::test]
async fn alone_renewal_goes_on_over_a_short_outage() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = impatient(&servers).await;
    let guard = redlock.lock("job").ttl(2 * SECOND).await.unwrap();
    for server in &servers {
        server.pause().await.unwrap();
    }
    tokio::time::sleep(millis(1_000)).await;
    for server in &servers {
        server.resume().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(guard.is_valid(), "a renewal that failed is tried again before the deadline");
}

/// Thousands of leases, and a node that answers nobody for a while: a renewal that comes late is
/// still a renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_many_leases_survive_a_stall() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let redlock = impatient(&servers).await;
    let mut guards = Vec::new();
    for lease in 0..5_000 {
        guards.push(redlock.lock(format!("lease:{lease}")).ttl(6 * SECOND).await.unwrap());
    }
    tokio::time::sleep(SECOND).await;
    servers[0].pause().await.unwrap();
    tokio::time::sleep(millis(2_500)).await;
    servers[0].resume().await.unwrap();
    tokio::time::sleep(4 * SECOND).await;
    let lost = guards.iter().filter(|guard| !guard.is_valid()).count();
    assert_eq!(lost, 0, "of {} leases", guards.len());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The task lives in one runtime, a lease in another, and the first one was the last to be locked in.
#[test]
fn renewal_moves_when_its_runtime_ends_whoever_locked_last() {
    let redlock = Redlock::builder().node(SimNode::new("a")).restart_guard(RestartGuard::Off).build().unwrap();
    let (ending, staying) = (runtime(), runtime());
    let _first = ending.block_on(redlock.lock("first").ttl(6 * SECOND).into_future()).unwrap();
    let held = staying.block_on(redlock.lock("held").ttl(6 * SECOND).into_future()).unwrap();
    let _last = ending.block_on(redlock.lock("last").ttl(6 * SECOND).into_future()).unwrap();
    drop(ending);
    // Longer than a lease lives that nobody renews.
    std::thread::sleep(7 * SECOND);
    assert!(held.is_valid(), "nobody renewed it");
}

/// A runtime of a single thread rests as soon as nobody waits in it.
#[test]
fn renewal_moves_to_a_runtime_that_does_not_rest() {
    let redlock = Redlock::builder().node(SimNode::new("a")).restart_guard(RestartGuard::Off).build().unwrap();
    let (ending, staying) = (runtime(), runtime());
    let resting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _first = ending.block_on(redlock.lock("first").ttl(6 * SECOND).into_future()).unwrap();
    let held = staying.block_on(redlock.lock("held").ttl(6 * SECOND).into_future()).unwrap();
    let _last = resting.block_on(redlock.lock("last").ttl(6 * SECOND).into_future()).unwrap();
    drop(ending);
    // Longer than a lease lives that nobody renews.
    std::thread::sleep(7 * SECOND);
    assert!(held.is_valid(), "nobody renewed it");
}

/// The runtime ends while the answer to a renewal is on its way.
#[test]
fn a_renewal_that_ends_with_its_runtime_is_made_up_for() {
    let (nodes, ending, staying) = (runtime(), runtime(), runtime());
    let node = SimNode::new("a").over(SimNetwork::new(), 1);
    let link = node.link();
    let redlock = Redlock::builder().node(node).restart_guard(RestartGuard::Off).build().unwrap();
    nodes.block_on(redlock.inspect("warm-up"));
    let _first = ending.block_on(redlock.lock("first").ttl(6 * SECOND).renew(false).into_future()).unwrap();
    let held = staying.block_on(redlock.lock("held").ttl(6 * SECOND).into_future()).unwrap();
    // Renewed after 1500 to 2000 ms; the answer takes 1200.
    link.set(SimNetwork::new().latency(millis(600)..=millis(600)));
    std::thread::sleep(millis(2_300));
    drop(ending);
    link.set(SimNetwork::new());
    std::thread::sleep(5 * SECOND);
    assert!(held.is_valid(), "nobody renewed it");
}

/// Four thousand leases are renewed by some hundred commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_travel_together() {
    const LEASES: usize = 4_000;
    let server = RedisServer::start().await.unwrap();
    let redlock = connected(std::slice::from_ref(&server)).await;
    let mut guards = Vec::with_capacity(LEASES);
    for lease in 0..LEASES {
        guards.push(redlock.lock(format!("lease:{lease}")).ttl(6 * SECOND).await.unwrap());
    }
    command(&server, &["CONFIG", "RESETSTAT"]).await;
    let counts = async || {
        let stats = command(&server, &["INFO", "commandstats"]).await;
        let stats = stats.text().unwrap().to_owned();
        let count = |name: &str| -> usize {
            let calls = |line: &str| line.strip_prefix(name)?.split(',').next()?.parse().ok();
            stats.lines().find_map(calls).unwrap_or(0)
        };
        // Each renewal looks whose the key is, and nothing else does.
        (count("cmdstat_get:calls="), count("cmdstat_evalsha:calls="))
    };
    testkit::eventually(20 * SECOND, async || counts().await.0 >= 2 * LEASES).await;
    let (renewals, commands) = counts().await;
    println!("{renewals} renewals in {commands} commands");
    assert!(commands * 4 < renewals, "{renewals} renewals in {commands} commands");
    assert!(guards.iter().all(redlock::Guard::is_valid));
}
