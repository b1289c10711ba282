//! Ends of rounds, kept by one task instead of a timer each.
//!
//! A timer that is due before all others wakes the runtime's I/O thread, only to be told so; at two
//! rounds a lock that would cost as much as the rounds themselves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::round::Round;

/// How long after its deadline a round is looked at by whoever waits for it, should the task's
/// runtime have ended or be at rest.
pub(crate) const GRACE: Duration = Duration::from_millis(250);
/// Longest round that is kept here. Longer ones are rare, and would be kept long after they were
/// decided.
pub(crate) const LONGEST: Duration = Duration::from_millis(200);

/// The rounds under way, by their ends.
#[derive(Default)]
pub(crate) struct Deadlines {
    state: Mutex<State>,
    /// Tells the task of an end before all others.
    earlier: Notify,
}

#[derive(Default)]
struct State {
    /// By their ends, which come nearly in order. Rounds that are over stay until the task looks: taking
    /// each out would cost more.
    ends: VecDeque<(Instant, Weak<Round>)>,
    /// When the task looks next; `None` without a task.
    next: Option<Instant>,
}

impl Deadlines {
    /// Wakes whoever waits for `round` at `end`.
    pub(crate) fn watch(self: &Arc<Self>, round: &Arc<Round>, end: Instant) {
        let mut state = self.lock();
        let later = state.ends.iter().rev().take_while(|(other, _)| *other > end).count();
        let place = state.ends.len() - later;
        state.ends.insert(place, (end, Arc::downgrade(round)));
        match state.next {
            Some(next) if next <= end => {}
            Some(_) => {
                state.next = Some(end);
                self.earlier.notify_one();
            }
            None => {
                if let Ok(runtime) = Handle::try_current() {
                    state.next = Some(end);
                    drop(state);
                    runtime.spawn(keep(Keeper { deadlines: Arc::clone(self), is_over: false }));
                }
            }
        }
    }

    /// Wakes those whose time is over, and tells when to look again.
    fn turn(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut over = Vec::new();
        let mut state = self.lock();
        // Rounds that nobody has any more are left out, or the task would wake up for each of them.
        while let Some((_, round)) = state.ends.pop_front_if(|(end, round)| *end <= now || round.strong_count() == 0) {
            over.push(round);
        }
        state.next = state.ends.front().map(|(end, _)| *end);
        let next = state.next;
        drop(state);
        over.iter().filter_map(Weak::upgrade).for_each(|round| round.wake());
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the place of the task when it goes, also if its runtime was dropped under it.
struct Keeper {
    deadlines: Arc<Deadlines>,
    /// Whether the place is free already, and maybe taken again.
    is_over: bool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.is_over {
            self.deadlines.lock().next = None;
        }
    }
}

async fn keep(mut keeper: Keeper) {
    let deadlines = Arc::clone(&keeper.deadlines);
    while let Some(end) = deadlines.turn() {
        let _ = tokio::time::timeout_at(end, deadlines.earlier.notified()).await;
    }
    keeper.is_over = true;
}
