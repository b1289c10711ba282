//! What waits for one node: bounded, ordered, and honest about a node that is down.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use redis::RedisError;
use tokio::sync::Notify;

use super::address::without_secrets;
use super::script::cause;
use crate::clock::Clock;
use crate::error::{Cause, NodeError};
use crate::node::{NodeInfo, Request, Responder};
use crate::restart::Membership;
use crate::standing::Standing;

/// Most requests that wait for a node, under way included. A hung node must not eat memory.
pub(super) const BACKLOG: usize = 16 * 1024;
/// Most releases owed to a node that is down; past it keys end with their ttl.
const DEBTS: usize = BACKLOG;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    /// `None` where nobody waits: a release sent again.
    pub(super) responder: Option<Responder>,
    /// How often it was sent again because the node had forgotten its scripts.
    pub(super) resent: u8,
}

impl Job {
    pub(super) fn answer(self, answer: Result<crate::node::Reply, NodeError>) {
        if let Some(responder) = self.responder {
            responder.send(answer);
        }
    }
}

/// The queue between callers and the driver of one node.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    secret: Option<String>,
    state: Mutex<State>,
    /// Tells the driver that something has changed.
    pub(super) changed: Notify,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    waiting: VecDeque<Job>,
    under_way: usize,
    /// Releases to be sent once the node is back, and until when that makes sense.
    debts: VecDeque<(Request, Instant)>,
    /// Why requests fail at once; `None` while they need not.
    down: Option<NodeError>,
    driven: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new(name: String, secret: Option<String>) -> Self {
        let state = State {
            standing: Standing::new(Clock::System),
            waiting: VecDeque::new(),
            under_way: 0,
            debts: VecDeque::new(),
            down: None,
            driven: false,
            closed: false,
        };
        Self { name, secret, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn join(&self, membership: &Membership) {
        self.lock().standing.join(membership);
    }

    /// Why the node may not vote on acquisitions now.
    pub(super) fn barred(&self) -> Option<Cause> {
        self.lock().standing.barred(&self.name)
    }

    /// Queues a request, or answers it at once. True where the caller has to start the driver.
    pub(super) fn push(&self, request: Request, responder: Responder) -> bool {
        let mut state = self.lock();
        let is_release = matches!(request, Request::Release { .. });
        let refusal = match state.down.clone().or_else(|| state.standing.refusal(&self.name, &request)) {
            Some(refusal) => Some(refusal),
            None if state.waiting.len() + state.under_way < BACKLOG || is_release => None,
            None => Some(NodeError::unsent(Cause::Backlog, format!("{BACKLOG} requests wait already"))),
        };
        let start = !state.closed && !std::mem::replace(&mut state.driven, true);
        match refusal {
            None => state.waiting.push_back(Job { request, responder: Some(responder), resent: 0 }),
            Some(error) => {
                state.owe(&request);
                drop(state);
                responder.send(Err(error));
                return start;
            }
        }
        drop(state);
        self.changed.notify_one();
        start
    }

    /// Up to `most` waiting requests, oldest first.
    pub(super) fn take(&self, most: usize) -> Vec<Job> {
        let mut state = self.lock();
        let most = most.min(state.waiting.len());
        state.under_way += most;
        state.waiting.drain(..most).collect()
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
        let debts = std::mem::take(&mut state.debts).into_iter();
        let owed =
            debts.filter(|(_, until)| *until > now).map(|(request, _)| Job { request, responder: None, resent: 0 });
        let waiting = std::mem::take(&mut state.waiting);
        let mut refused = Vec::new();
        let mut queued: VecDeque<_> = owed.collect();
        for job in waiting {
            match state.standing.refusal(&self.name, &job.request) {
                Some(error) => refused.push((job, error)),
                None => queued.push_back(job),
            }
        }
        state.waiting = queued;
        drop(state);
        refused.into_iter().for_each(|(job, error)| job.answer(Err(error)));
    }

    /// The connection is gone or did not come up: whatever waits fails now, and so does what
    /// comes, until the node is back. `sent` are the requests that were under way.
    pub(super) fn down(&self, error: &RedisError, sent: Vec<Job>) {
        let (lost, unsent) = self.errors(error);
        let mut state = self.lock();
        state.under_way = 0;
        let waiting = std::mem::take(&mut state.waiting);
        state.down = Some(unsent.clone());
        for job in sent.iter().chain(&waiting) {
            state.owe(&job.request);
        }
        drop(state);
        sent.into_iter().for_each(|job| job.answer(Err(lost.clone())));
        waiting.into_iter().for_each(|job| job.answer(Err(unsent.clone())));
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
        self.changed.notify_one();
    }

    pub(super) fn closed(&self) -> bool {
        self.lock().closed
    }

    /// The driver is gone, with its runtime or because it was done.
    pub(super) fn undriven(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.driven = false;
        state.under_way = 0;
        state.down = None;
        let waiting: Vec<Job> = state.waiting.drain(..).collect();
        waiting.iter().for_each(|job| state.owe(&job.request));
        waiting
    }

    /// Remembers what `job` owes the node, if it is a release.
    pub(super) fn owe(&self, job: &Job) {
        self.lock().owe(&job.request);
    }

    /// How many releases are owed to the node.
    pub(super) fn owed(&self) -> usize {
        let mut state = self.lock();
        let now = Instant::now();
        state.debts.retain(|(_, until)| *until > now);
        state.debts.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Remembers a release that cannot be sent now. The newest are dropped when there are too
    /// many: an acquire that reached the node did so before it went down.
    fn owe(&mut self, request: &Request) {
        if let Request::Release { ttl, .. } = request
            && self.debts.len() < DEBTS
        {
            let until = Instant::now() + *ttl;
            self.debts.push_back((request.clone(), until));
        }
    }
}
