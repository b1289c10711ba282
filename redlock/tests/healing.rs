//! Leases outlive the nodes they were won on, and never come back once they are over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redlock::{LockError, LossReason, Node, Redlock, Request, Responder, RestartGuard, SimNode};
use testkit::{RedisServer, Restart};

use crate::support::{SECOND, command, connected, lock_keys, millis, over, warm_up};

#[tokio::test]
async fn a_held_lock_survives_a_rolling_restart_of_every_node() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let (redlock, contender) = (connected(&servers).await, connected(&servers).await);
    let guard = redlock.lock("job").ttl(3 * SECOND).await.unwrap();
    testkit::eventually(millis(2_500), || async { lock_keys(&servers).await.len() == 5 }).await;
    let ours = command(&servers[0], &["GET", "job"]).await.text().unwrap().as_bytes().to_vec();
    let contended = tokio::spawn(async move {
        for _ in 0.. {
            match contender.try_lock("job").ttl(3 * SECOND).await {
                Ok(_) => return "another client got the lock",
                Err(LockError::Contended { .. } | LockError::Unavailable { .. }) => {}
                Err(_) => return "neither contended nor unavailable",
            }
            tokio::time::sleep(millis(20)).await;
        }
        "unreachable"
    });
    for (node, server) in servers.iter().enumerate() {
        server.restart(Restart::Empty).await.unwrap();
        testkit::eventually(20 * SECOND, || async {
            let inspection = redlock.inspect("job").await;
            inspection.nodes[node].state.value() == Some(&ours[..])
        })
        .await;
        assert!(!contended.is_finished(), "{node}: {}", contended.await.unwrap());
        assert!(guard.is_valid(), "after node {node}");
    }
    assert!(guard.is_valid());
    let inspection = redlock.inspect("job").await;
    let held = inspection.nodes.iter().filter(|node| node.state.value() == Some(&ours[..])).count();
    assert!(held >= 4, "{inspection}");
    assert!(!contended.is_finished(), "{}", contended.await.unwrap());
    contended.abort();
    guard.release().await.unwrap();
    assert!(redlock.close(millis(2_500)).await);
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

#[tokio::test]
async fn several_keys_are_healed_together_or_not_at_all() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock(["a", "b"]).renew(false).await.unwrap();
    testkit::eventually(5 * SECOND, || async { servers[0].keys("[ab]").await.len() == 2 }).await;
    command(&servers[0], &["DEL", "a"]).await;
    guard.extend(5 * SECOND).await.unwrap();
    testkit::eventually(5 * SECOND, || async { servers[0].keys("[ab]").await.len() == 2 }).await;

    command(&servers[0], &["DEL", "a"]).await;
    command(&servers[0], &["SET", "b", "another"]).await;
    guard.extend(5 * SECOND).await.unwrap();
    guard.extend(5 * SECOND).await.unwrap();
    assert_eq!(servers[0].keys("[ab]").await, ["b"], "another's key stops the heal of both");
    drop(guard);
    assert!(redlock.close(millis(2_500)).await);
    assert_eq!(lock_keys(&servers).await, ["b"]);
}

#[tokio::test]
async fn a_heal_records_the_token() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("job").ttl(2 * SECOND).await.unwrap();
    servers[0].restart(Restart::Empty).await.unwrap();
    testkit::eventually(10 * SECOND, || async { servers[0].keys("job").await.len() == 1 }).await;
    let counter = command(&servers[0], &["GET", "redlock:fence:{job}"]).await;
    assert_eq!(counter.text(), Some(guard.fence().to_string().as_str()));
}

#[tokio::test]
async fn an_expired_lease_is_not_resurrected() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("job").ttl(millis(300)).renew(false).await.unwrap();
    assert_eq!(guard.lost().await, LossReason::Deadline);
    assert!(guard.extend(10 * SECOND).await.is_err());
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

/// An extend and a heal reach a hung node long after the lock was released.
#[tokio::test]
async fn a_late_heal_or_extend_leaves_no_key_behind() {
    let servers = RedisServer::fleet(5).await.unwrap();
    // Two nodes are out, so all the others must answer within it, on a busy machine too.
    let redlock = over(&servers).node_timeout(millis(500)).build().unwrap();
    warm_up(&redlock).await;
    for hang in [millis(300), 7 * SECOND] {
        let guard = redlock.lock("job").renew(false).await.unwrap();
        testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.len() == 5 }).await;
        command(&servers[0], &["DEL", "job"]).await;
        servers[4].pause().await.unwrap();
        // The heal of node 0 waits for node 4 until the node timeout; by then node 0 hangs too.
        guard.extend(10 * SECOND).await.unwrap();
        servers[0].pause().await.unwrap();
        guard.extend(10 * SECOND).await.unwrap();
        tokio::time::sleep(millis(700)).await;
        drop(guard);
        tokio::time::sleep(hang).await;
        for node in [0, 4] {
            servers[node].resume().await.unwrap();
        }
        warm_up(&redlock).await;
        assert!(redlock.close(5 * SECOND).await);
        testkit::eventually(2 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
    }
}

#[tokio::test]
async fn alone_a_lock_is_held_no_longer_than_allowed() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let guard = redlock.lock("job").ttl(millis(600)).max_hold(millis(1_500)).await.unwrap();
    tokio::time::sleep(millis(1_000)).await;
    assert!(guard.is_valid(), "renewed until then");
    assert!(guard.validity() <= millis(510), "{:?}", guard.validity());
    assert_eq!(guard.lost().await, LossReason::MaxHold);
    assert!(guard.extend(millis(600)).await.is_err(), "and not beyond");
    let other = over(&servers).build().unwrap();
    other.lock("job").wait(2 * SECOND).await.unwrap().release().await.unwrap();
}

/// The acquire never reached the node; the heal did, and so must the release.
#[tokio::test]
async fn a_node_that_joined_by_a_heal_is_released_too() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    servers[2].kill().await.unwrap();
    // Until it is known to be down, a request might have reached it.
    testkit::eventually(5 * SECOND, || async { redlock.inspect("job").await.nodes[2].to_string().contains("refused") })
        .await;
    let guard = redlock.lock("job").ttl(9 * SECOND).renew(false).await.unwrap();
    servers[2].restart(Restart::Empty).await.unwrap();
    warm_up(&redlock).await;
    guard.extend(9 * SECOND).await.unwrap();
    testkit::eventually(5 * SECOND, || async { servers[2].keys("job").await.len() == 1 }).await;
    drop(guard);
    assert!(redlock.close(5 * SECOND).await);
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

/// A node on whose way a heal is held up until a release has overtaken it, or a moment has passed.
#[derive(Debug)]
struct HeldUp {
    node: SimNode,
    healing: Arc<AtomicBool>,
    healed: Arc<AtomicBool>,
    released: Arc<AtomicBool>,
}

impl Node for HeldUp {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn send(&self, request: Request, responder: Responder) {
        let is_heal = matches!(request, Request::Heal { .. });
        match &request {
            Request::Heal { .. } => {
                self.healing.store(true, Ordering::SeqCst);
                let began = std::time::Instant::now();
                while !self.released.load(Ordering::SeqCst) && began.elapsed() < 3 * SECOND {
                    std::thread::sleep(millis(1));
                }
            }
            Request::Release { .. } => self.released.store(true, Ordering::SeqCst),
            _ => {}
        }
        self.node.send(request, responder);
        if is_heal {
            self.healed.store(true, Ordering::SeqCst);
        }
    }
}

/// It was lost in the moment between the look at it and the heal, and dropped at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heal_is_never_sent_after_the_release_of_a_lost_lease() {
    let nodes: Vec<_> = (0..3).map(|number| SimNode::new(format!("node-{number}"))).collect();
    let (healing, healed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let held_up =
        HeldUp { node: nodes[0].clone(), healing: healing.clone(), healed: healed.clone(), released: Arc::default() };
    let builder = Redlock::builder().node(held_up).node(nodes[1].clone()).node(nodes[2].clone());
    let redlock = builder.restart_guard(RestartGuard::Off).build().unwrap();
    let guard = redlock.lock("job").ttl(9 * SECOND).max_hold(millis(1_500)).renew(false).await.unwrap();
    nodes[0].stop();
    nodes[0].start(false);
    guard.extend(9 * SECOND).await.unwrap();
    testkit::eventually(2 * SECOND, async || healing.load(Ordering::SeqCst)).await;
    assert_eq!(guard.lost().await, LossReason::MaxHold);
    drop(guard);
    assert!(redlock.close(5 * SECOND).await);
    testkit::eventually(2 * SECOND, async || healed.load(Ordering::SeqCst)).await;
    assert!(nodes[0].is_empty(), "the lease was brought back");
}
