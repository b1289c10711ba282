//! Nodes that may have forgotten their locks stay out until nobody can miss them.
//!
//! Redlock is only safe if a node that lost its memory does not vote before the longest lease it
//! may have granted is over. What a node says of itself on each connection decides; this file is
//! the decision, the nodes carry it out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// How far a node's wall clock may be from ours for its uptime to be believed.
const CREDIBLE: Duration = Duration::from_secs(1);

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

/// What a node says of its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uptime {
    /// In whole seconds, by the node's wall clock; negative when that was pushed back.
    pub(crate) seconds: i64,
    /// How far the node's wall clock is from ours.
    pub(crate) clock_off: Duration,
}

/// What is remembered of a node over its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The server seen last, when it was seen first, and whether another one was seen before.
    last: Option<(String, Moment, bool)>,
}

impl History {
    /// Takes in a new connection at `now`; answers until when the node stays out.
    ///
    /// The uptime is believed where the node's clock agrees with ours. Where it does not, or
    /// where another server was here before, only our own sight of this one counts.
    pub(crate) fn connected(&mut self, run_id: &str, uptime: Uptime, quarantine: Duration, now: Moment) -> Moment {
        let (first_seen, replaced) = match &self.last {
            Some((last, first_seen, replaced)) if last == run_id => (*first_seen, *replaced),
            Some(_) => (now, true),
            None => (now, false),
        };
        self.last = Some((run_id.to_owned(), first_seen, replaced));
        let by_sight = first_seen.after(quarantine);
        match u64::try_from(uptime.seconds) {
            Ok(up) if uptime.clock_off <= CREDIBLE && !replaced => {
                let left = quarantine.saturating_sub(Duration::from_secs(up));
                now.after(left).min(by_sight)
            }
            _ => by_sight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const GUARD: Duration = Duration::from_secs(11);

    fn up(seconds: i64) -> Uptime {
        Uptime { seconds, clock_off: Duration::ZERO }
    }

    fn left(history: &mut History, run_id: &str, uptime: Uptime, now: Moment) -> u64 {
        history.connected(run_id, uptime, GUARD, now).since(now).as_secs()
    }

    #[test]
    fn a_young_node_waits_for_the_rest() {
        let now = Clock::System.now();
        assert_eq!(left(&mut History::default(), "a", up(0), now), 11);
        assert_eq!(left(&mut History::default(), "a", up(4), now), 7);
        assert_eq!(left(&mut History::default(), "a", up(3600), now), 0);
    }

    #[test]
    fn a_reconnect_to_the_same_server_does_not_start_anew() {
        let now = Clock::System.now();
        let mut history = History::default();
        assert_eq!(left(&mut history, "a", up(0), now), 11);
        assert_eq!(left(&mut history, "a", up(8), now.after(Duration::from_secs(8))), 3);
    }

    #[test]
    fn another_server_waits_in_full_however_old_it_says_it_is() {
        let now = Clock::System.now();
        let mut history = History::default();
        assert_eq!(left(&mut history, "a", up(3600), now), 0);
        assert_eq!(left(&mut history, "b", up(7200), now), 11);
        assert_eq!(left(&mut history, "b", up(7205), now.after(Duration::from_secs(5))), 6);
        assert_eq!(left(&mut history, "b", up(7220), now.after(Duration::from_secs(20))), 0);
    }

    #[test]
    fn an_uptime_that_cannot_be_believed_is_not() {
        let now = Clock::System.now();
        let off = Uptime { seconds: 3602, clock_off: Duration::from_secs(3600) };
        assert_eq!(left(&mut History::default(), "a", off, now), 11);
        assert_eq!(left(&mut History::default(), "a", up(-3600), now), 11);
    }

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
