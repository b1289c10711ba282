//! Somebody's place in a line: where a lease is handed over, or a hint left.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::Want;
use crate::clock::Moment;
use crate::guard::Guard;
use crate::lease::RECHECK;

/// How late somebody may be who is still polled.
const LATE: Duration = RECHECK;

/// Somebody's place in a line.
pub(super) struct Place {
    pub(super) want: Want,
    state: Mutex<PlaceState>,
}

struct PlaceState {
    /// The lease that was passed on.
    handed: Option<Guard>,
    /// Whether the one it was kept for is gone.
    left: bool,
    /// Whether there is a reason to look again.
    hint: bool,
    waker: Option<Waker>,
    /// By when whoever is polled has been here again. Futures may be kept and not polled, and those
    /// behind them must not wait for that.
    back_by: Moment,
}

impl Place {
    pub(super) fn new(want: Want, now: Moment) -> Self {
        let state = PlaceState { handed: None, left: false, hint: false, waker: None, back_by: now.after(LATE) };
        Self { want, state: Mutex::new(state) }
    }

    /// Hands over a lease; gives it back where nobody is there to take it.
    pub(super) fn hand(&self, guard: Guard) -> Option<Guard> {
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
    pub(super) fn hint(&self) {
        let mut state = self.lock();
        state.hint = true;
        let waker = state.waker.take();
        drop(state);
        waker.inspect(Waker::wake_by_ref);
    }

    /// Says by when whoever stands here is back, if it is polled.
    pub(super) fn back_by(&self, moment: Moment) {
        self.lock().back_by = moment.after(LATE);
    }

    /// Whether whoever stands here is polled, as far as can be told.
    pub(super) fn is_polled(&self, now: Moment) -> bool {
        now < self.lock().back_by
    }

    /// Waits for a lease or a hint, at most so long.
    pub(super) async fn wait(&self, limit: Duration) {
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

    /// The lease that was handed over, if one was.
    pub(super) fn handed(&self) -> Option<Guard> {
        self.lock().handed.take()
    }

    /// Says that nobody is here any more; what was handed over in that moment is given back.
    pub(super) fn leave(&self) -> Option<Guard> {
        let mut state = self.lock();
        state.left = true;
        state.handed.take()
    }

    fn lock(&self) -> MutexGuard<'_, PlaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
