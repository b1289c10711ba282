//! Whatever is asked, in whatever order: an in-process node and a real server answer the same.
//!
//! What a simulation finds is worth as much as its nodes are like real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
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

/// A real node, and two of ours: one that answers at once, and one over a network.
struct Nodes {
    real: RedisNode,
    near: SimNode,
    far: SimNode,
}

impl Nodes {
    async fn new(server: &RedisServer) -> Self {
        let real = RedisNode::open(&server.url()).unwrap();
        ask(&real, Request::Info).await.unwrap();
        let slow = SimNetwork::new().latency(millis(0)..=millis(1));
        Self { real, near: SimNode::new("near"), far: SimNode::new("far").over(slow, 3) }
    }

    /// Has all of them do the same, on keys of the case's own; what they did not agree on.
    async fn carry_out(&self, operations: &[Operation], case: u64) -> Result<(), String> {
        for operation in operations {
            let request = operation.request(case);
            let answer = ask(&self.real, request.clone()).await;
            for sim in [ask(&self.near, request.clone()).await, ask(&self.far, request).await] {
                if !agree(&answer, &sim) {
                    return Err(format!("{operation:?}: {answer:?} but {sim:?}"));
                }
            }
        }
        Ok(())
    }

    /// The same with all requests sent before the first is answered, so that they travel together. Without
    /// extensions, which have a lane of their own.
    async fn carry_out_together(&self, operations: &[Operation], case: u64) -> Result<(), String> {
        let in_order = |operation: &&Operation| !matches!(operation.verb, Verb::Extend { .. });
        let operations: Vec<_> = operations.iter().filter(in_order).collect();
        let answers = join_all(operations.iter().map(|operation| ask(&self.real, operation.request(case)))).await;
        for (operation, answer) in operations.into_iter().zip(answers) {
            let sim = ask(&self.near, operation.request(case)).await;
            if !agree(&answer, &sim) {
                return Err(format!("together, {operation:?}: {answer:?} but {sim:?}"));
            }
        }
        Ok(())
    }
}

/// Runs many random sequences against both; a failing one is made short and printed.
async fn compare(server: RedisServer) {
    let nodes = Nodes::new(&server).await;
    let runtime = tokio::runtime::Handle::current();
    let cases = move || {
        let fresh = AtomicU64::new(0);
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() });
        runner.run(&operations(), |operations| {
            // Keys of its own, so that cases can share a server.
            let case = fresh.fetch_add(2, Ordering::Relaxed);
            let both = async {
                nodes.carry_out(&operations, case).await?;
                nodes.carry_out_together(&operations, case + 1).await
            };
            runtime.block_on(both).map_err(TestCaseError::fail)
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

/// The first of two counters is raised before the second is found used up, and stays so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_counter_that_is_used_up() {
    let server = RedisServer::start().await.unwrap();
    let (ttl, c) = (Duration::from_secs(60), 0b100);
    let acquire = |keys, proposal| Operation { verb: Verb::Acquire { ttl, proposal, span: 1 }, keys, owner: 0 };
    let operations = [
        Operation { verb: Verb::Heal { ttl, token: (1 << 53) - 1 }, keys: c, owner: 2 },
        Operation { verb: Verb::Release, keys: c, owner: 2 },
        acquire(c | 0b001, 22),
        acquire(0b001, 0),
    ];
    Nodes::new(&server).await.carry_out(&operations, 0).await.unwrap();
}

/// What raises no counter makes none either: the next extension records its token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_counter_that_nothing_raised() {
    let server = RedisServer::start().await.unwrap();
    let (ttl, a) = (Duration::from_secs(60), 0b001);
    let operations = [Verb::Heal { ttl, token: 0 }, Verb::Raise { token: 0 }, Verb::Extend { ttl, token: 14 }]
        .into_iter()
        .chain([Verb::Release, Verb::Acquire { ttl, proposal: 0, span: 1 }])
        .map(|verb| Operation { verb, keys: a, owner: 0 });
    Nodes::new(&server).await.carry_out(&operations.collect::<Vec<_>>(), 0).await.unwrap();
}

/// Its scripts are another implementation's by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs valkey-server, which not every system has a package of"]
async fn with_a_valkey_server() {
    compare(RedisServer::builder().program("valkey-server").start().await.unwrap()).await;
}
