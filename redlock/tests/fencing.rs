//! Tokens grow strictly, whichever nodes are reached and whatever their counters say.

use redlock::{Cause, FencingToken, LockError, Redlock, Released};
use testkit::{RedisServer, Restart};

use crate::support::{SECOND, command, connected, impatient, lock_keys, millis, over, warm_up};

const ACQUISITIONS: usize = 1_400;
const HANDLES: usize = 4;

/// Handles take turns. Every `turn` acquisitions another pair of nodes hangs, after `prepare` was
/// called with the last token and a node that goes on running.
async fn tokens_under_rotation(
    servers: &[RedisServer],
    turn: usize,
    prepare: impl AsyncFn(&RedisServer, Option<FencingToken>),
) -> Vec<FencingToken> {
    let handles = four_handles(servers).await;
    let mut tokens = Vec::with_capacity(ACQUISITIONS);
    let mut hung: [usize; 2] = [0, 1];
    for acquisition in 0..ACQUISITIONS {
        if acquisition % turn == 0 {
            for node in hung {
                servers[node].resume().await.unwrap();
            }
            let turn = acquisition / turn;
            hung = [turn % 5, (turn + 1 + turn / 5 % 4) % 5];
            let running = (0..5).find(|node| !hung.contains(node)).unwrap();
            prepare(&servers[running], tokens.last().copied()).await;
            for node in hung {
                servers[node].pause().await.unwrap();
            }
        }
        let guard = handles[acquisition % HANDLES].lock("order:42").wait(30 * SECOND).await.unwrap();
        tokens.push(guard.fence());
        guard.release().await.unwrap();
    }
    for node in hung {
        servers[node].resume().await.unwrap();
    }
    for handle in &handles {
        assert!(handle.close(10 * SECOND).await);
    }
    tokens
}

fn assert_growing(tokens: &[FencingToken]) {
    assert_eq!(tokens.len(), ACQUISITIONS);
    for pair in tokens.windows(2) {
        assert!(pair[0] < pair[1], "{} is not below {}", pair[0], pair[1]);
    }
}

async fn four_handles(servers: &[RedisServer]) -> Vec<Redlock> {
    let mut handles = Vec::new();
    for _ in 0..HANDLES {
        handles.push(impatient(servers).await);
    }
    handles
}

#[tokio::test]
async fn tokens_grow_while_a_rotating_pair_of_nodes_hangs() {
    let servers = RedisServer::fleet(5).await.unwrap();
    assert_growing(&tokens_under_rotation(&servers, 50, async |_, _| ()).await);
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

/// Years ahead of the clock and of each other at first; then again and again the counter of one
/// node far ahead of the others', and that node gone for the next handle.
#[tokio::test]
async fn tokens_grow_over_counters_pushed_far_apart() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let counter = "redlock:fence:{order:42}";
    for (node, server) in servers.iter().enumerate() {
        let ahead = (3_000_000_000_000_000 + node as u64 * 500_000_000_000_000).to_string();
        command(server, &["SET", counter, &ahead]).await;
    }
    let tokens = tokens_under_rotation(&servers, 1, async |server, last| {
        if let Some(last) = last {
            let ahead = (last.get() + 1_000_000_000).to_string();
            command(server, &["SET", counter, &ahead]).await;
        }
    });
    let tokens = tokens.await;
    assert_growing(&tokens);
    assert!(tokens[0].get() > 4_000_000_000_000_000, "a quorum has one of the three largest");
}

/// Without the write-back of the largest token a quorum that misses the node which granted it
/// goes backwards.
#[tokio::test]
async fn a_token_survives_the_node_that_granted_it() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    command(&servers[0], &["SET", "redlock:fence:{job}", "5000000000000000"]).await;
    servers[2].kill().await.unwrap();
    let guard = redlock.lock("job").await.unwrap();
    assert_eq!(guard.fence().get(), 5_000_000_000_000_001);
    guard.release().await.unwrap();
    servers[2].restart(Restart::Empty).await.unwrap();
    warm_up(&redlock).await;
    servers[0].kill().await.unwrap();
    // Another process, which does not remember the last token.
    let other = over(&servers).build().unwrap();
    let guard = other.lock("job").await.unwrap();
    assert!(guard.fence().get() > 5_000_000_000_000_001, "{}", guard.fence());
}

#[tokio::test]
async fn several_resources_share_one_token_above_all_of_theirs() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    for server in &servers {
        command(server, &["SET", "redlock:fence:user:{7}", "4000000000000000"]).await;
    }
    let guard = redlock.lock(["user:{7}", "plain"]).await.unwrap();
    let token = guard.fence();
    assert_eq!(token.get(), 4_000_000_000_000_001);
    guard.release().await.unwrap();
    let guard = redlock.lock("plain").await.unwrap();
    assert!(guard.fence() > token, "its counter has moved too");
    assert!(redlock.close(5 * SECOND).await);
    for key in ["redlock:fence:user:{7}", "redlock:fence:{plain}"] {
        let left = command(&servers[0], &["TTL", key]).await.int().unwrap();
        assert!(left > 6 * 24 * 3600, "{key} expires with its last use: {left}");
    }
}

#[tokio::test]
async fn garbage_in_a_counter_is_that_nodes_error() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let counter = "redlock:fence:{job}";
    for garbage in ["soup", "", "-5", "1.5", "9007199254740991", "99999999999999999999"] {
        for server in &servers {
            command(server, &["SET", counter, garbage]).await;
        }
        let error = redlock.try_lock("job").await.unwrap_err();
        let LockError::Unavailable { nodes, .. } = &error else { panic!("{garbage}: {error:?}") };
        assert!(nodes.iter().all(|node| node.cause == Cause::Protocol), "{garbage}: {error}");
        assert!(nodes[0].detail.contains(counter), "{garbage}: {error}");
        testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
    }
    for server in &servers {
        command(server, &["DEL", counter]).await;
        command(server, &["HSET", counter, "a", "b"]).await;
    }
    assert!(redlock.try_lock("job").await.is_err(), "a hash is no counter");
    for server in &servers {
        command(server, &["SET", counter, "9007199254740990"]).await;
    }
    let guard = redlock.lock("job").await.unwrap();
    assert_eq!(guard.fence().get(), (1 << 53) - 1, "the last token there is");
}

/// A client's clock once ran years ahead, the token was stored, and the counters were lost since.
#[tokio::test]
async fn a_floor_gets_past_a_token_that_the_nodes_have_forgotten() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = connected(&servers).await;
    for server in &servers[..3] {
        command(server, &["SET", "redlock:fence:{job}", "7000000000000000"]).await;
    }
    let stored = redlock.lock("job").await.unwrap().fence();
    assert!(stored.get() > 7_000_000_000_000_000);
    for server in &servers {
        server.restart(Restart::Empty).await.unwrap();
    }
    let other = connected(&servers).await;
    let guard = other.lock("job").await.unwrap();
    assert!(guard.fence() < stored, "only the data knows it now");
    guard.release().await.unwrap();
    let guard = other.lock("job").fence_floor(stored).await.unwrap();
    assert!(guard.fence() > stored);
    let last = guard.fence();
    guard.release().await.unwrap();
    let guard = other.lock("job").await.unwrap();
    assert!(guard.fence() > last, "and it goes on from there");
    guard.release().await.unwrap();

    let refused = other.lock("job").fence_floor(FencingToken::new((1 << 53) - 1).unwrap()).await;
    assert!(matches!(refused, Err(LockError::InvalidFenceFloor { .. })), "{refused:?}");
    let refused = other.lock("job").fence_floor(u64::MAX).await;
    assert!(matches!(refused, Err(LockError::InvalidFenceFloor { .. })), "{refused:?}");
}

/// What clients sent to `server` so far: lock scripts.
async fn scripts_sent(server: &RedisServer) -> i64 {
    let stats = command(server, &["INFO", "commandstats"]).await;
    let calls = |line: &str| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse().ok();
    stats.text().unwrap().lines().find_map(calls).unwrap_or(0)
}

#[tokio::test]
async fn a_lock_and_its_release_cost_one_command_each_at_most() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = connected(&servers).await;
    redlock.lock("order:42").renew(false).await.unwrap().release().await.unwrap();
    assert!(redlock.close(5 * SECOND).await);
    let mut before = Vec::new();
    for server in &servers {
        before.push(scripts_sent(server).await);
    }
    for _ in 0..100 {
        let guard = redlock.lock("order:42").renew(false).await.unwrap();
        assert_eq!(guard.release().await.unwrap(), Released::Released);
    }
    assert!(redlock.close(5 * SECOND).await);
    for (server, before) in servers.iter().zip(before) {
        let sent = scripts_sent(server).await - before;
        // A release that waits for the node may travel with the next acquire.
        assert!((1..=200).contains(&sent), "100 locks, 100 releases in {sent} commands");
        let all = command(server, &["INFO", "commandstats"]).await;
        let all = all.text().unwrap();
        assert!(!all.contains("cmdstat_eval:"), "{all}");
    }
}

async fn counters_agree(servers: &[RedisServer]) -> bool {
    let mut counters = Vec::new();
    for server in servers {
        counters.push(command(server, &["GET", "redlock:fence:{job}"]).await.text().map(str::to_owned));
    }
    counters.windows(2).all(|pair| pair[0] == pair[1])
}

/// Counters that disagree cost one more command, once.
#[tokio::test]
async fn a_write_back_is_paid_once() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    command(&servers[0], &["SET", "redlock:fence:{job}", "5000000000000000"]).await;
    // The node with the large counter may answer last: nobody needs its token then, and nobody writes it back.
    testkit::eventually(10 * SECOND, || async {
        redlock.lock("job").await.unwrap().release().await.unwrap();
        assert!(redlock.close(5 * SECOND).await);
        counters_agree(&servers).await
    })
    .await;
    let before = scripts_sent(&servers[1]).await;
    redlock.lock("job").await.unwrap().release().await.unwrap();
    assert!(redlock.close(5 * SECOND).await);
    assert_eq!(scripts_sent(&servers[1]).await - before, 2, "they agree again");
}

#[tokio::test]
async fn limits_that_nothing_can_keep_are_refused() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let redlock = connected(&servers).await;
    for floor in [(1_u64 << 53) - 2, redlock::MAX_FENCE_FLOOR + 1] {
        let refused = redlock.lock("job").fence_floor(floor).await;
        assert!(matches!(refused, Err(LockError::InvalidFenceFloor { .. })), "{refused:?}");
    }
    let refused = redlock.lock("job").max_hold(millis(0)).await;
    assert!(matches!(refused, Err(LockError::InvalidMaxHold)), "{refused:?}");
    let endless = over(&servers).node_timeout(std::time::Duration::MAX).wait(None).build().unwrap();
    assert!(endless.preflight().await.has_quorum());
    endless.lock("job").max_hold(std::time::Duration::MAX).await.unwrap().release().await.unwrap();
}
