//! What somebody in a line may ask and say, and how the line is left.

use std::sync::Arc;
use std::time::Duration;

use super::place::Place;
use super::{Keys, Lines};
use crate::clock::Moment;
use crate::error::LockError;
use crate::guard::Guard;
use crate::hearing::Hearing;
use crate::lease::{Core, RECHECK};

pub(crate) enum Turn {
    /// Take this lease, which was passed on.
    Handed(Guard),
    /// Ask the nodes.
    Ask(Company),
    /// Let others go first, for so long at most.
    Yield(Duration),
}

/// Who else wants the resource.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Company {
    /// More of this process wait behind.
    pub(crate) own: bool,
    /// Others were seen to hold it or to wait for it.
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

/// A place in a line; dropped, it is left, and what was handed over in that moment goes on to the
/// next.
pub(crate) struct Ticket<'a> {
    pub(super) lines: &'a Arc<Lines>,
    pub(super) keys: Keys,
    pub(super) place: Arc<Place>,
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
                Ok(Turn::Ask(_) | Turn::Yield(_)) if is_over && !is_first => return None,
                Ok(turn) => return Some(turn),
                Err(_) if is_over => return None,
                Err(nap) => nap,
            };
            self.nap(left.map_or(nap, |left| left.min(nap))).await;
        }
    }

    /// Waits for a reason to look again, at most `pause` and at most until then.
    pub(crate) async fn pause(&self, pause: Duration, until: Option<Moment>) {
        self.nap(self.left(until).map_or(pause, |left| left.min(pause))).await;
    }

    async fn nap(&self, nap: Duration) {
        self.place.back_by(self.lines.clock.now().after(nap));
        self.place.wait(nap).await;
    }

    /// Time left of a wait, if it has an end.
    pub(crate) fn left(&self, until: Option<Moment>) -> Option<Duration> {
        until.map(|until| until.since(self.lines.clock.now()))
    }

    /// What to do now, or when things may have changed by themselves.
    fn look(&self) -> Result<Turn, Duration> {
        if let Some(guard) = self.place.handed() {
            return Ok(Turn::Handed(guard));
        }
        let now = self.lines.clock.now();
        let mut state = self.lines.lock();
        let has_rivals = !state.rivals(&self.keys).is_empty();
        let line = state.line(&self.keys);
        if !line.is_first(&self.place, now) {
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
        if let Some(until) = crowd.yield_until.take().filter(|until| *until > now && crowd.yielding > 0) {
            return Ok(Turn::Yield(until.since(now)));
        }
        self.place.back_by(self.lines.asking(now));
        Ok(Turn::Ask(Company { own: crowd.waiting.len() > 1, others: crowd.others || has_rivals }))
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
        crowd.leave(&self.place);
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
        let now = self.lines.clock.now();
        let mut state = self.lines.lock();
        let (mut next, mut deaf, mut gone) = (None, None, Vec::new());
        if let Some(line) = state.lines.get_mut(&self.keys)
            && let Some(crowd) = &mut line.crowd
        {
            let was_first = crowd.waiting.front().is_some_and(|first| Arc::ptr_eq(first, &self.place));
            crowd.leave(&self.place);
            if crowd.waiting.is_empty() {
                deaf = crowd.hearing.take();
            }
            if was_first {
                next = line.first(now).cloned();
            }
            gone = state.tidy(&self.keys, now);
        }
        drop(state);
        let handed = self.place.leave();
        // Both may come back here, to pass on a lease or to end a subscription.
        drop((handed, deaf, gone));
        next.inspect(|place| place.hint());
    }
}
