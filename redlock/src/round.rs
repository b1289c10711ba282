//! One round: every node is asked at once, and the answer is known as soon as it can be.
//!
//! A round is one shared counter with one waker, not a future a node: whoever waits is woken
//! once, at the decision, and stragglers are still taken in after everybody has gone.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::deadline::{Deadlines, GRACE, LONGEST};
use crate::error::{Cause, NodeError, NodeFailure};
use crate::failpoint;
use crate::fencing::FencingToken;
use crate::node::{Collect, Node, Reply, Request, Responder};
use crate::quorum::{Outcome, Tally};

/// The nodes of one lock, in a fixed order.
pub(crate) type Nodes = Arc<[Arc<dyn Node>]>;

/// One request to every node, and the answers so far.
#[derive(Debug)]
pub(crate) struct Round {
    state: Mutex<State>,
}

struct State {
    answers: Vec<Option<Result<Reply, NodeError>>>,
    tally: Tally,
    waiting: Option<(Until, Waker)>,
    /// See [`Round::ask_and_then`].
    then: Option<Box<dyn Aftermath>>,
    decided: bool,
}

/// What a round does that nobody may wait for.
pub(crate) trait Aftermath: Send {
    /// The round is decided; so many others listened, at most, where a lease was released. Dropped
    /// when every node has answered.
    fn decided(&mut self, listeners: usize);
}

/// What a round has to ask one node.
pub(crate) enum Asked {
    /// This.
    Request(Request),
    /// Nothing: its answer is known.
    Answer(Result<Reply, NodeError>),
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// A quorum has said yes, or can no longer be had.
    Decided,
    /// Every node has answered.
    Complete,
}

impl State {
    fn reached(&self, until: Until) -> bool {
        match until {
            Until::Decided => self.tally.outcome() != Outcome::Pending,
            Until::Complete => self.tally.answered() == self.answers.len(),
        }
    }

    /// How many others listened for the release that this round was, at most.
    fn listeners(&self) -> usize {
        let heard = |answer: &Option<_>| match answer {
            Some(Ok(Reply::Released { listeners })) => *listeners,
            _ => 0,
        };
        self.answers.iter().map(heard).max().unwrap_or_default()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("tally", &self.tally).finish_non_exhaustive()
    }
}

/// A round as it stood when it was decided, or when its time was up.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) tally: Tally,
    pub(crate) answers: Vec<Option<Result<Reply, NodeError>>>,
}

impl Round {
    /// Asks every node for which `request` has something to ask; for the others it gives the
    /// answer.
    pub(crate) fn ask(nodes: &Nodes, request: impl FnMut(usize) -> Asked) -> Arc<Self> {
        Self::ask_and_then(nodes, None, request)
    }

    /// Like [`ask`](Self::ask), and tells `then` what comes of it, whether or not anybody waits.
    pub(crate) fn ask_and_then(
        nodes: &Nodes,
        then: Option<Box<dyn Aftermath>>,
        mut request: impl FnMut(usize) -> Asked,
    ) -> Arc<Self> {
        let round = Arc::new(Self {
            state: Mutex::new(State {
                answers: vec![None; nodes.len()],
                tally: Tally::new(nodes.len()),
                waiting: None,
                then,
                decided: false,
            }),
        });
        for (index, node) in nodes.iter().enumerate() {
            let responder = Responder::new(Arc::clone(&round) as Arc<dyn Collect>, index);
            match request(index) {
                Asked::Request(request) => node.send(request, responder),
                Asked::Answer(answer) => responder.send(answer),
            }
        }
        round
    }

    /// Waits for `until`, at most `limit`; nodes that are silent then count as failed.
    pub(crate) async fn wait(&self, until: Until, limit: Duration) -> Verdict {
        let reached = poll_fn(|cx| self.poll_reached(until, cx));
        let _ = tokio::time::timeout(limit, reached).await;
        self.verdict()
    }

    /// Like [`wait`](Self::wait), with the end of it kept by `deadlines`.
    pub(crate) async fn wait_by(
        self: &Arc<Self>,
        deadlines: &Arc<Deadlines>,
        until: Until,
        limit: Duration,
    ) -> Verdict {
        if limit > LONGEST {
            return self.wait(until, limit).await;
        }
        let end = Instant::now() + limit;
        let mut watched = false;
        let reached = poll_fn(|cx| {
            if self.poll_reached(until, cx).is_ready() || Instant::now() >= end {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut watched, true) {
                deadlines.watch(self, end);
            }
            Poll::Pending
        });
        let _ = tokio::time::timeout(limit + GRACE, reached).await;
        self.verdict()
    }

    fn poll_reached(&self, until: Until, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.reached(until) {
            return Poll::Ready(());
        }
        state.waiting = Some((until, cx.waker().clone()));
        Poll::Pending
    }

    /// Whether it was reached or ran out is read from the tally, under one lock.
    fn verdict(&self) -> Verdict {
        let state = self.lock();
        Verdict { outcome: state.tally.outcome(), tally: state.tally, answers: state.answers.clone() }
    }

    /// Lets whoever waits look at the time.
    pub(crate) fn wake(&self) {
        let waker = self.lock().waiting.as_ref().map(|(_, waker)| waker.clone());
        waker.inspect(Waker::wake_by_ref);
    }

    /// Whether the request may have taken effect on node `index`.
    pub(crate) fn may_have_reached(&self, index: usize) -> bool {
        match &self.lock().answers[index] {
            Some(Err(error)) => error.sent(),
            None => !failpoint::planted("late-grants-kept"),
            Some(Ok(_)) => true,
        }
    }

    /// Keeps `then` until the last answer, unless that was here meanwhile.
    fn put_back(&self, then: Box<dyn Aftermath>) {
        let mut state = self.lock();
        let over = state.reached(Until::Complete);
        let over = if over { Some(then) } else { state.then.replace(then) };
        drop(state);
        drop(over);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collect for Round {
    fn collect(&self, node: usize, answer: Result<Reply, NodeError>) {
        let mut state = self.lock();
        if state.answers[node].is_some() {
            return;
        }
        match &answer {
            Ok(Reply::Held { .. } | Reply::NotHeld) => state.tally.no(),
            Ok(_) => state.tally.yes(),
            Err(_) => state.tally.failed(),
        }
        state.answers[node] = Some(answer);
        let decided = !state.decided && state.reached(Until::Decided);
        state.decided |= decided;
        let then = if decided || state.reached(Until::Complete) { state.then.take() } else { None };
        let listeners = if decided { state.listeners() } else { 0 };
        let reached = state.waiting.as_ref().is_some_and(|(until, _)| state.reached(*until));
        let waiting = if reached { state.waiting.take() } else { None };
        // Wakers and aftermaths run foreign code; not under our lock.
        drop(state);
        if let Some(mut then) = then {
            if decided {
                then.decided(listeners);
            }
            self.put_back(then);
        }
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }
}

impl Verdict {
    /// The nodes that failed. Silence is a failure only where the round ran out of time: a round
    /// that was lost early did not wait for everybody.
    pub(crate) fn failures(&self, nodes: &Nodes) -> Vec<NodeFailure> {
        let silent = NodeError::new(Cause::Timeout, "");
        let failure = |(node, answer): (&Arc<dyn Node>, &Option<Result<Reply, NodeError>>)| match answer {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(NodeFailure::new(node.name(), error)),
            None if self.outcome != Outcome::Pending => None,
            None => Some(NodeFailure::new(node.name(), &silent)),
        };
        nodes.iter().zip(&self.answers).filter_map(failure).collect()
    }

    /// Whether two nodes turned out to be one server: then N is not what it seems.
    pub(crate) fn has_twins(&self) -> bool {
        let twin = |answer: &Option<Result<Reply, NodeError>>| match answer {
            Some(Err(error)) => matches!(error.cause(), Cause::SameServer { .. }),
            _ => false,
        };
        self.answers.iter().any(twin)
    }

    /// The tokens of the nodes that granted.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = FencingToken> + Clone {
        self.answers.iter().filter_map(|answer| match answer {
            Some(Ok(Reply::Granted { token })) => Some(*token),
            _ => None,
        })
    }

    /// The shortest remaining time of a foreign lease, over all nodes that saw one.
    pub(crate) fn shortest_remaining(&self) -> Option<Option<Duration>> {
        let held = |answer: &Option<Result<Reply, NodeError>>| match answer {
            Some(Ok(Reply::Held { remaining })) => Some(*remaining),
            _ => None,
        };
        let shorter = |a: Option<Duration>, b: Option<Duration>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.answers.iter().filter_map(held).reduce(shorter)
    }
}
