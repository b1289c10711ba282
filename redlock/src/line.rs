//! Who waits for what in this process: one line a resource, first come, first served.
//!
//! Only the first of a line asks the nodes, so a process sends them one contender, however many of
//! its tasks wait. Where the holder is in this process too, its lease is passed on without asking
//! the nodes at all (see [`Chain`](crate::chain::Chain)).

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::error::LockError;
use crate::fencing::FencingToken;
use crate::guard::Guard;
use crate::hearing::Hearing;
use crate::lease::{Core, Lease, RECHECK};

/// The lock keys of a resource.
pub(crate) type Keys = Arc<[String]>;

/// How long a process yields to others that have waited when it released; then it asks again
/// whatever it has heard.
const YIELD: Duration = Duration::from_millis(100);

/// How many resources that nobody waits for are remembered for the sake of other processes.
const REMEMBERED: usize = 1024;

/// The lines of one manager.
pub(crate) struct Lines {
    clock: Clock,
    /// How long the listeners of a release are waited for.
    node_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: HashMap<Keys, Line>,
    /// Lines in which nobody stands, oldest first.
    remembered: VecDeque<Keys>,
}

/// One resource.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Arc<Place>>,
    /// The lease of this process, as far as is known here.
    holder: Option<Weak<Core>>,
    /// Since when a release is under way whose listeners are not known yet.
    leaving: Option<Moment>,
    /// How many releases by others to let pass before the nodes are asked again: so many processes
    /// waited when this one released last. Each of them does the same, so they take turns.
    yielding: usize,
    /// Until when that holds for somebody who comes anew.
    yield_until: Option<Moment>,
    /// Whether another process was seen to hold the resource, or to wait for it.
    others: bool,
    /// Open while somebody waits for another process.
    hearing: Option<Hearing>,
    /// Why the last attempt failed.
    last: Option<LockError>,
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

/// Somebody's place in a line.
struct Place {
    want: Want,
    state: Mutex<PlaceState>,
}

#[derive(Default)]
struct PlaceState {
    /// The lease that was passed on.
    handed: Option<Guard>,
    /// Whether the one it was kept for is gone.
    left: bool,
    /// Whether there is a reason to look again.
    hint: bool,
    waker: Option<Waker>,
}

/// What somebody in a line is to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Take this lease, which was passed on.
    Handed(Guard),
    /// Ask the nodes.
    Ask(Company),
    /// Let other processes go first, for a while.
    Yield,
}

/// Who else wants the resource.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Company {
    /// More of this process wait behind.
    pub(crate) own: bool,
    /// Other processes were seen to hold it or to wait for it.
    pub(crate) others: bool,
}

/// Why somebody in a line has not had a turn yet.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// This process holds the lease, for so long unless it is renewed.
    Held(Duration),
    /// The last attempt of another task failed.
    Failed(LockError),
    /// Others of this process are before.
    Line,
}

impl Lines {
    pub(crate) fn new(clock: Clock, node_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { clock, node_timeout, state: Mutex::default() })
    }

    /// A place at the end of the line for `keys`.
    pub(crate) fn enter(self: &Arc<Self>, keys: &Keys, want: Want) -> Ticket<'_> {
        let place = Arc::new(Place { want, state: Mutex::default() });
        self.lock().line(keys).waiting.push_back(Arc::clone(&place));
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
        let lease = line.waiting.front().and_then(|place| next(place.want));
        line.holder = lease.as_ref().map(|lease| Arc::downgrade(lease.core()));
        let Some(lease) = lease else {
            line.leaving = (!line.waiting.is_empty()).then_some(now);
            state.tidy(core.keys());
            return false;
        };
        let place = line.waiting.pop_front();
        drop(state);
        // Refused where whoever stood there left in this moment; then it goes to the next, or to
        // the nodes.
        drop(place.and_then(|place| place.hand(Guard::new(lease))));
        true
    }

    /// The release of a lease on `keys` has reached a quorum, or can no longer: so many other
    /// processes wait for it.
    pub(crate) fn left(&self, keys: &Keys, listeners: usize) {
        let now = self.clock.now();
        let mut state = self.lock();
        if listeners == 0 && !state.lines.contains_key(keys) {
            return;
        }
        let line = state.line(keys);
        line.leaving = None;
        line.others = listeners > 0;
        line.yielding = listeners;
        line.yield_until = Some(now.after(YIELD));
        let first = line.waiting.front().cloned();
        state.tidy(keys);
        drop(state);
        first.inspect(|place| place.hint());
    }

    /// The lease of this process on `keys` was lost.
    pub(crate) fn lost(&self, keys: &Keys) {
        let first = self.lock().lines.get(keys).and_then(|line| line.waiting.front().cloned());
        first.inspect(|place| place.hint());
    }

    /// Another process has released `keys`, or may have.
    pub(crate) fn heard(&self, keys: &Keys, released: bool) {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(keys) else {
            return;
        };
        if released {
            line.others = true;
            line.yielding = line.yielding.saturating_sub(1);
        }
        let first = if line.yielding == 0 { line.waiting.front().cloned() } else { None };
        drop(state);
        first.inspect(|place| place.hint());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&mut self, keys: &Keys) -> &mut Line {
        if !self.lines.contains_key(keys) {
            self.lines.insert(Arc::clone(keys), Line::default());
        }
        self.lines.get_mut(keys).unwrap_or_else(|| unreachable!("it was inserted"))
    }

    /// Forgets the line for `keys` if nobody stands in it; where others wait it is remembered for a
    /// while that they are to go first.
    fn tidy(&mut self, keys: &[String]) {
        let Some((keys, line)) = self.lines.get_key_value(keys) else { return };
        if !line.is_empty() {
            return;
        }
        let keys = Arc::clone(keys);
        if line.yielding == 0 {
            self.lines.remove(&keys);
            return;
        }
        self.remembered.push_back(keys);
        if self.remembered.len() > REMEMBERED
            && let Some(oldest) = self.remembered.pop_front()
            && self.lines.get(&oldest).is_some_and(Line::is_empty)
        {
            self.lines.remove(&oldest);
        }
    }
}

impl Line {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.holder.is_none() && self.leaving.is_none()
    }

    fn is_held_by(&self, core: &Core) -> bool {
        self.holder.as_ref().is_some_and(|holder| std::ptr::eq(holder.as_ptr(), core))
    }

    /// How long the lease of this process stands, if there is one.
    fn held(&self, now: Moment) -> Option<Duration> {
        self.holder.as_ref()?.upgrade()?.remaining(now)
    }

    fn is_first(&self, place: &Arc<Place>) -> bool {
        self.waiting.front().is_some_and(|first| Arc::ptr_eq(first, place))
    }
}

impl Place {
    /// Hands over a lease; gives it back where nobody is there to take it.
    fn hand(&self, guard: Guard) -> Option<Guard> {
        let mut state = self.lock();
        if state.left {
            return Some(guard);
        }
        state.handed = Some(guard);
        let waker = state.waker.take();
        drop(state);
        waker.inspect(Waker::wake_by_ref);
        None
    }

    /// Says that there is a reason to look again.
    fn hint(&self) {
        let mut state = self.lock();
        state.hint = true;
        let waker = state.waker.take();
        drop(state);
        waker.inspect(Waker::wake_by_ref);
    }

    /// Waits for a lease or a hint, at most so long.
    async fn wait(&self, limit: Duration) {
        let hinted = poll_fn(|cx| {
            let mut state = self.lock();
            if state.handed.is_some() || std::mem::take(&mut state.hint) {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        });
        let _ = tokio::time::timeout(limit, hinted).await;
    }

    fn lock(&self) -> MutexGuard<'_, PlaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a line; dropped, it is left, and what was handed over in that moment goes on to the
/// next.
pub(crate) struct Ticket<'a> {
    lines: &'a Arc<Lines>,
    keys: Keys,
    place: Arc<Place>,
}

impl Ticket<'_> {
    /// Waits for a turn; `None` when the time to wait is over before.
    ///
    /// Dropping the future is safe: what was handed over stays with the ticket.
    pub(crate) async fn turn(&self, until: Option<Moment>) -> Option<Turn> {
        loop {
            let nap = match self.look() {
                Ok(turn) => return Some(turn),
                Err(nap) => nap,
            };
            let left = self.left(until);
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            self.place.wait(left.map_or(nap, |left| left.min(nap))).await;
        }
    }

    /// Waits for a reason to look again, at most `pause` and at most until then.
    pub(crate) async fn pause(&self, pause: Duration, until: Option<Moment>) {
        let pause = self.left(until).map_or(pause, |left| left.min(pause));
        self.place.wait(pause).await;
    }

    /// Time left of a wait, if it has an end.
    pub(crate) fn left(&self, until: Option<Moment>) -> Option<Duration> {
        until.map(|until| until.since(self.lines.clock.now()))
    }

    /// What to do now, or when things may have changed by themselves.
    fn look(&self) -> Result<Turn, Duration> {
        if let Some(guard) = self.place.lock().handed.take() {
            return Ok(Turn::Handed(guard));
        }
        let now = self.lines.clock.now();
        let mut state = self.lines.lock();
        let line = state.line(&self.keys);
        if !line.is_first(&self.place) {
            return Err(RECHECK);
        }
        if let Some(held) = line.held(now) {
            return Err(held.min(RECHECK));
        }
        line.holder = None;
        let timeout = self.lines.node_timeout;
        if let Some(left) = line.leaving.and_then(|since| timeout.checked_sub(now.since(since))) {
            return Err(left.max(Duration::from_millis(1)));
        }
        line.leaving = None;
        if line.yield_until.take().is_some_and(|until| until > now) && line.yielding > 0 {
            return Ok(Turn::Yield);
        }
        Ok(Turn::Ask(Company { own: line.waiting.len() > 1, others: line.others }))
    }

    /// Says that this attempt failed.
    pub(crate) fn failed(&self, error: &LockError) {
        let mut state = self.lines.lock();
        let line = state.line(&self.keys);
        line.others |= matches!(error, LockError::Contended { .. });
        line.last = Some(error.clone());
    }

    /// Says that this attempt won `lease`.
    pub(crate) fn won(&self, lease: &Arc<Core>) {
        let mut state = self.lines.lock();
        let line = state.line(&self.keys);
        line.waiting.retain(|place| !Arc::ptr_eq(place, &self.place));
        line.holder = Some(Arc::downgrade(lease));
        (line.last, line.yielding) = (None, 0);
        let deaf = if line.waiting.is_empty() { line.hearing.take() } else { None };
        drop(state);
        drop(deaf);
    }

    /// Stands in the line again, first: what was handed over was of no use.
    pub(crate) fn again(&self) {
        self.lines.lock().line(&self.keys).waiting.push_front(Arc::clone(&self.place));
    }

    /// Listens for releases by other processes from now on, as long as somebody waits here.
    pub(crate) fn listen(&self, hearing: impl FnOnce(&Arc<Lines>, &Keys) -> Hearing) {
        if self.lines.lock().line(&self.keys).hearing.is_some() {
            return;
        }
        // Not under the lock: nodes may have something to tell at once.
        let hearing = hearing(self.lines, &self.keys);
        let spare = self.lines.lock().line(&self.keys).hearing.replace(hearing);
        drop(spare);
    }

    /// Why there was no turn.
    pub(crate) fn obstacle(&self) -> Obstacle {
        let now = self.lines.clock.now();
        let mut state = self.lines.lock();
        let line = state.line(&self.keys);
        match (line.held(now), &line.last) {
            (Some(held), _) => Obstacle::Held(held),
            (None, Some(error)) => Obstacle::Failed(error.clone()),
            (None, None) => Obstacle::Line,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.lines.lock();
        let (mut next, mut deaf) = (None, None);
        if let Some(line) = state.lines.get_mut(&self.keys) {
            let was_first = line.is_first(&self.place);
            line.waiting.retain(|place| !Arc::ptr_eq(place, &self.place));
            if was_first {
                next = line.waiting.front().cloned();
            }
            if line.waiting.is_empty() {
                deaf = line.hearing.take();
            }
            state.tidy(&self.keys);
        }
        drop(state);
        let mut at = self.place.lock();
        at.left = true;
        let handed = at.handed.take();
        drop(at);
        // Both may come back here, to pass on a lease or to end a subscription.
        drop((handed, deaf));
        next.inspect(|place| place.hint());
    }
}
