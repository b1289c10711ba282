//! The conformance suite: what any [`Node`] must do, whatever it is made of.
//!
//! Run it against a node of your own in a test; it panics at the first broken rule. Its keys are
//! fresh in every run, so it can share a server with others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Cause, NodeError};
use crate::fencing::FencingToken;
use crate::node::{Collect, KeyState, Node, Reply, Request, Responder, Role};
use crate::resource::{Claim, owner_value};
use crate::round::{Asked, Nodes, Round, Until};

const TTL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks every rule of the [`Node`] contract that can be seen from one process.
///
/// # Panics
///
/// When a rule is broken, with the rule.
///
/// ```
/// # #[tokio::main] async fn main() {
/// redlock::node::suite::conformance(redlock::SimNode::new("mine")).await;
/// # }
/// ```
pub async fn conformance(node: impl Node) {
    let bench = Bench { nodes: Arc::from([Arc::new(node) as Arc<dyn Node>]) };
    bench.grants_only_what_is_free().await;
    bench.takes_several_keys_or_none().await;
    bench.extends_only_what_is_held().await;
    bench.never_shortens().await;
    bench.releases_only_its_own().await;
    bench.tells_who_holds().await;
    bench.grants_ever_larger_tokens().await;
    bench.records_tokens_only_for_holders().await;
    bench.gives_back_only_what_is_free().await;
    bench.tells_what_it_is().await;
    bench.keeps_the_order_of_requests().await;
    bench.carries_out_what_nobody_waits_for().await;
    bench.lets_keys_expire().await;
}

/// Sends one request and waits for its answer, for tests that look at a single node.
///
/// # Errors
///
/// As the node answers.
pub async fn ask(node: &impl Node, request: Request) -> Result<Reply, NodeError> {
    let (sender, receiver) = oneshot::channel();
    node.send(request, Responder::new(Arc::new(Once(Mutex::new(Some(sender)))), 0));
    let forgotten = || Err(NodeError::new(Cause::Refused, "the node forgot to answer"));
    receiver.await.unwrap_or_else(|_| forgotten())
}

/// Takes one answer.
struct Once(Mutex<Option<oneshot::Sender<Result<Reply, NodeError>>>>);

impl Collect for Once {
    fn collect(&self, _node: usize, answer: Result<Reply, NodeError>) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody has to be there any more.
            let _ = sender.send(answer);
        }
    }
}

struct Bench {
    nodes: Nodes,
}

fn keys(names: &[&str]) -> Arc<[String]> {
    let fresh = owner_value("suite", rand::random());
    names.iter().map(|name| format!("{fresh}:{name}")).collect()
}

fn claim(keys: &Arc<[String]>) -> Arc<Claim> {
    Arc::new(Claim::new(Arc::clone(keys), owner_value("suite", rand::random())))
}

fn acquire(claim: &Arc<Claim>, ttl: Duration) -> Request {
    Request::Acquire { claim: Arc::clone(claim), ttl, proposal: FencingToken::ZERO, span: 1 }
}

fn extend(claim: &Arc<Claim>, ttl: Duration) -> Request {
    Request::Extend { claim: Arc::clone(claim), ttl, token: FencingToken::ZERO }
}

fn release(claim: &Arc<Claim>) -> Request {
    Request::Release { claim: Arc::clone(claim), by: None, ttl: TTL }
}

fn assert_held(reply: &Result<Reply, NodeError>, rule: &str) {
    match reply {
        Ok(Reply::Held { remaining: Some(left) }) if *left <= TTL => {}
        other => panic!("{rule}: {other:?}"),
    }
}

impl Bench {
    async fn ask(&self, request: Request) -> Result<Reply, NodeError> {
        let round = Round::ask(&self.nodes, |_| Asked::Request(request.clone()));
        let verdict = round.wait(Until::Complete, PATIENCE).await;
        match verdict.answers.into_iter().next().flatten() {
            Some(answer) => answer,
            None => panic!("no answer to {request:?} within {PATIENCE:?}"),
        }
    }

    async fn expect(&self, request: Request, reply: Reply, rule: &str) {
        assert_eq!(self.ask(request).await, Ok(reply), "{rule}");
    }

    async fn granted(&self, claim: &Arc<Claim>, ttl: Duration, rule: &str) -> FencingToken {
        match self.ask(acquire(claim, ttl)).await {
            Ok(Reply::Granted { token }) => token,
            other => panic!("{rule}: {other:?}"),
        }
    }

    /// Free keys are granted with this token, where that one is proposed.
    async fn grants(&self, keys: &Arc<[String]>, proposal: FencingToken, token: FencingToken, rule: &str) {
        let claim = claim(keys);
        let request = Request::Acquire { claim: Arc::clone(&claim), ttl: TTL, proposal, span: 1 };
        self.expect(request, Reply::Granted { token }, rule).await;
        self.expect(release(&claim), Reply::Released { listeners: 0 }, "the holder releases").await;
    }

    async fn grants_only_what_is_free(&self) {
        let keys = keys(&["a"]);
        let (first, second) = (claim(&keys), claim(&keys));
        self.granted(&first, TTL, "a free key is granted").await;
        let again = self.ask(acquire(&second, TTL)).await;
        assert_held(&again, "a held key is refused, with the time it has to live");
        self.expect(release(&first), Reply::Released { listeners: 0 }, "the holder releases").await;
        self.granted(&second, TTL, "a released key is free").await;
        self.expect(release(&second), Reply::Released { listeners: 0 }, "the holder releases").await;
    }

    async fn takes_several_keys_or_none(&self) {
        let all = keys(&["a", "b", "c"]);
        let middle: Arc<[String]> = Arc::from([all[1].clone()]);
        let (holder, wanting) = (claim(&middle), claim(&all));
        self.granted(&holder, TTL, "a free key is granted").await;
        let refused = self.ask(acquire(&wanting, TTL)).await;
        assert_held(&refused, "several keys with one held are refused");
        let states = self.ask(Request::Inspect { keys: Arc::clone(&all) }).await;
        let Ok(Reply::Keys(states)) = states else { panic!("inspect answers keys: {states:?}") };
        assert_eq!(states[0], KeyState::Free, "a refused acquire leaves no key behind");
        assert_eq!(states[2], KeyState::Free, "a refused acquire leaves no key behind");
        self.expect(release(&holder), Reply::Released { listeners: 0 }, "the holder releases").await;
        self.granted(&wanting, TTL, "all free keys are granted").await;
        self.expect(extend(&wanting, TTL), Reply::Done, "all held keys are extended").await;
        self.expect(release(&wanting), Reply::Released { listeners: 0 }, "all held keys are released").await;
    }

    async fn extends_only_what_is_held(&self) {
        let keys = keys(&["a"]);
        let (holder, other) = (claim(&keys), claim(&keys));
        self.expect(extend(&holder, TTL), Reply::NotHeld, "a free key is not extended").await;
        self.granted(&holder, TTL, "nor made by an extend").await;
        self.expect(extend(&other, TTL), Reply::NotHeld, "another's key is not extended").await;
        self.expect(extend(&holder, TTL), Reply::Done, "one's own key is extended").await;
        self.expect(release(&holder), Reply::Released { listeners: 0 }, "the holder releases").await;
    }

    async fn never_shortens(&self) {
        let keys = keys(&["a"]);
        let holder = claim(&keys);
        self.granted(&holder, TTL, "a free key is granted").await;
        let short = Duration::from_secs(1);
        self.expect(extend(&holder, short), Reply::Done, "a held key is extended").await;
        let Some(left) = self.remaining(&keys).await else { panic!("the key is held") };
        assert!(left > short, "an extend never shortens: {left:?}");
        self.expect(release(&holder), Reply::Released { listeners: 0 }, "the holder releases").await;
    }

    async fn releases_only_its_own(&self) {
        let keys = keys(&["a"]);
        let (holder, other) = (claim(&keys), claim(&keys));
        self.expect(release(&holder), Reply::NotHeld, "a free key is not released").await;
        self.granted(&holder, TTL, "a free key is granted").await;
        self.expect(release(&other), Reply::NotHeld, "another's key is not released").await;
        self.expect(extend(&holder, TTL), Reply::Done, "and stays held").await;
        self.expect(release(&holder), Reply::Released { listeners: 0 }, "the holder releases").await;
        self.expect(release(&holder), Reply::NotHeld, "once").await;
    }

    async fn tells_who_holds(&self) {
        let keys = keys(&["a"]);
        let holder = claim(&keys);
        let inspect = || Request::Inspect { keys: Arc::clone(&keys) };
        let free = Reply::Keys(vec![KeyState::Free]);
        self.expect(inspect(), free.clone(), "a free key is free").await;
        self.granted(&holder, TTL, "inspecting does not acquire").await;
        match self.ask(inspect()).await {
            Ok(Reply::Keys(states)) => match states.as_slice() {
                [KeyState::Held { value, remaining: Some(left) }] => {
                    assert_eq!(value, holder.value().as_bytes(), "the holder's value is told");
                    assert!(*left <= TTL && *left > TTL / 2, "and its time: {left:?}");
                }
                other => panic!("a held key is held: {other:?}"),
            },
            other => panic!("inspect answers keys: {other:?}"),
        }
        self.expect(release(&holder), Reply::Released { listeners: 0 }, "inspecting does not release").await;
        self.expect(inspect(), free, "a released key is free").await;
    }

    async fn grants_ever_larger_tokens(&self) {
        let (one, both) = (keys(&["a"]), keys(&["b", "c"]));
        let both: Arc<[String]> = [&one[..], &both[..]].concat().into();
        let mut last = FencingToken::ZERO.raised_by(1_000);
        self.grants(&one, last, last, "a new counter starts at the proposal").await;
        for token in [last.raised_by(1), last.raised_by(2)] {
            self.grants(&one, last, token, "what is not above the counter gets what is").await;
        }
        last = last.raised_by(2);
        // Of numbers with more digits or fewer the larger one is not the larger text.
        let (shorter, longer) = (FencingToken::ZERO.raised_by(999), FencingToken::ZERO.raised_by(10_000));
        self.grants(&one, shorter, last.raised_by(1), "a smaller proposal gets the next token").await;
        self.grants(&one, longer, longer, "a larger proposal is granted").await;
        last = longer;
        for keys in [&one, &both, &one, &both] {
            let claim = claim(keys);
            let token = self.granted(&claim, TTL, "a free key is granted").await;
            assert_eq!(token, last.raised_by(1), "one token above all counters of the claim");
            self.expect(release(&claim), Reply::Released { listeners: 0 }, "the holder releases").await;
            last = token;
        }
    }

    async fn records_tokens_only_for_holders(&self) {
        let keys = keys(&["a"]);
        let (holder, other) = (claim(&keys), claim(&keys));
        let token = self.granted(&holder, TTL, "a free key is granted").await;
        let (high, higher) = (token.raised_by(100), token.raised_by(200));
        let raise = |claim: &Arc<Claim>, token| Request::Raise { claim: Arc::clone(claim), token };
        self.expect(raise(&other, higher), Reply::NotHeld, "who holds nothing records nothing").await;
        self.expect(raise(&holder, high), Reply::Done, "the holder records its token").await;
        self.expect(raise(&holder, token), Reply::Done, "a smaller one changes nothing").await;
        self.expect(release(&holder), Reply::Released { listeners: 0 }, "the holder releases").await;
        self.expect(raise(&holder, higher), Reply::NotHeld, "and then records nothing").await;
        let next = self.granted(&other, TTL, "a free key is granted").await;
        assert_eq!(next, high.raised_by(1), "a recorded token is never granted again");
        self.expect(release(&other), Reply::Released { listeners: 0 }, "the holder releases").await;
    }

    async fn gives_back_only_what_is_free(&self) {
        let keys = keys(&["a", "b"]);
        let second: Arc<[String]> = Arc::from([keys[1].clone()]);
        let (healed, other) = (claim(&keys), claim(&second));
        let token = FencingToken::ZERO.raised_by(5_000);
        let heal = Request::Heal { claim: Arc::clone(&healed), ttl: TTL, token };
        self.granted(&other, TTL, "a free key is granted").await;
        self.expect(heal.clone(), Reply::NotHeld, "a key in the way stops a heal").await;
        self.expect(extend(&healed, TTL), Reply::NotHeld, "of every key").await;
        self.expect(release(&other), Reply::Released { listeners: 0 }, "the holder releases").await;
        self.expect(heal.clone(), Reply::Done, "free keys are given back").await;
        self.expect(heal, Reply::Done, "twice changes nothing").await;
        self.expect(extend(&healed, TTL), Reply::Done, "and are held").await;
        self.expect(release(&healed), Reply::Released { listeners: 0 }, "the holder releases").await;
        let next = self.granted(&other, TTL, "a free key is granted").await;
        assert_eq!(next, token.raised_by(1), "a heal records the lease's token");
        self.expect(release(&other), Reply::Released { listeners: 0 }, "the holder releases").await;
    }

    async fn tells_what_it_is(&self) {
        match self.ask(Request::Info).await {
            Ok(Reply::Info(Some(info))) => {
                assert!(!info.run_id.is_empty(), "a node knows which start of it this is");
                assert_eq!(info.role, Role::Master, "a lock node is a master");
            }
            Ok(Reply::Info(None)) => {}
            other => panic!("info answers info: {other:?}"),
        }
    }

    /// Requests sent without waiting take effect in the order sent.
    async fn keeps_the_order_of_requests(&self) {
        let keys = keys(&["a"]);
        for _ in 0..100 {
            let claim = claim(&keys);
            let send = |request: Request| Round::ask(&self.nodes, |_| Asked::Request(request.clone()));
            let granted = send(acquire(&claim, TTL));
            let released = send(release(&claim));
            let verdict = granted.wait(Until::Complete, PATIENCE).await;
            assert_eq!(verdict.tokens().count(), 1, "requests keep their order: {verdict:?}");
            let verdict = released.wait(Until::Complete, PATIENCE).await;
            assert_eq!(verdict.answers, [Some(Ok(Reply::Released { listeners: 0 }))], "requests keep their order");
        }
    }

    /// A dropped round neither takes back its request nor the release behind it.
    async fn carries_out_what_nobody_waits_for(&self) {
        let keys = keys(&["a"]);
        let kept = claim(&keys);
        drop(Round::ask(&self.nodes, |_| Asked::Request(acquire(&kept, TTL))));
        self.expect(extend(&kept, TTL), Reply::Done, "an abandoned acquire counts").await;
        drop(Round::ask(&self.nodes, |_| Asked::Request(release(&kept))));
        self.expect(extend(&kept, TTL), Reply::NotHeld, "an abandoned release counts").await;
    }

    async fn lets_keys_expire(&self) {
        let keys = keys(&["a"]);
        let (first, second) = (claim(&keys), claim(&keys));
        let ttl = Duration::from_millis(40);
        let start = Instant::now();
        self.granted(&first, ttl, "a free key is granted").await;
        while self.remaining(&keys).await.is_some() {
            assert!(start.elapsed() < PATIENCE, "a key ends with its ttl");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.expect(extend(&first, TTL), Reply::NotHeld, "an expired key is not revived").await;
        self.granted(&second, TTL, "an expired key is free").await;
        self.expect(release(&first), Reply::NotHeld, "its old holder cannot release it").await;
        self.expect(release(&second), Reply::Released { listeners: 0 }, "its new holder can").await;
    }

    async fn remaining(&self, keys: &Arc<[String]>) -> Option<Duration> {
        match self.ask(Request::Inspect { keys: Arc::clone(keys) }).await {
            Ok(Reply::Keys(states)) => match states.into_iter().next() {
                Some(KeyState::Held { remaining, .. }) => remaining,
                _ => None,
            },
            other => panic!("inspect answers keys: {other:?}"),
        }
    }
}
