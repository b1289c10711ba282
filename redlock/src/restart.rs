//! Nodes that may have forgotten their locks stay out until nobody can miss them.
//!
//! Redlock is only safe if a node that lost its memory does not vote before the longest lease it
//! may have granted is over. Here is what a manager asks for, and what its nodes must know of each
//! other; `history` decides, and the nodes carry it out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a node that was restarted stays out of votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartGuard {
    /// The longest lease, its drift, and a second because uptimes are whole seconds: safe if
    /// every client has the same `max_ttl`. The default.
    #[default]
    MaxTtl,
    /// So long, whatever the leases.
    For(Duration),
    /// Not at all: safe only where nodes never lose their data, or in tests.
    Off,
}

/// What the nodes of one lock manager must know of each other and of its rules.
#[derive(Clone, Debug)]
pub struct Membership {
    quarantine: Option<Duration>,
    peers: Arc<Peers>,
}

impl Membership {
    pub(crate) fn new(quarantine: Option<Duration>) -> Self {
        Self { quarantine, peers: Arc::default() }
    }

    /// How long a node stays out after it was started; `None` where the guard is off.
    #[must_use]
    pub fn quarantine(&self) -> Option<Duration> {
        self.quarantine
    }

    /// Says that the node called `name` is the server `run_id`.
    pub fn meet(&self, name: &str, run_id: &str) {
        self.peers.meet(name, run_id);
    }

    /// Another node that is the same server as the one called `name`.
    #[must_use]
    pub fn twin_of(&self, name: &str) -> Option<String> {
        self.peers.twin_of(name)
    }
}

/// Which server each node is.
#[derive(Debug, Default)]
struct Peers {
    run_ids: Mutex<BTreeMap<String, String>>,
    /// Spares the look-up in every request; twins are a mistake and rare.
    twins: AtomicBool,
}

impl Peers {
    fn meet(&self, name: &str, run_id: &str) {
        let mut run_ids = self.run_ids.lock().unwrap_or_else(PoisonError::into_inner);
        run_ids.insert(name.to_owned(), run_id.to_owned());
        let mut seen: Vec<_> = run_ids.values().collect();
        seen.sort_unstable();
        let twins = seen.windows(2).any(|pair| pair[0] == pair[1]);
        self.twins.store(twins, Ordering::Release);
    }

    fn twin_of(&self, name: &str) -> Option<String> {
        if !self.twins.load(Ordering::Acquire) {
            return None;
        }
        let run_ids = self.run_ids.lock().unwrap_or_else(PoisonError::into_inner);
        let run_id = run_ids.get(name)?;
        let twin = run_ids.iter().find(|(other, id)| *other != name && *id == run_id);
        twin.map(|(other, _)| other.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_know_each_other_until_one_moves() {
        let membership = Membership::new(None);
        membership.meet("redis://127.0.0.1:1", "a");
        membership.meet("redis://10.0.0.2:1", "b");
        assert_eq!(membership.twin_of("redis://127.0.0.1:1"), None);
        membership.meet("redis://localhost:1", "a");
        let twin = membership.twin_of("redis://127.0.0.1:1");
        assert_eq!(twin.as_deref(), Some("redis://localhost:1"));
        assert_eq!(membership.twin_of("redis://10.0.0.2:1"), None);
        membership.meet("redis://localhost:1", "c");
        assert_eq!(membership.twin_of("redis://127.0.0.1:1"), None);
    }
}
