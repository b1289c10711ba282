//! Whatever is asked, in whatever order: an in-process node and a real server answer the same.
//!
//! What a simulation finds is worth as much as its nodes are like real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use redlock::node::suite::ask;
use redlock::{Cause, Claim, FencingToken, KeyState, NodeError, RedisNode, Reply, Request, SimNetwork, SimNode};
use testkit::RedisServer;

use crate::support::millis;

const KEYS: [&str; 3] = ["a", "b", "c"];
/// How much time may pass between the two nodes' answers.
const TOLERANCE: Duration = Duration::from_secs(5);
/// Long enough that nothing ends during a case; apart by more than the tolerance.
const TTLS: [u64; 3] = [60, 120, 180];

/// What one operation asks, about which keys (a bit each) and in whose name.
#[derive(Clone, Debug)]
struct Operation {
    verb: Verb,
    keys: u8,
    owner: u8,
}

#[derive(Clone, Debug)]
enum Verb {
    Acquire { ttl: Duration, proposal: u64, span: u32 },
    Raise { token: u64 },
    Extend { ttl: Duration, token: u64 },
    Heal { ttl: Duration, token: u64 },
    Release,
    Inspect,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let ttl = || prop::sample::select(&TTLS[..]).prop_map(Duration::from_secs);
    let small = || prop_oneof![30 => 0_u64..40, 1 => (1_u64 << 53) - 3..1 << 53];
    let verb = prop_oneof![
        4 => (ttl(), small(), 1..5_u32).prop_map(|(ttl, proposal, span)| Verb::Acquire { ttl, proposal, span }),
        2 => small().prop_map(|token| Verb::Raise { token }),
        2 => (ttl(), small()).prop_map(|(ttl, token)| Verb::Extend { ttl, token }),
        2 => (ttl(), small()).prop_map(|(ttl, token)| Verb::Heal { ttl, token }),
        3 => Just(Verb::Release),
        1 => Just(Verb::Inspect),
    ];
    let operation = (verb, 1_u8..1 << KEYS.len(), 0_u8..3);
    prop::collection::vec(operation.prop_map(|(verb, keys, owner)| Operation { verb, keys, owner }), 1..40)
}

impl Operation {
    fn request(&self, case: u64) -> Request {
        let chosen = KEYS.iter().enumerate().filter(|(bit, _)| self.keys & (1 << bit) != 0);
        let keys: Arc<[String]> = chosen.map(|(_, key)| format!("{case}:{key}")).collect();
        let claim = Arc::new(Claim::new(Arc::clone(&keys), format!("owner {}", self.owner)));
        let number = |number| FencingToken::new(number).unwrap();
        match self.verb {
            Verb::Acquire { ttl, proposal, span } => Request::Acquire { claim, ttl, proposal: number(proposal), span },
            Verb::Raise { token } => Request::Raise { claim, token: number(token) },
            Verb::Extend { ttl, token } => Request::Extend { claim, ttl, token: number(token) },
            Verb::Heal { ttl, token } => Request::Heal { claim, ttl, token: number(token) },
            Verb::Release => Request::Release { claim, by: None, ttl: Duration::from_secs(180) },
            Verb::Inspect => Request::Inspect { keys },
        }
    }
}

type Answer = Result<Reply, NodeError>;

fn agree(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Ok(Reply::Held { remaining: one }), Ok(Reply::Held { remaining: other })) => close(*one, *other),
        (Ok(Reply::Keys(one)), Ok(Reply::Keys(other))) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_state(one, other))
        }
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => one.cause() == other.cause() && *one.cause() == Cause::Protocol,
        _ => false,
    }
}

fn same_state(one: &KeyState, other: &KeyState) -> bool {
    match (one, other) {
        (KeyState::Held { value: a, remaining: left }, KeyState::Held { value: b, remaining: right }) => {
            a == b && close(*left, *right)
        }
        _ => one == other,
    }
}

fn close(one: Option<Duration>, other: Option<Duration>) -> bool {
    one.zip(other).map_or(one == other, |(one, other)| one.abs_diff(other) < TOLERANCE)
}

/// Runs many random sequences against both; a failing one is made short and printed.
async fn compare(server: RedisServer) {
    let real = RedisNode::open(&server.url()).unwrap();
    let slow = SimNetwork::new().latency(millis(0)..=millis(1));
    let near = SimNode::new("near");
    let far = SimNode::new("far").over(slow, 3);
    ask(&real, Request::Info).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let cases = move || {
        let fresh = AtomicU64::new(0);
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() });
        runner.run(&operations(), |operations| {
            // Keys of its own, so that cases can share a server.
            let case = fresh.fetch_add(1, Ordering::Relaxed);
            runtime.block_on(async {
                for operation in &operations {
                    let request = operation.request(case);
                    let answer = ask(&real, request.clone()).await;
                    for sim in [ask(&near, request.clone()).await, ask(&far, request).await] {
                        prop_assert!(agree(&answer, &sim), "{operation:?}: {answer:?} but {sim:?}");
                    }
                }
                Ok(())
            })
        })
    };
    let done = tokio::task::spawn_blocking(cases).await.unwrap();
    if let Err(failure) = done {
        panic!("{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_redis_server() {
    compare(RedisServer::start().await.unwrap()).await;
}

/// Its scripts are another implementation's by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs valkey-server, which not every system has a package of"]
async fn with_a_valkey_server() {
    compare(RedisServer::builder().program("valkey-server").start().await.unwrap()).await;
}
