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
    /// Which task it is. One that is overdue is replaced: its runtime may rest for ever.
    keeper: u64,
}

impl State {
    /// Whether there is a task that can be counted on, as far as an end that is to come tells.
    fn is_kept(&self, end: Instant) -> bool {
        self.next.is_some_and(|next| end < next + LONGEST + GRACE)
    }
}

impl Deadlines {
    /// Wakes whoever waits for `round` at `end`.
    pub(crate) fn watch(self: &Arc<Self>, round: &Arc<Round>, end: Instant) {
        let mut state = self.lock();
        let later = state.ends.iter().rev().take_while(|(other, _)| *other > end).count();
        let place = state.ends.len() - later;
        state.ends.insert(place, (end, Arc::downgrade(round)));
        if !state.is_kept(end) {
            if let Ok(runtime) = Handle::try_current() {
                state.next = Some(end);
                state.keeper += 1;
                let keeper = Keeper { deadlines: Arc::clone(self), number: state.keeper };
                drop(state);
                runtime.spawn(keep(keeper));
            }
        } else if state.next.is_some_and(|next| end < next) {
            state.next = Some(end);
            self.earlier.notify_one();
        }
    }

    /// Wakes those whose time is over, and tells when to look again; not a task that was replaced.
    fn turn(&self, keeper: u64) -> Option<Instant> {
        let now = Instant::now();
        let mut over = Vec::new();
        let mut state = self.lock();
        if state.keeper != keeper {
            // It may have been told what the other one should hear.
            self.earlier.notify_one();
            return None;
        }
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
    number: u64,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut state = self.deadlines.lock();
        // Else somebody else has it by now.
        if state.keeper == self.number {
            state.next = None;
        }
    }
}

async fn keep(keeper: Keeper) {
    let deadlines = &keeper.deadlines;
    while let Some(end) = deadlines.turn(keeper.number) {
        let _ = tokio::time::timeout_at(end, deadlines.earlier.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_task_whose_runtime_rests_is_replaced() {
        let runtime = || Builder::new_current_thread().enable_time().build().unwrap();
        let (deadlines, round) = (Arc::new(Deadlines::default()), Round::ask(&Arc::from([]), |_| unreachable!()));
        let soon = || Instant::now() + Duration::from_millis(1);
        let resting = runtime();
        resting.block_on(async { deadlines.watch(&round, soon()) });
        std::thread::sleep(LONGEST + GRACE);
        let (first, watched) = (deadlines.lock().keeper, Duration::from_secs(5));
        runtime().block_on(async {
            deadlines.watch(&round, soon());
            let kept = async {
                while !deadlines.lock().ends.is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(watched, kept).await.expect("nobody looks at the ends of rounds any more");
        });
        // Awake again, the first one sees that it has no place any more, and leaves alone what is not its own.
        resting.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
        assert_eq!((first, deadlines.lock().keeper), (1, 2));
        assert_eq!(Arc::strong_count(&deadlines), 1, "a task is left");
    }
}
