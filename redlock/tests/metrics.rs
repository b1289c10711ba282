//! What is counted and timed, seen by a recorder.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use redlock::{LockError, Redlock, RestartGuard, SimNode};

use crate::support::{SECOND, millis};

/// Names with their labels, and what they stand at; of histograms, how many values there are.
fn seen(recorder: &DebuggingRecorder) -> BTreeMap<String, u64> {
    let all = recorder.snapshotter().snapshot().into_vec();
    let line = |(key, _, _, value): (metrics_util::CompositeKey, _, _, _)| {
        let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Gauge(_) => 0,
            DebugValue::Histogram(values) => values.len() as u64,
        };
        ([vec![key.key().name().to_owned()], labels].concat().join(" "), count)
    };
    all.into_iter().map(line).collect()
}

async fn everything() {
    let nodes: Vec<_> = (0..3).map(|number| SimNode::new(format!("node-{number}"))).collect();
    let builder = nodes.iter().cloned().fold(Redlock::builder(), redlock::Builder::node);
    let redlock = builder.ttl(SECOND).restart_guard(RestartGuard::Off).build().unwrap();
    let guard = redlock.lock("a").await.unwrap();
    assert!(matches!(redlock.try_lock("a").await, Err(LockError::Contended { .. })));
    // Whoever is next sees somebody behind, and hands the lease over.
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(tokio::spawn(redlock.lock("a").into_future()));
        tokio::time::sleep(millis(10)).await;
    }
    guard.release().await.unwrap();
    waiting.remove(0).await.unwrap().unwrap().release().await.unwrap();
    let guard = waiting.remove(0).await.unwrap().unwrap();
    // Renewed, given back to a node that has lost it, and then lost because no node has it any more.
    tokio::time::sleep(SECOND).await;
    nodes[0].stop();
    nodes[0].start(false);
    tokio::time::sleep(SECOND).await;
    nodes.iter().for_each(|node| {
        node.stop();
        node.start(false);
    });
    guard.lost().await;
    redlock.lock("b").renew(false).await.unwrap().lost().await;
    redlock.lock("c").max_hold(millis(100)).await.unwrap().lost().await;
}

/// Commands are timed where there are any.
#[test]
fn commands_are_timed_by_node() {
    let recorder = DebuggingRecorder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = ::metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let server = testkit::RedisServer::start().await.unwrap();
            let redlock = crate::support::connected(std::slice::from_ref(&server)).await;
            redlock.lock("a").await.unwrap().release().await.unwrap();
            server.url()
        })
    });
    let seen = seen(&recorder);
    let timed = seen.get(&format!("redlock_command_seconds {node}")).copied().unwrap_or_default();
    assert!(timed >= 3, "to get to know it, to acquire and to release: {seen:#?}");
}

#[test]
fn what_happens_is_counted() {
    let recorder = DebuggingRecorder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    ::metrics::with_local_recorder(&recorder, || runtime.block_on(everything()));
    let seen = seen(&recorder);
    let at = |name: &str| seen.get(name).copied().unwrap_or_default();
    for (name, count) in [
        ("redlock_attempts_total won", 4),
        ("redlock_attempts_total contended", 1),
        ("redlock_round_seconds", 5),
        ("redlock_wait_seconds", 5),
        ("redlock_handovers_total", 1),
        ("redlock_held_seconds", 5),
        ("redlock_validity_left_seconds", 2),
        ("redlock_lost_total quorum", 1),
        ("redlock_lost_total deadline", 1),
        ("redlock_lost_total max_hold", 1),
        ("redlock_heals_total", 1),
    ] {
        assert_eq!(at(name), count, "{name}: {seen:#?}");
    }
    assert!(at("redlock_votes_total yes") >= 2 && at("redlock_renewals_total extended") >= 2, "{seen:#?}");
    assert_eq!(at("redlock_renewals_total lost"), 1, "{seen:#?}");
}
