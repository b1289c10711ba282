//! What an instance has been doing for the last seconds, in bounded memory: for whoever watches.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::error::RepositoryError;
use crate::operation::StockKey;
use crate::record::StockRecord;
use crate::workbench::Answer;

/// Over how many whole seconds rates are taken.
const WINDOW: u64 = 5;

/// Seconds that are kept: the window, and the one that is not over.
const SLOTS: usize = 6;

/// The longest time that is told from longer ones, in microseconds.
const LONGEST: u64 = 60_000_000;

/// Most records that are counted at a time. More of them come in when others have fallen asleep.
const RECORDS: usize = 1_024;

/// What has been asked and answered. Shared by everybody who asks.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    records: HashMap<StockKey, Counted>,
    /// In which second the counts of records were last halved.
    halved: u64,
}

/// One second.
#[derive(Debug)]
struct Slot {
    second: u64,
    done: u64,
    refused: u64,
    failed: u64,
    reads: u64,
    micros: Histogram<u32>,
}

#[derive(Debug)]
struct Counted {
    record: StockRecord,
    weight: u64,
}

/// How much was done in each of the last seconds, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Requests that were carried out, a second.
    pub done: f64,
    /// Requests that were refused because levels or holds did not allow them, a second.
    pub refused: f64,
    /// Requests that failed, a second.
    pub failed: f64,
    /// Reads of single records, a second.
    pub reads: f64,
    /// Half of the requests were answered within this time.
    pub p50: Duration,
    /// Of a hundred requests, 99 were.
    pub p99: Duration,
}

/// A record that much is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// As it was last seen.
    pub record: StockRecord,
    /// How much has been asked of it lately: a count that halves every second.
    pub weight: u64,
}

impl Default for Activity {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| Slot::new()).collect();
        let state = State { slots, records: HashMap::new(), halved: 0 };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }
}

impl Slot {
    fn new() -> Self {
        let micros = Histogram::new_with_bounds(1, LONGEST, 2).expect("the bounds are sound");
        // Of no second there will ever be.
        Self { second: u64::MAX, done: 0, refused: 0, failed: 0, reads: 0, micros }
    }

    fn begin(&mut self, second: u64) {
        self.micros.reset();
        (self.second, self.done, self.refused, self.failed, self.reads) = (second, 0, 0, 0, 0);
    }
}

impl Activity {
    pub(super) fn answered(&self, answer: &Result<Answer, RepositoryError>, took: Duration) {
        let second = self.second();
        let mut state = self.state();
        let slot = state.slot(second);
        slot.micros.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST));
        match answer {
            Ok(_) => slot.done += 1,
            Err(RepositoryError::Refused(_) | RepositoryError::NotFound { .. } | RepositoryError::Invalid(_)) => {
                slot.refused += 1;
            }
            Err(_) => slot.failed += 1,
        }
        // What a replayed answer says may be long ago.
        for record in answer.iter().filter(|answer| !answer.replayed).flat_map(|answer| &answer.records) {
            state.see(record, second);
        }
    }

    pub(super) fn read(&self, record: &StockRecord) {
        let second = self.second();
        let mut state = self.state();
        state.slot(second).reads += 1;
        state.see(record, second);
    }

    /// The rates of the last whole seconds.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let now = self.second();
        let state = self.state();
        let seconds = now.min(WINDOW);
        let (mut rates, mut micros) = (Rates::default(), state.slots[0].micros.clone());
        micros.reset();
        if seconds == 0 {
            return rates;
        }
        let last = now - seconds..now;
        for slot in state.slots.iter().filter(|slot| last.contains(&slot.second)) {
            rates.done += per_second(slot.done, seconds);
            rates.refused += per_second(slot.refused, seconds);
            rates.failed += per_second(slot.failed, seconds);
            rates.reads += per_second(slot.reads, seconds);
            // All of them have the same bounds.
            let _ = micros.add(&slot.micros);
        }
        rates.p50 = Duration::from_micros(micros.value_at_quantile(0.5));
        rates.p99 = Duration::from_micros(micros.value_at_quantile(0.99));
        rates
    }

    /// The records that most is asked of, the busiest first; at most so many.
    #[must_use]
    pub fn busiest(&self, most: usize) -> Vec<Busy> {
        let second = self.second();
        let mut state = self.state();
        state.halve(second);
        let busy = |counted: &Counted| Busy { record: counted.record, weight: counted.weight };
        let mut busiest: Vec<_> = state.records.values().map(busy).collect();
        busiest.sort_unstable_by_key(|busy| (std::cmp::Reverse(busy.weight), busy.record.key));
        busiest.truncate(most);
        busiest
    }

    fn second(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slot(&mut self, second: u64) -> &mut Slot {
        let index = usize::try_from(second % SLOTS as u64).unwrap_or_default();
        let slot = &mut self.slots[index];
        if slot.second != second {
            slot.begin(second);
        }
        slot
    }

    fn see(&mut self, record: &StockRecord, second: u64) {
        self.halve(second);
        let is_full = self.records.len() >= RECORDS;
        match self.records.entry(record.key) {
            Entry::Occupied(mut entry) => {
                let counted = entry.get_mut();
                counted.weight += 1;
                if record.version >= counted.record.version {
                    counted.record = *record;
                }
            }
            Entry::Vacant(entry) if !is_full => {
                entry.insert(Counted { record: *record, weight: 1 });
            }
            Entry::Vacant(_) => {}
        }
    }

    /// What was asked long ago counts less and less. Records that have fallen asleep stay, unless they take
    /// the room of others.
    fn halve(&mut self, second: u64) {
        let since = u32::try_from(second.saturating_sub(self.halved)).unwrap_or(u32::MAX);
        if since == 0 {
            return;
        }
        self.halved = second;
        let is_roomy = self.records.len() <= RECORDS / 2;
        self.records.retain(|_, counted| {
            counted.weight = counted.weight.checked_shr(since).unwrap_or_default();
            is_roomy || counted.weight > 0
        });
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, seconds: u64) -> f64 {
    count as f64 / seconds as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels::StockLevels;
    use crate::operation::Id;

    fn record(variant: u64, version: u64) -> StockRecord {
        let levels = StockLevels::new(1, 0, 0).unwrap();
        let key = StockKey::new(variant, 0).unwrap();
        StockRecord { id: variant, product_id: Id::new(1).unwrap(), key, levels, version }
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_come_first() {
        let activity = Activity::default();
        for variant in 0..5_000 {
            activity.read(&record(variant, 1));
        }
        for version in [3, 2] {
            activity.read(&record(7, version));
        }
        let busiest = activity.busiest(3);
        assert_eq!((busiest.len(), busiest[0].record.key.variant_id.get()), (3, 7));
        assert_eq!(busiest[0].record.version, 3, "an older one takes no newer one's place");
        assert_eq!(activity.state().records.len(), RECORDS);
    }

    #[test]
    fn what_was_long_ago_counts_for_nothing_and_goes_when_room_is_short() {
        let mut state = Activity::default();
        let state = state.state.get_mut().unwrap();
        (0..8).for_each(|_| state.see(&record(1, 1), 10));
        state.halve(12);
        assert_eq!(state.records[&record(1, 1).key].weight, 2);
        state.halve(1_000);
        assert_eq!(state.records[&record(1, 1).key].weight, 0);
        (2..=600).for_each(|variant| state.see(&record(variant, 1), 1_000));
        state.see(&record(600, 1), 1_000);
        state.halve(1_001);
        assert_eq!(state.records.len(), 1, "only the last one was asked for twice");
    }

    #[test]
    fn a_second_takes_the_place_of_one_that_is_over() {
        let mut activity = Activity::default();
        let state = activity.state.get_mut().unwrap();
        state.slot(0).done += 5;
        assert_eq!(state.slot(0).done, 5);
        assert_eq!(state.slot(SLOTS as u64).done, 0);
    }
}
