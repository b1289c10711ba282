//! What several tests need: managers over servers, and a look at what is left on them.

use std::time::Duration;

use redlock::{Builder, Redlock, RestartGuard};
use testkit::{RedisServer, Reply};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A configuration over `servers`, to be changed. They were started a moment ago, so the restart
/// guard is off. It is patient with nodes, because tests share
/// their cores; tests that measure time take the default.
pub(crate) fn over(servers: &[RedisServer]) -> Builder {
    Redlock::builder()
        .nodes(servers.iter().map(RedisServer::url))
        .node_timeout(2 * SECOND)
        .restart_guard(RestartGuard::Off)
}

/// A manager over `servers` whose connections are up.
pub(crate) async fn connected(servers: &[RedisServer]) -> Redlock {
    warmed_up(over(servers)).await
}

/// The same with the default node timeout: for what measures time, or must run into it.
pub(crate) async fn impatient(servers: &[RedisServer]) -> Redlock {
    warmed_up(over(servers).node_timeout(millis(50))).await
}

async fn warmed_up(builder: Builder) -> Redlock {
    let redlock = builder.build().unwrap();
    warm_up(&redlock).await;
    redlock
}

/// Waits until every node answers.
pub(crate) async fn warm_up(redlock: &Redlock) {
    testkit::eventually(5 * SECOND, || async {
        let inspection = redlock.inspect("warm-up").await;
        inspection.nodes.iter().all(|node| node.state == redlock::NodeState::Free)
    })
    .await;
}

/// All lock keys on all `servers`; fencing counters are not lock keys.
pub(crate) async fn lock_keys(servers: &[RedisServer]) -> Vec<String> {
    let mut keys = Vec::new();
    for server in servers {
        keys.extend(server.keys("*").await);
    }
    keys.retain(|key| !key.starts_with("redlock:fence:"));
    keys
}

/// Runs a command on `server` from outside, which must be taken.
pub(crate) async fn command(server: &RedisServer, command: &[&str]) -> Reply {
    match server.command(command).await.unwrap() {
        Reply::Error(error) => panic!("{command:?}: {error}"),
        reply => reply,
    }
}

/// The `p`th percentile.
pub(crate) fn percentile(mut times: Vec<Duration>, p: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * p / 100).min(times.len() - 1)]
}

pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}
