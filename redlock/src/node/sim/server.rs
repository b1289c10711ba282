//! The node itself: keys, counters and a clock of its own, under the rules of the Lua scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;
use crate::error::{Cause, NodeError};
use crate::fencing::{FencingToken, granted, raised};
use crate::node::{Ear, KeyState, NodeInfo, Reply, Request, Role};
use crate::resource::Claim;

/// What befell a node and the traffic with it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimCounts {
    /// Acquires granted.
    pub grants: u64,
    /// Of those, how many when their release was already under way.
    pub late_grants: u64,
    /// Tokens written back.
    pub write_backs: u64,
    /// Leases that were given back.
    pub heals: u64,
    /// Keys that ended by the node's clock.
    pub expiries: u64,
    /// Times the node was stopped.
    pub crashes: u64,
    /// Requests that never reached the node, and answers that never came back.
    pub losses: u64,
    /// Answers that came twice.
    pub duplicates: u64,
    /// Releases sent again over a new connection.
    pub debts_paid: u64,
}

/// What handles of one node share.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    keys: BTreeMap<String, (String, Duration)>,
    counters: BTreeMap<String, FencingToken>,
    clock: NodeClock,
    /// Starts so far, and when the last one was; `None` before the epoch: it was always there.
    pub(super) starts: u64,
    started: Option<Duration>,
    pub(super) up: bool,
    pub(super) counts: SimCounts,
    /// Handles whose traffic travels: they notice when the node goes.
    pub(super) links: Vec<Weak<Link>>,
    listeners: Vec<Listener>,
    last_listener: u64,
    /// Whom to tell of what; taken by whoever let the node answer.
    pub(super) heard: Vec<(Ear, Arc<str>)>,
}

/// Somebody who listens for releases.
#[derive(Debug)]
struct Listener {
    id: u64,
    /// The handle it listens over.
    link: usize,
    keys: Vec<String>,
    ear: Ear,
}

/// Tokio's clock, run faster or slower.
#[derive(Debug)]
struct NodeClock {
    rate: f64,
    /// When the rate was set, by tokio's clock and by this one.
    since: Option<(Instant, Duration)>,
}

impl NodeClock {
    fn now(&mut self) -> Duration {
        let now = Instant::now();
        let (at, shown) = *self.since.get_or_insert((now, Duration::ZERO));
        shown + now.saturating_duration_since(at).mul_f64(self.rate)
    }

    fn set_rate(&mut self, rate: f64) {
        let shown = self.now();
        self.since = Some((Instant::now(), shown));
        self.rate = rate;
    }
}

impl Server {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            keys: BTreeMap::new(),
            counters: BTreeMap::new(),
            clock: NodeClock { rate: 1.0, since: None },
            starts: 0,
            started: None,
            up: true,
            counts: SimCounts::default(),
            links: Vec::new(),
            listeners: Vec::new(),
            last_listener: 0,
            heard: Vec::new(),
        }
    }

    pub(super) fn start(&mut self, keep_data: bool) {
        self.up = true;
        self.starts += 1;
        self.started = Some(self.clock.now());
        if !keep_data {
            self.keys.clear();
            self.counters.clear();
        }
    }

    pub(super) fn set_clock_rate(&mut self, rate: f64) {
        self.clock.set_rate(rate);
    }

    /// Lets `ear` hear of releases of `keys`, over the handle `link`.
    pub(super) fn listen(&mut self, link: usize, keys: &[String], ear: Ear) -> u64 {
        self.last_listener += 1;
        let id = self.last_listener;
        self.listeners.push(Listener { id, link, keys: keys.to_vec(), ear });
        id
    }

    pub(super) fn unlisten(&mut self, id: u64) {
        self.listeners.retain(|listener| listener.id != id);
    }

    /// How many keys are held now.
    pub(super) fn held(&mut self) -> usize {
        self.expire();
        self.keys.len()
    }

    fn expire(&mut self) -> Duration {
        let now = self.clock.now();
        let before = self.keys.len();
        self.keys.retain(|_, (_, expires)| *expires > now);
        self.counts.expiries += (before - self.keys.len()) as u64;
        now
    }

    pub(super) fn info(&mut self) -> NodeInfo {
        let now = self.clock.now();
        let up = self.started.map_or(i64::MAX, |started| i64::try_from((now - started).as_secs()).unwrap_or(i64::MAX));
        NodeInfo {
            run_id: format!("{}#{}", self.name, self.starts),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: Role::Master,
            cluster: false,
            uptime_seconds: up,
            append_only: false,
            eviction: "noeviction".to_owned(),
            clock_ahead_ms: 0,
        }
    }

    /// Carries out `request`, which came over the handle `link`.
    pub(super) fn answer(&mut self, link: usize, request: &Request) -> Result<Reply, NodeError> {
        let now = self.expire();
        Ok(match request {
            Request::Acquire { claim, ttl, proposal, span } => {
                return self.acquire(claim, (now, *ttl), *proposal, *span);
            }
            Request::Raise { claim, token } => self.raise(claim, *token),
            Request::Extend { claim, ttl, token } => self.extend(claim, (now, *ttl), *token),
            Request::Heal { claim, ttl, token } => self.heal(claim, (now, *ttl), *token),
            Request::Release { claim, by, .. } => self.release(link, claim, by.as_ref()),
            Request::Inspect { keys } => Reply::Keys(keys.iter().map(|key| self.inspect(key, now)).collect()),
            Request::Info => Reply::Info(Some(Box::new(self.info()))),
        })
    }

    fn acquire(&mut self, claim: &Claim, lease: Lease, proposal: FencingToken, span: u32) -> Result<Reply, NodeError> {
        if let Some((_, expires)) = claim.keys().iter().find_map(|key| self.keys.get(key)) {
            return Ok(Reply::Held { remaining: Some(*expires - lease.0) });
        }
        let mut token = proposal;
        // One after another, as the script does it: where one is used up, those before it stay raised.
        for (place, key) in claim.counters().iter().enumerate() {
            let Some(needed) = granted(self.counters.get(key).copied(), token, span) else {
                return Err(NodeError::new(Cause::Protocol, "the fencing counter is used up"));
            };
            token = needed;
            self.counters.extend(claim.counters()[..=place].iter().map(|key| (key.clone(), token)));
        }
        self.set(claim, lease);
        self.counts.grants += 1;
        Ok(Reply::Granted { token })
    }

    fn raise(&mut self, claim: &Claim, token: FencingToken) -> Reply {
        if !self.holds(claim) {
            return Reply::NotHeld;
        }
        self.counts.write_backs += 1;
        self.raise_counters(claim, token);
        Reply::Done
    }

    fn extend(&mut self, claim: &Claim, lease: Lease, token: FencingToken) -> Reply {
        if !self.holds(claim) {
            return Reply::NotHeld;
        }
        for key in claim.keys() {
            if let Some((_, expires)) = self.keys.get_mut(key) {
                *expires = end(lease).max(*expires);
            }
        }
        for counter in claim.counters() {
            self.counters.entry(counter.clone()).or_insert(token);
        }
        Reply::Done
    }

    fn heal(&mut self, claim: &Claim, lease: Lease, token: FencingToken) -> Reply {
        let foreign = |key| self.keys.get(key).is_some_and(|(value, _)| value != claim.value());
        if claim.keys().iter().any(foreign) {
            return Reply::NotHeld;
        }
        if !self.holds(claim) {
            self.counts.heals += 1;
        }
        self.set(claim, lease);
        self.raise_counters(claim, token);
        Reply::Done
    }

    fn release(&mut self, link: usize, claim: &Claim, by: Option<&Arc<str>>) -> Reply {
        let all = self.holds(claim);
        let mut listeners = 0;
        for key in claim.keys() {
            if self.keys.get(key).is_some_and(|(value, _)| value == claim.value()) {
                self.keys.remove(key);
                listeners = listeners.max(by.map_or(0, |by| self.publish(link, key, by)));
            }
        }
        if all { Reply::Released { listeners } } else { Reply::NotHeld }
    }

    /// Tells whoever listens for `key`; how many other handles that was.
    fn publish(&mut self, link: usize, key: &String, by: &Arc<str>) -> usize {
        let listening = || self.listeners.iter().filter(|listener| listener.keys.contains(key));
        self.heard.extend(listening().map(|listener| (listener.ear.clone(), Arc::clone(by))));
        let others: BTreeSet<_> = listening().map(|listener| listener.link).filter(|other| *other != link).collect();
        others.len()
    }

    fn holds(&self, claim: &Claim) -> bool {
        let held = |key| self.keys.get(key).is_some_and(|(value, _)| value == claim.value());
        claim.keys().iter().all(held)
    }

    /// Sets the keys of `claim` that are not there.
    fn set(&mut self, claim: &Claim, lease: Lease) {
        for key in claim.keys() {
            self.keys.entry(key.clone()).or_insert_with(|| (claim.value().to_owned(), end(lease)));
        }
    }

    fn raise_counters(&mut self, claim: &Claim, token: FencingToken) {
        for key in claim.counters() {
            let stored = self.counters.get(key).copied();
            // As in the scripts: a counter that nothing raises is not made, so that an extension can restore it.
            if stored.map_or(0, FencingToken::get) < token.get() {
                self.counters.insert(key.clone(), raised(stored, token));
            }
        }
    }

    fn inspect(&self, key: &str, now: Duration) -> KeyState {
        match self.keys.get(key) {
            None => KeyState::Free,
            Some((value, expires)) => {
                KeyState::Held { value: value.clone().into_bytes(), remaining: Some(*expires - now) }
            }
        }
    }
}

/// The node's time, and how long a key is to live from then.
type Lease = (Duration, Duration);

/// As Redis has it: whole milliseconds, rounded up so that a lease is never shorter than asked.
fn end((now, ttl): Lease) -> Duration {
    now + Duration::from_millis(crate::node::millis(ttl))
}
