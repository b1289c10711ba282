//! What waits for one node: bounded, ordered, and honest about a node that is down.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use redis::RedisError;

use super::address::without_secrets;
use super::gate::Gate;
use super::hints::Hints;
use super::link::Link;
use super::script::cause;
use super::waiting::Waiting;
use crate::clock::Clock;
use crate::error::{Cause, NodeError};
use crate::node::{NodeInfo, Request, Responder};
use crate::restart::Membership;
use crate::standing::Standing;

/// Most requests that wait for a node, under way included. A hung node must not eat memory.
pub(super) const BACKLOG: usize = 16 * 1024;
/// Most renewals that wait beside them: leases must not be lost because many ask for others.
const RENEWALS: usize = 8 * 1024;
/// Most releases owed to a node that is down; past it keys end with their ttl.
const DEBTS: usize = BACKLOG;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) to: To,
    /// How often it was sent again because the node had forgotten its scripts.
    pub(super) resent: u8,
}

/// Who is to be told of an answer.
#[derive(Debug)]
pub(super) enum To {
    Caller(Responder),
    /// A release sent again, and until when that makes sense: who cannot deliver it gives up then.
    Nobody {
        until: Instant,
        _counted: Owed,
    },
}

/// Counts a release that is owed to the node and on its way, until it was answered or is owed again.
#[derive(Debug)]
pub(super) struct Owed(Arc<AtomicUsize>);

impl Owed {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Job {
    fn new(request: Request, to: To) -> Self {
        Self { request, to, resent: 0 }
    }

    /// Until when it makes sense to send it again, if it is a release.
    pub(super) fn owed_until(&self) -> Option<Instant> {
        match (&self.request, &self.to) {
            (Request::Release { .. }, To::Nobody { until, .. }) => Some(*until),
            (Request::Release { ttl, .. }, To::Caller(_)) => Some(Instant::now() + *ttl),
            _ => None,
        }
    }

    pub(super) fn answer(self, answer: Result<crate::node::Reply, NodeError>) {
        if let To::Caller(responder) = self.to {
            responder.send(answer);
        }
    }
}

/// The queue between callers and the driver of one node.
pub(super) struct Queue {
    pub(super) name: String,
    secret: Option<String>,
    hints: Option<Arc<Hints>>,
    state: Mutex<State>,
    /// Releases that are owed and on their way.
    owed: Arc<AtomicUsize>,
    pub(super) gate: Arc<Gate>,
    /// The connection, while there is one. Never waited for by callers; locked before `state`.
    link: Mutex<Option<Link>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).field("state", &self.state).finish_non_exhaustive()
    }
}

/// What whoever queued a request has to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Start the driver.
    Start,
    /// Send it at once, for the driver, which has nothing under way.
    Send,
    /// Wake the driver: others are about to ask, and it travels with theirs.
    Wake,
    /// Nothing: it is answered, or the driver will come to it.
    Nothing,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    waiting: Waiting,
    under_way: usize,
    /// How many requests the last command carried.
    together: usize,
    /// Releases to be sent once the node is back, and until when that makes sense.
    debts: VecDeque<(Request, Instant)>,
    /// Why requests fail at once; `None` while they need not.
    down: Option<NodeError>,
    driven: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new(name: String, secret: Option<String>, hints: Option<Arc<Hints>>) -> Self {
        let state = State {
            standing: Standing::new(Clock::System),
            waiting: Waiting::default(),
            under_way: 0,
            together: 0,
            debts: VecDeque::new(),
            down: None,
            driven: false,
            closed: false,
        };
        let (owed, gate) = (Arc::default(), Arc::default());
        Self { name, secret, hints, state: Mutex::new(state), owed, gate, link: Mutex::new(None) }
    }

    /// The place of the connection.
    pub(super) fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits, in the place of the driver; where somebody else is at the connection, the
    /// driver will do it.
    pub(super) fn send(&self) {
        let mut slot = match self.link.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return self.gate.wake(),
        };
        // One that broke is for the driver to mend.
        if let Some(link) = slot.as_mut()
            && (!link.is_for_all() || link.poll(self).is_ready())
        {
            self.gate.wake();
        }
    }

    pub(super) fn join(&self, membership: &Membership) {
        self.lock().standing.join(membership);
    }

    /// Why the node may not vote on acquisitions now.
    pub(super) fn barred(&self) -> Option<Cause> {
        self.lock().standing.barred(&self.name)
    }

    /// Queues a request, or answers it at once.
    pub(super) fn push(&self, request: Request, responder: Responder) -> Next {
        let job = Job::new(request, To::Caller(responder));
        let mut state = self.lock();
        let refusal = match state.down.clone().or_else(|| state.standing.refusal(&self.name, &job.request)) {
            Some(refusal) => Some(refusal),
            None if state.has_room(&job.request) => None,
            None => Some(NodeError::unsent(Cause::Backlog, format!("{BACKLOG} requests wait already"))),
        };
        let start = !state.closed && !std::mem::replace(&mut state.driven, true);
        match refusal {
            None => state.waiting.push_back(job),
            Some(error) => {
                state.owe(&job);
                drop(state);
                job.answer(Err(error));
                return if start { Next::Start } else { Next::Nothing };
            }
        }
        match state.under_way {
            _ if start => Next::Start,
            0 if state.together > 1 => Next::Wake,
            0 => Next::Send,
            // It travels with what else has come by the next answer.
            _ => Next::Nothing,
        }
    }

    /// The waiting requests that fit into one command about `most_keys` lock keys; see
    /// [`Waiting::take`].
    pub(super) fn take(&self, most_keys: usize) -> Vec<Job> {
        let mut state = self.lock();
        let jobs = state.waiting.take(most_keys);
        state.under_way += jobs.len();
        if !jobs.is_empty() {
            state.together = jobs.len();
        }
        jobs
    }

    /// Says that requests taken have been answered.
    pub(super) fn settled(&self, count: usize) {
        self.lock().under_way -= count;
    }

    /// Puts requests that were taken back to the front, in order.
    pub(super) fn put_back(&self, jobs: Vec<Job>) {
        let mut state = self.lock();
        for job in jobs.into_iter().rev() {
            state.waiting.push_front(job);
        }
    }

    /// The node is back, and said of itself what is in `info`: requests queue again, behind the
    /// releases it is owed, and those that it may not carry out are answered.
    pub(super) fn up(&self, info: Option<&NodeInfo>) {
        let now = Instant::now();
        let mut state = self.lock();
        state.down = None;
        state.standing.connected(&self.name, info);
        let debts = std::mem::take(&mut state.debts).into_iter().filter(|(_, until)| *until > now);
        let mut waiting = std::mem::take(&mut state.waiting);
        debts.for_each(|(request, until)| state.waiting.push_back(self.again(request, until)));
        let mut refused = Vec::new();
        for job in waiting.drain() {
            match state.standing.refusal(&self.name, &job.request) {
                Some(error) => refused.push((job, error)),
                None => state.waiting.push_back(job),
            }
        }
        drop(state);
        refused.into_iter().for_each(|(job, error)| job.answer(Err(error)));
    }

    /// The connection is gone or did not come up: whatever waits fails now, and so does what
    /// comes, until the node is back. `sent` are the requests that were under way.
    pub(super) fn down(&self, error: &RedisError, sent: Vec<Job>) {
        let (lost, unsent) = self.errors(error);
        self.hints.iter().for_each(|hints| hints.reconnect());
        let mut state = self.lock();
        state.under_way = 0;
        let waiting: Vec<Job> = state.waiting.drain().collect();
        state.down = Some(unsent.clone());
        for job in sent.iter().chain(&waiting) {
            state.owe(job);
        }
        drop(state);
        sent.into_iter().for_each(|job| job.answer(Err(lost.clone())));
        waiting.into_iter().for_each(|job| job.answer(Err(unsent.clone())));
    }

    /// How many of `listeners` are others, where keys of a release are listened for.
    pub(super) fn others(&self, listeners: usize, keys: &[String]) -> usize {
        let own = listeners > 0 && self.hints.as_ref().is_some_and(|hints| hints.counts(keys));
        listeners - usize::from(own)
    }

    fn errors(&self, error: &RedisError) -> (NodeError, NodeError) {
        let detail = self.detail(error);
        (NodeError::new(cause(error), detail.as_str()), NodeError::unsent(cause(error), detail))
    }

    /// The error of one answer.
    pub(super) fn error(&self, error: &RedisError) -> NodeError {
        NodeError::new(cause(error), self.detail(error))
    }

    fn detail(&self, error: &RedisError) -> String {
        without_secrets(&error.to_string(), std::slice::from_ref(&self.secret))
    }

    /// The owner is gone; the driver ends once nothing waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.gate.wake();
    }

    pub(super) fn closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether the owner is gone and nothing waits. One look at both: what the owner asked for last has come
    /// before it went.
    pub(super) fn is_done(&self) -> bool {
        let state = self.lock();
        state.closed && state.waiting.prompt() + state.waiting.renewals() == 0
    }

    /// The driver is gone, with its runtime or because it was done.
    pub(super) fn undriven(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.driven = false;
        state.under_way = 0;
        state.down = None;
        let waiting: Vec<Job> = state.waiting.drain().collect();
        waiting.iter().for_each(|job| state.owe(job));
        waiting
    }

    /// A release to be sent once more, while that makes sense, of which nobody waits to hear.
    pub(super) fn again(&self, request: Request, until: Instant) -> Job {
        Job::new(request, To::Nobody { until, _counted: Owed::new(&self.owed) })
    }

    /// Remembers what `job` owes the node, if it is a release.
    pub(super) fn owe(&self, job: &Job) {
        self.lock().owe(job);
    }

    /// How many releases are owed to the node, those included that are on their way again.
    pub(super) fn owed(&self) -> usize {
        let mut state = self.lock();
        let now = Instant::now();
        state.debts.retain(|(_, until)| *until > now);
        state.debts.len() + self.owed.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether `request` may wait. Renewals have room of their own, and releases always have: before each there
    /// was an acquire.
    fn has_room(&self, request: &Request) -> bool {
        match request {
            Request::Release { .. } => true,
            Request::Extend { .. } => self.waiting.renewals() < RENEWALS,
            _ => self.waiting.prompt() + self.under_way < BACKLOG,
        }
    }

    /// Remembers a release that cannot be sent now. The newest are dropped when there are too
    /// many: an acquire that reached the node did so before it went down.
    fn owe(&mut self, job: &Job) {
        if let Some(until) = job.owed_until()
            && self.debts.len() < DEBTS
        {
            self.debts.push_back((job.request.clone(), until));
        }
    }
}
