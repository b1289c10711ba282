//! A lock node in this process: for simulation, and for demos with nothing installed.
//!
//! It keeps the rules of the Lua scripts in tokio's time, so that paused tests decide when keys
//! expire. The conformance suite keeps it honest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::error::{Cause, NodeError};
use crate::fencing::{FencingToken, granted, raised};
use crate::node::{KeyState, Node, NodeInfo, Reply, Request, Responder, Role};
use crate::resource::Claim;
use crate::restart::Membership;
use crate::standing::Standing;

/// A lock node in this process. Clones are handles of the same node.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use redlock::{Redlock, SimNode};
///
/// let redlock = Redlock::builder().node(SimNode::new("only")).build()?;
/// redlock.lock("order:42").await?.release().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SimNode {
    name: Arc<str>,
    server: Arc<Mutex<Server>>,
    /// What this handle knows of the server; another client's handle has its own.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    standing: Option<Standing>,
    /// Which start of the server the handle has met.
    start: Option<u64>,
}

impl Known {
    /// Meets the server as a new connection would, where it was started anew.
    fn meet(&mut self, server: &Server, name: &str) -> Option<&Standing> {
        let standing = self.standing.as_mut()?;
        if self.start.replace(server.starts) != Some(server.starts) {
            standing.connected(name, Some(&server.info(name)));
        }
        Some(standing)
    }
}

/// What handles of one node share.
#[derive(Debug)]
struct Server {
    keys: BTreeMap<String, (String, Instant)>,
    counters: BTreeMap<String, FencingToken>,
    /// Starts so far, and when the last one was; `None` before the epoch: it was always there.
    starts: u64,
    started: Option<Instant>,
    up: bool,
}

impl SimNode {
    /// An empty node that has been up for ever.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let server = Server { keys: BTreeMap::new(), counters: BTreeMap::new(), starts: 0, started: None, up: true };
        Self { name: name.into(), server: Arc::new(Mutex::new(server)), known: Mutex::default() }
    }

    /// How many keys are held now.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut server = self.server();
        server.expire();
        server.keys.len()
    }

    /// Whether no key is held now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stops the node: requests fail until it is started again.
    pub fn stop(&self) {
        self.server().up = false;
    }

    /// Starts the node (again), with what it knew or with nothing.
    pub fn start(&self, keep_data: bool) {
        let mut server = self.server();
        server.up = true;
        server.starts += 1;
        server.started = Some(Instant::now());
        if !keep_data {
            server.keys.clear();
            server.counters.clear();
        }
    }

    /// Whether the node runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.server().up
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> Result<Reply, NodeError> {
        let mut server = self.server();
        if !server.up {
            return Err(NodeError::unsent(Cause::Refused, "the node is stopped"));
        }
        let refusal = |standing: &Standing| standing.refusal(&self.name, request);
        if let Some(refusal) = self.known().meet(&server, &self.name).and_then(refusal) {
            return Err(refusal);
        }
        server.expire();
        server.answer(request, &self.name)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for SimNode {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), server: Arc::clone(&self.server), known: Mutex::default() }
    }
}

impl Node for SimNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn join(&self, membership: &Membership) {
        let mut standing = Standing::new(Clock::tokio());
        standing.join(membership);
        *self.known() = Known { standing: Some(standing), start: None };
    }

    fn barred(&self) -> Option<Cause> {
        self.known().standing.as_ref()?.barred(&self.name)
    }

    fn send(&self, request: Request, responder: Responder) {
        responder.send(self.answer(&request));
    }

    fn simulated(&self) -> bool {
        true
    }
}

impl Server {
    fn expire(&mut self) {
        let now = Instant::now();
        self.keys.retain(|_, (_, expires)| *expires > now);
    }

    fn info(&self, name: &str) -> NodeInfo {
        let up =
            self.started.map_or(i64::MAX, |started| i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX));
        NodeInfo {
            run_id: format!("{name}#{}", self.starts),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: Role::Master,
            cluster: false,
            uptime_seconds: up,
            append_only: false,
            eviction: "noeviction".to_owned(),
            clock_ahead_ms: 0,
        }
    }

    fn answer(&mut self, request: &Request, name: &str) -> Result<Reply, NodeError> {
        Ok(match request {
            Request::Acquire { claim, ttl, proposal } => return self.acquire(claim, *ttl, *proposal),
            Request::Raise { claim, token } => self.raise(claim, *token),
            Request::Extend { claim, ttl, token } => self.extend(claim, *ttl, *token),
            Request::Heal { claim, ttl, token } => self.heal(claim, *ttl, *token),
            Request::Release { claim, .. } => self.release(claim),
            Request::Inspect { keys } => Reply::Keys(keys.iter().map(|key| self.inspect(key)).collect()),
            Request::Info => Reply::Info(Some(Box::new(self.info(name)))),
        })
    }

    fn acquire(&mut self, claim: &Claim, ttl: Duration, proposal: FencingToken) -> Result<Reply, NodeError> {
        if let Some((_, expires)) = claim.keys().iter().find_map(|key| self.keys.get(key)) {
            return Ok(Reply::Held { remaining: Some(*expires - Instant::now()) });
        }
        let highest = claim.counters().iter().filter_map(|key| self.counters.get(key)).max();
        let Some(token) = granted(highest.copied(), proposal) else {
            return Err(NodeError::new(Cause::Protocol, "the fencing counter is used up"));
        };
        self.set(claim, ttl);
        self.counters.extend(claim.counters().iter().map(|key| (key.clone(), token)));
        Ok(Reply::Granted { token })
    }

    fn raise(&mut self, claim: &Claim, token: FencingToken) -> Reply {
        if !self.holds(claim) {
            return Reply::NotHeld;
        }
        self.raise_counters(claim, token);
        Reply::Done
    }

    fn extend(&mut self, claim: &Claim, ttl: Duration, token: FencingToken) -> Reply {
        if !self.holds(claim) {
            return Reply::NotHeld;
        }
        let at_least = Instant::now() + whole_millis(ttl);
        for key in claim.keys() {
            if let Some((_, expires)) = self.keys.get_mut(key) {
                *expires = at_least.max(*expires);
            }
        }
        for counter in claim.counters() {
            self.counters.entry(counter.clone()).or_insert(token);
        }
        Reply::Done
    }

    fn heal(&mut self, claim: &Claim, ttl: Duration, token: FencingToken) -> Reply {
        let foreign = |key| self.keys.get(key).is_some_and(|(value, _)| value != claim.value());
        if claim.keys().iter().any(foreign) {
            return Reply::NotHeld;
        }
        self.set(claim, ttl);
        self.raise_counters(claim, token);
        Reply::Done
    }

    fn release(&mut self, claim: &Claim) -> Reply {
        let all = self.holds(claim);
        for key in claim.keys() {
            if self.keys.get(key).is_some_and(|(value, _)| value == claim.value()) {
                self.keys.remove(key);
            }
        }
        if all { Reply::Released } else { Reply::NotHeld }
    }

    fn holds(&self, claim: &Claim) -> bool {
        let held = |key| self.keys.get(key).is_some_and(|(value, _)| value == claim.value());
        claim.keys().iter().all(held)
    }

    /// Sets the keys of `claim` that are not there.
    fn set(&mut self, claim: &Claim, ttl: Duration) {
        let expires = Instant::now() + whole_millis(ttl);
        for key in claim.keys() {
            self.keys.entry(key.clone()).or_insert_with(|| (claim.value().to_owned(), expires));
        }
    }

    fn raise_counters(&mut self, claim: &Claim, token: FencingToken) {
        for key in claim.counters() {
            let counter = raised(self.counters.get(key).copied(), token);
            self.counters.insert(key.clone(), counter);
        }
    }

    fn inspect(&self, key: &str) -> KeyState {
        match self.keys.get(key) {
            None => KeyState::Free,
            Some((value, expires)) => {
                let remaining = Some(*expires - Instant::now());
                KeyState::Held { value: value.clone().into_bytes(), remaining }
            }
        }
    }
}

/// As Redis has it: whole milliseconds, rounded up so that a lease is never shorter than asked.
fn whole_millis(ttl: Duration) -> Duration {
    Duration::from_millis(crate::node::millis(ttl))
}
