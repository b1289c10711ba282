//! A lock node in this process: for simulation, and for demos with nothing installed.
//!
//! It keeps the rules of the Lua scripts in tokio's time, so that paused tests decide when keys
//! expire. The conformance suite keeps it honest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::node::{KeyState, Node, Reply, Request, Responder};
use crate::resource::Claim;

/// A lock node in this process. Clones are the same node.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use redlock::{Redlock, SimNode};
///
/// let redlock = Redlock::builder().node(SimNode::new("only")).build()?;
/// redlock.lock("order:42").await?.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SimNode {
    name: Arc<str>,
    keys: Arc<Mutex<Keys>>,
}

impl SimNode {
    /// An empty node.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), keys: Arc::default() }
    }

    /// How many keys are held now.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.expire();
        keys.map.len()
    }

    /// Whether no key is held now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Node for SimNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&self, request: Request, responder: Responder) {
        let reply = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.expire();
            keys.answer(&request)
        };
        responder.send(Ok(reply));
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// Keys with value and expiry; ordered, so that runs replay.
#[derive(Debug, Default)]
struct Keys {
    map: BTreeMap<String, (String, Instant)>,
}

impl Keys {
    fn expire(&mut self) {
        let now = Instant::now();
        self.map.retain(|_, (_, expires)| *expires > now);
    }

    fn answer(&mut self, request: &Request) -> Reply {
        match request {
            Request::Acquire { claim, ttl } => self.acquire(claim, *ttl),
            Request::Extend { claim, ttl } => self.extend(claim, *ttl),
            Request::Release { claim, .. } => self.release(claim),
            Request::Inspect { keys } => Reply::Keys(keys.iter().map(|key| self.inspect(key)).collect()),
        }
    }

    fn acquire(&mut self, claim: &Claim, ttl: Duration) -> Reply {
        if let Some((_, expires)) = claim.keys().iter().find_map(|key| self.map.get(key)) {
            return Reply::Held { remaining: Some(*expires - Instant::now()) };
        }
        let expires = Instant::now() + whole_millis(ttl);
        for key in claim.keys() {
            self.map.insert(key.clone(), (claim.value().to_owned(), expires));
        }
        Reply::Granted
    }

    fn extend(&mut self, claim: &Claim, ttl: Duration) -> Reply {
        if !claim.keys().iter().all(|key| self.held(key, claim)) {
            return Reply::NotHeld;
        }
        let at_least = Instant::now() + whole_millis(ttl);
        for key in claim.keys() {
            if let Some((_, expires)) = self.map.get_mut(key) {
                *expires = at_least.max(*expires);
            }
        }
        Reply::Extended
    }

    fn release(&mut self, claim: &Claim) -> Reply {
        let mut all = true;
        for key in claim.keys() {
            if self.held(key, claim) {
                self.map.remove(key);
            } else {
                all = false;
            }
        }
        if all { Reply::Released } else { Reply::NotHeld }
    }

    fn held(&self, key: &str, claim: &Claim) -> bool {
        self.map.get(key).is_some_and(|(value, _)| value == claim.value())
    }

    fn inspect(&self, key: &str) -> KeyState {
        match self.map.get(key) {
            None => KeyState::Free,
            Some((value, expires)) => {
                KeyState::Held { value: value.clone().into_bytes(), remaining: Some(*expires - Instant::now()) }
            }
        }
    }
}

/// As Redis has it: whole milliseconds, rounded up so that a lease is never shorter than asked.
fn whole_millis(ttl: Duration) -> Duration {
    Duration::from_millis(crate::node::millis(ttl))
}
