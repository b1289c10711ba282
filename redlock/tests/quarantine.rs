//! Nodes that may have forgotten a lease stay out, and it is said which and for how long.

use std::time::Duration;

use redlock::{Cause, LockError, Redlock, RestartGuard, TtlProblem};
use testkit::{RedisServer, Restart};

use crate::support::{SECOND, command, connected, millis, over, warm_up};

/// With the restart guard, and all nodes past it.
async fn guarded(servers: &[RedisServer], ttl: Duration) -> Redlock {
    let redlock = over(servers).ttl(ttl).restart_guard(RestartGuard::MaxTtl).build().unwrap();
    testkit::eventually(30 * SECOND, || async {
        redlock.preflight().await.nodes.iter().all(|node| node.barred.is_none() && node.info.is_ok())
    })
    .await;
    redlock
}

/// All of them at once, so that of a lease that stands meanwhile enough is left to look at.
async fn restart_empty(servers: &[RedisServer]) {
    let restarts = servers.iter().map(|server| server.restart(Restart::Empty));
    futures_util::future::join_all(restarts).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test]
async fn three_of_five_restarted_empty_help_nobody_while_a_lease_stands() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = guarded(&servers, 4 * SECOND).await;
    let other = guarded(&servers, 4 * SECOND).await;
    let guard = redlock.lock("job").renew(false).await.unwrap();
    restart_empty(&servers[..3]).await;
    let mut tries = 0;
    while guard.is_valid() {
        match other.try_lock("job").await {
            Ok(_) => panic!("a second holder while the first is valid"),
            Err(LockError::Unavailable { nodes, .. }) => {
                tries += usize::from(nodes.iter().any(|n| matches!(n.cause, Cause::Quarantined { .. })));
            }
            Err(LockError::Contended { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(millis(50)).await;
    }
    assert!(tries > 10, "the restarted nodes were asked {tries} times");
    drop(guard);
    // They are let in again, and nothing is stuck.
    other.lock("job").wait(20 * SECOND).await.unwrap().release().await.unwrap();
    let long = other.try_lock("job").ttl(6 * SECOND).await.unwrap_err();
    let LockError::InvalidTtl { problem: TtlProblem::AboveMax { max_ttl }, .. } = long else { panic!("{long:?}") };
    assert_eq!(max_ttl, 4 * SECOND, "a longer lease than the quarantine covers is refused");
}

/// The same without the guard: this is what it is for.
#[tokio::test]
async fn without_the_guard_three_of_five_restarted_empty_let_a_second_holder_in() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let (redlock, other) = (connected(&servers).await, connected(&servers).await);
    let guard = redlock.lock("job").ttl(9 * SECOND).renew(false).await.unwrap();
    restart_empty(&servers[..3]).await;
    testkit::eventually(3 * SECOND, || async { other.try_lock("job").await.is_ok() }).await;
    assert!(guard.is_valid());
}

#[tokio::test]
async fn fresh_nodes_are_waited_for_and_said_to_be_out() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = over(&servers).ttl(4 * SECOND).restart_guard(RestartGuard::MaxTtl).build().unwrap();
    let error = redlock.try_lock("job").await.unwrap_err();
    let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
    assert!(nodes.len() >= 2, "{error}");
    for node in nodes {
        let Cause::Quarantined { remaining } = node.cause else { panic!("{error}") };
        assert!(remaining <= millis(5_042), "ttl, drift and a second: {remaining:?}");
    }
    assert!(error.to_string().contains("restarted lately"), "{error}");
    let preflight = redlock.preflight().await;
    assert!(!preflight.has_quorum(), "{preflight}");
    assert!(preflight.warnings.iter().any(|w| w.contains("does not vote")), "{preflight}");

    let early = redlock.lock("job").wait(millis(100)).await.unwrap_err();
    let LockError::TimedOut { last, .. } = &early else { panic!("{early:?}") };
    assert!(last.to_string().contains("restarted lately"), "{early}");
    redlock.lock("job").wait(10 * SECOND).await.unwrap().release().await.unwrap();
    assert!(redlock.preflight().await.has_quorum());
}

#[tokio::test]
async fn a_server_under_two_names_is_an_error_with_both() {
    let servers = RedisServer::fleet(4).await.unwrap();
    let (url, port) = (servers[0].url(), servers[0].port());
    let alias = format!("redis://localhost:{port}");
    // The other three would be a quorum of the five; but there are only four.
    let redlock = Redlock::builder()
        .nodes(servers.iter().map(RedisServer::url).chain([alias.clone()]))
        .restart_guard(RestartGuard::Off)
        .node_timeout(2 * SECOND)
        .build()
        .unwrap();
    for _ in 0..3 {
        let error = redlock.try_lock("job").await.unwrap_err();
        assert!(matches!(error, LockError::Unavailable { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(&url) && message.contains(&alias), "{message}");
        assert!(message.contains("the same server as"), "{message}");
    }
    let preflight = redlock.preflight().await.to_string();
    assert!(preflight.contains(&format!("the same server as {alias}")), "{preflight}");
}

#[tokio::test]
async fn a_replica_does_not_vote() {
    let servers = RedisServer::fleet(2).await.unwrap();
    let port = servers[0].port().to_string();
    command(&servers[1], &["REPLICAOF", "127.0.0.1", &port]).await;
    let redlock = over(&servers[1..]).build().unwrap();
    let error = redlock.try_lock("job").await.unwrap_err();
    let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
    assert_eq!(nodes[0].cause, Cause::Replica, "{error}");
    assert!(redlock.preflight().await.to_string().contains("replica"));
}

#[tokio::test]
async fn preflight_tells_what_could_drop_locks() {
    let servers = RedisServer::fleet(2).await.unwrap();
    command(&servers[0], &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    command(&servers[1], &["ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-info"]).await;
    let blind = format!("redis://blind:pw@{}", servers[1].addr());
    let redlock = Redlock::builder().nodes([servers[0].url(), blind]).build().unwrap();
    let preflight = redlock.preflight().await;
    let warnings = preflight.warnings.join("\n");
    assert!(warnings.contains("allkeys-lru"), "{warnings}");
    assert!(warnings.contains("INFO is not permitted"), "{warnings}");
    assert!(warnings.contains("use an odd number"), "{warnings}");
    let info = preflight.nodes[0].info.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(info.run_id.len(), 40, "{info:?}");
    assert!(info.clock_ahead_ms.abs() < 1_000, "{info:?}");
    assert_eq!(preflight.nodes[1].barred, None, "without INFO there is no quarantine");
}

#[tokio::test]
async fn a_dead_node_is_told_by_preflight() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    warm_up(&redlock).await;
    servers[1].kill().await.unwrap();
    let preflight = redlock.preflight().await;
    assert!(preflight.nodes[1].info.is_err(), "{preflight}");
    assert!(preflight.has_quorum());
    assert!(preflight.warnings.iter().any(|warning| warning.contains(&servers[1].url())), "{preflight}");
}
