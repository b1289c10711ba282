//! Who waits for what in this process: one line a resource, first come, first served.
//!
//! Only the first of a line asks the nodes, so a process sends them one contender, however many of
//! its tasks wait. Where the holder is in this process too, its lease is passed on without asking
//! the nodes at all (see [`Chain`](crate::chain::Chain)). Lines that have a key in common take turns
//! as processes do.

mod overlaps;
mod place;
mod state;
mod ticket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::fencing::FencingToken;
use crate::guard::Guard;
use crate::lease::{Core, Lease};

pub(crate) use self::ticket::{Company, Obstacle, Ticket, Turn};

use self::place::Place;
use self::state::State;

/// The lock keys of a resource.
pub(crate) type Keys = Arc<[String]>;

/// How long a line yields to others that have waited when it released; then it asks again
/// whatever it has heard.
const YIELD: Duration = Duration::from_millis(100);

/// How long a line yields in which somebody waits, where nodes do not tell of others: they may be
/// there all the same.
const YIELD_UNHEARD: Duration = Duration::from_millis(20);

/// The lines of one manager.
pub(crate) struct Lines {
    clock: Clock,
    /// How long the listeners of a release are waited for.
    node_timeout: Duration,
    /// Whether other processes can be heard, and counted.
    hears: bool,
    state: Mutex<State>,
}

/// What somebody in a line wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) ttl: Duration,
    /// The smallest token that will do.
    pub(crate) floor: FencingToken,
    pub(crate) renew: bool,
    pub(crate) max_hold: Option<Duration>,
}

impl Lines {
    pub(crate) fn new(clock: Clock, node_timeout: Duration, hears: bool) -> Arc<Self> {
        Arc::new(Self { clock, node_timeout, hears, state: Mutex::default() })
    }

    /// A place at the end of the line for `keys`.
    pub(crate) fn enter(self: &Arc<Self>, keys: &Keys, want: Want) -> Ticket<'_> {
        let place = Arc::new(Place::new(want, self.clock.now()));
        self.lock().line(keys).crowd().waiting.push_back(Arc::clone(&place));
        Ticket { lines: self, keys: Arc::clone(keys), place }
    }

    /// Says that `lease` was won, by somebody who did not stand in the line.
    pub(crate) fn hold(&self, keys: &Keys, lease: &Arc<Core>) {
        self.lock().line(keys).holder = Some(Arc::downgrade(lease));
    }

    /// Passes on the lease that `core` was, where somebody waits for whom `next` makes one of it.
    /// Otherwise it counts as released from now on.
    pub(crate) fn pass_on(&self, core: &Core, next: impl FnOnce(Want) -> Option<Lease>) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(core.keys()) else {
            return false;
        };
        if !line.is_held_by(core) {
            return false;
        }
        let place = line.first(now).filter(|place| place.is_polled(now)).cloned();
        let handed = place.and_then(|place| Some((next(place.want)?, place)));
        line.holder = handed.as_ref().map(|(lease, _)| Arc::downgrade(lease.core()));
        let crowd = line.crowd();
        let Some((lease, place)) = handed else {
            // Also for somebody who comes before it is known whether others wait.
            crowd.leaving = Some(now);
            return false;
        };
        crowd.leave(&place);
        let deaf = if crowd.waiting.is_empty() { crowd.hearing.take() } else { None };
        drop(state);
        drop(deaf);
        // Refused where whoever stood there left in this moment; then it goes to the next, or to
        // the nodes.
        drop(place.hand(Guard::new(lease)));
        true
    }

    /// The release of a lease on `keys` has reached a quorum, or can no longer: so many other
    /// processes wait for it.
    pub(crate) fn left(&self, keys: &Keys, listeners: usize) {
        let now = self.clock.now();
        let mut state = self.lock();
        let rivals = state.rivals(keys);
        let line = state.line(keys);
        let is_unheard = !self.hears && !line.nobody_waits();
        let others = listeners + rivals.len();
        let crowd = line.crowd();
        crowd.leaving = None;
        crowd.others = others > 0;
        crowd.yielding = if others == 0 && is_unheard { 1 } else { others };
        crowd.yield_until = Some(now.after(if others == 0 && is_unheard { YIELD_UNHEARD } else { YIELD }));
        let mut hinted: Vec<_> = line.first(now).cloned().into_iter().collect();
        hinted.extend(rivals.iter().filter_map(|rival| state.heard(rival, true, now)));
        let gone = state.tidy(keys, now);
        drop(state);
        drop(gone);
        hinted.iter().for_each(|place| place.hint());
    }

    /// The lease of this process on `keys` was lost.
    pub(crate) fn lost(&self, keys: &Keys) {
        let now = self.clock.now();
        let first = self.lock().lines.get(keys).and_then(|line| line.first(now).cloned());
        first.inspect(|place| place.hint());
    }

    /// Another process has released `keys`, or may have.
    pub(crate) fn heard(&self, keys: &Keys, released: bool) {
        let first = self.lock().heard(keys, released, self.clock.now());
        first.inspect(|place| place.hint());
    }

    /// How long somebody who asks the nodes may take until it is polled again.
    fn asking(&self, now: Moment) -> Moment {
        // A round and a write-back, after a second for room.
        now.after(self.node_timeout.saturating_mul(2).saturating_add(Duration::from_secs(1)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::state::REMEMBERED;
    use super::*;

    fn lines() -> Arc<Lines> {
        Lines::new(Clock::System, Duration::from_millis(50), true)
    }

    fn keys<const N: usize>(keys: [&str; N]) -> Keys {
        keys.map(str::to_owned).into()
    }

    fn want() -> Want {
        Want { ttl: Duration::from_secs(1), floor: FencingToken::ZERO, renew: false, max_hold: None }
    }

    /// Others wait for each of them, and this process lets go of all in one moment.
    #[test]
    fn what_is_remembered_for_others_is_bounded() {
        let lines = lines();
        for number in 0..100 * REMEMBERED {
            let keys: Keys = [number.to_string()].into();
            lines.left(&keys, 1);
        }
        let state = lines.lock();
        let kept = (state.lines.len(), state.remembered.len());
        assert!(kept.0 <= REMEMBERED + 1 && kept.1 <= REMEMBERED + 1, "{kept:?}");
    }

    #[test]
    fn lines_that_have_a_key_in_common_know_of_each_other_while_somebody_waits() {
        let lines = lines();
        let (one, both, others) = (keys(["a"]), keys(["a", "b"]), keys(["b", "c"]));
        let rivals = |keys: &Keys| lines.lock().rivals(keys);
        let waiting = lines.enter(&both, want());
        let (first, second) = (lines.enter(&one, want()), lines.enter(&others, want()));
        assert_eq!(rivals(&one), [Arc::clone(&both)]);
        assert_eq!(rivals(&both), [Arc::clone(&one), Arc::clone(&others)]);
        assert_eq!(rivals(&keys(["d"])), []);
        drop(waiting);
        assert_eq!((rivals(&one), rivals(&others)), (vec![], vec![]));
        drop((first, second));
        let state = lines.lock();
        assert!(state.lines.is_empty() && state.rivals(&both).is_empty());
    }
}
