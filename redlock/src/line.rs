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
    remembered: VecDeque<(Keys, Moment)>,
}

/// One resource. Small, because every lease that is held has one.
#[derive(Default)]
struct Line {
    /// The lease of this process, as far as is known here.
    holder: Option<Weak<Core>>,
    /// `None` where nobody waits and nothing is to be remembered.
    crowd: Option<Box<Crowd>>,
}

/// Those who wait, and what they need to know.
#[derive(Default)]
struct Crowd {
    waiting: VecDeque<Arc<Place>>,
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
        let lease = line.first().and_then(|place| next(place.want));
        line.holder = lease.as_ref().map(|lease| Arc::downgrade(lease.core()));
        let Some(lease) = lease else {
            // Also for somebody who comes before it is known whether others wait.
            line.crowd().leaving = Some(now);
            return false;
        };
        let crowd = line.crowd();
        let place = crowd.waiting.pop_front();
        let deaf = if crowd.waiting.is_empty() { crowd.hearing.take() } else { None };
        drop(state);
        drop(deaf);
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
        let crowd = state.line(keys).crowd();
        crowd.leaving = None;
        crowd.others = listeners > 0;
        crowd.yielding = listeners;
        crowd.yield_until = Some(now.after(YIELD));
        let first = crowd.waiting.front().cloned();
        let gone = state.tidy(keys, now);
        drop(state);
        drop(gone);
        first.inspect(|place| place.hint());
    }

    /// The lease of this process on `keys` was lost.
    pub(crate) fn lost(&self, keys: &Keys) {
        let first = self.lock().lines.get(keys).and_then(|line| line.first().cloned());
        first.inspect(|place| place.hint());
    }

    /// Another process has released `keys`, or may have.
    pub(crate) fn heard(&self, keys: &Keys, released: bool) {
        let mut state = self.lock();
        let Some(crowd) = state.lines.get_mut(keys).and_then(|line| line.crowd.as_mut()) else {
            return;
        };
        if released {
            crowd.others = true;
            crowd.yielding = crowd.yielding.saturating_sub(1);
        }
        let first = if crowd.yielding == 0 { crowd.waiting.front().cloned() } else { None };
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
    /// while that they are to go first. Gives back what was forgotten, to be dropped without a lock.
    fn tidy(&mut self, keys: &[String], now: Moment) -> Vec<Line> {
        let mut gone = Vec::new();
        let Some((keys, line)) = self.lines.get_key_value(keys) else { return gone };
        if !line.is_empty() {
            return gone;
        }
        let keys = Arc::clone(keys);
        if line.is_yielding(now) {
            self.remembered.push_back((keys, now.after(YIELD)));
        } else {
            gone.extend(self.lines.remove(&keys));
        }
        let over = |(_, until): &(Keys, Moment), count| *until <= now || count > REMEMBERED;
        while self.remembered.front().is_some_and(|oldest| over(oldest, self.remembered.len()))
            && let Some((oldest, _)) = self.remembered.pop_front()
        {
            // Remembered again meanwhile it stays.
            if self.lines.get(&oldest).is_some_and(|line| line.is_empty() && !line.is_yielding(now)) {
                gone.extend(self.lines.remove(&oldest));
            }
        }
        gone
    }
}

impl Line {
    fn is_empty(&self) -> bool {
        let is_left = |crowd: &Crowd| crowd.waiting.is_empty() && crowd.leaving.is_none();
        self.holder.is_none() && self.crowd.as_ref().is_none_or(|crowd| is_left(crowd))
    }

    fn is_yielding(&self, now: Moment) -> bool {
        let yields = |crowd: &Crowd| crowd.yielding > 0 && crowd.yield_until.is_some_and(|until| until > now);
        self.crowd.as_ref().is_some_and(|crowd| yields(crowd))
    }

    fn crowd(&mut self) -> &mut Crowd {
        self.crowd.get_or_insert_default()
    }

    fn first(&self) -> Option<&Arc<Place>> {
        self.crowd.as_ref()?.waiting.front()
    }

    fn is_held_by(&self, core: &Core) -> bool {
        self.holder.as_ref().is_some_and(|holder| std::ptr::eq(holder.as_ptr(), core))
    }

    /// How long the lease of this process stands, if there is one.
    fn held(&self, now: Moment) -> Option<Duration> {
        self.holder.as_ref()?.upgrade()?.remaining(now)
    }

    fn is_first(&self, place: &Arc<Place>) -> bool {
        self.first().is_some_and(|first| Arc::ptr_eq(first, place))
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
    pub(crate) async fn turn(&self, until: Option<Moment>, is_first: bool) -> Option<Turn> {
        loop {
            let left = self.left(until);
            let is_over = left.is_some_and(|left| left.is_zero());
            let nap = match self.look() {
                // Only a first round is begun when the time is over.
                Ok(Turn::Ask(_) | Turn::Yield) if is_over && !is_first => return None,
                Ok(turn) => return Some(turn),
                Err(_) if is_over => return None,
                Err(nap) => nap,
            };
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
        let crowd = line.crowd();
        if let Some(left) = crowd.leaving.and_then(|since| timeout.checked_sub(now.since(since))) {
            return Err(left.max(Duration::from_millis(1)));
        }
        crowd.leaving = None;
        if crowd.yield_until.take().is_some_and(|until| until > now) && crowd.yielding > 0 {
            return Ok(Turn::Yield);
        }
        Ok(Turn::Ask(Company { own: crowd.waiting.len() > 1, others: crowd.others }))
    }

    /// Says that this attempt failed.
    pub(crate) fn failed(&self, error: &LockError) {
        let mut state = self.lines.lock();
        let crowd = state.line(&self.keys).crowd();
        crowd.others |= matches!(error, LockError::Contended { .. });
        crowd.last = Some(error.clone());
    }

    /// Says that this attempt won `lease`.
    pub(crate) fn won(&self, lease: &Arc<Core>) {
        let mut state = self.lines.lock();
        let line = state.line(&self.keys);
        line.holder = Some(Arc::downgrade(lease));
        let crowd = line.crowd();
        crowd.waiting.retain(|place| !Arc::ptr_eq(place, &self.place));
        (crowd.last, crowd.yielding) = (None, 0);
        let gone = if crowd.waiting.is_empty() { line.crowd.take() } else { None };
        drop(state);
        // With its subscriptions, which may be told at once.
        drop(gone);
    }

    /// Stands in the line again, first: what was handed over was of no use.
    pub(crate) fn again(&self) {
        self.lines.lock().line(&self.keys).crowd().waiting.push_front(Arc::clone(&self.place));
    }

    /// Listens for releases by other processes from now on, as long as somebody waits here.
    pub(crate) fn listen(&self, hearing: impl FnOnce(&Arc<Lines>, &Keys) -> Hearing) {
        if self.lines.lock().line(&self.keys).crowd().hearing.is_some() {
            return;
        }
        // Not under the lock: nodes may have something to tell at once.
        let hearing = hearing(self.lines, &self.keys);
        let spare = self.lines.lock().line(&self.keys).crowd().hearing.replace(hearing);
        drop(spare);
    }

    /// Why there was no turn.
    pub(crate) fn obstacle(&self) -> Obstacle {
        let now = self.lines.clock.now();
        let mut state = self.lines.lock();
        let line = state.line(&self.keys);
        match (line.held(now), &line.crowd().last) {
            (Some(held), _) => Obstacle::Held(held),
            (None, Some(error)) => Obstacle::Failed(error.clone()),
            (None, None) => Obstacle::Line,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.lines.lock();
        let (mut next, mut deaf, mut gone) = (None, None, Vec::new());
        if let Some(line) = state.lines.get_mut(&self.keys)
            && let Some(crowd) = &mut line.crowd
        {
            let was_first = crowd.waiting.front().is_some_and(|first| Arc::ptr_eq(first, &self.place));
            crowd.waiting.retain(|place| !Arc::ptr_eq(place, &self.place));
            if was_first {
                next = crowd.waiting.front().cloned();
            }
            if crowd.waiting.is_empty() {
                deaf = crowd.hearing.take();
            }
            gone = state.tidy(&self.keys, self.lines.clock.now());
        }
        drop(state);
        let mut at = self.place.lock();
        at.left = true;
        let handed = at.handed.take();
        drop(at);
        // Both may come back here, to pass on a lease or to end a subscription.
        drop((handed, deaf, gone));
        next.inspect(|place| place.hint());
    }
}
