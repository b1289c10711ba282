//! The level in this process: records, and below which version there is nothing to keep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::sync::Cache;

use super::Settings;
use crate::operation::StockKey;
use crate::record::StockRecord;

/// Records of this process.
#[derive(Debug)]
pub(super) struct Local {
    known: Cache<StockKey, Known>,
    /// Raised when what is here can no longer be trusted: records of an earlier epoch do not count.
    epoch: AtomicU64,
    /// Raised when versions may have gone back: of an earlier era not even versions count.
    era: AtomicU64,
    /// Whether changes of other instances are heard.
    hears: AtomicBool,
    ttl: Duration,
    blind: Duration,
}

/// What is known of a record.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The largest version that was heard of.
    floor: u64,
    /// The record with that version, if it was seen too.
    record: Option<StockRecord>,
    epoch: u64,
    until: Instant,
}

/// The state of things before a value was read: it is kept only as far as nothing has happened since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    epoch: u64,
    era: u64,
    hears: bool,
}

impl Local {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            known: Cache::builder().max_capacity(settings.capacity).time_to_live(settings.ttl).build(),
            epoch: AtomicU64::new(0),
            era: AtomicU64::new(0),
            hears: AtomicBool::new(false),
            ttl: settings.ttl,
            blind: settings.blind,
        }
    }

    /// To be taken before a value is read or made that is going to be [`put`](Self::put) here.
    pub(super) fn mark(&self) -> Mark {
        // The epoch last: if it is still the same when the record is used, so was what came before.
        let (era, hears) = (self.era.load(Ordering::SeqCst), self.hears.load(Ordering::SeqCst));
        Mark { era, hears, epoch: self.epoch.load(Ordering::SeqCst) }
    }

    /// The record, if it is here and can be trusted.
    pub(super) fn get(&self, key: StockKey) -> Option<StockRecord> {
        let known = self.known.get(&key)?;
        let is_good = known.epoch == self.epoch.load(Ordering::SeqCst) && Instant::now() < known.until;
        known.record.filter(|_| is_good)
    }

    /// The largest version of the record that was heard of; 0 if none was.
    pub(super) fn floor(&self, key: StockKey) -> u64 {
        self.known.get(&key).map_or(0, |known| known.floor)
    }

    /// Keeps a record, unless a newer one was heard of.
    pub(super) fn put(&self, record: StockRecord, mark: Mark) {
        let until = Instant::now() + if mark.hears { self.ttl } else { self.blind };
        self.known.entry(record.key).and_compute_with(|known| {
            let floor = known.map_or(0, |known| known.value().floor);
            if record.version < floor || mark.era != self.era.load(Ordering::SeqCst) {
                return Op::Nop;
            }
            Op::Put(Known { floor: record.version, record: Some(record), epoch: mark.epoch, until })
        });
    }

    /// There is this version of a record: what is older goes.
    pub(super) fn raise(&self, key: StockKey, version: u64) {
        self.known.entry(key).and_compute_with(|known| match known.map(|known| *known.value()) {
            Some(known) if known.floor >= version => Op::Nop,
            _ => Op::Put(Known { floor: version, record: None, epoch: 0, until: Instant::now() }),
        });
    }

    /// Nobody knows which version there is: the record goes, what was heard of stays.
    pub(super) fn forget(&self, key: StockKey) {
        self.known.entry(key).and_compute_with(|known| match known {
            Some(known) => Op::Put(Known { record: None, ..*known.value() }),
            None => Op::Nop,
        });
    }

    /// From now on changes of other instances are heard, or not. What is here may have changed
    /// unheard.
    pub(super) fn set_hears(&self, hears: bool) {
        if self.hears.swap(hears, Ordering::SeqCst) != hears {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether changes of other instances are heard.
    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::SeqCst)
    }

    /// Drops everything, and what was heard of versions too.
    pub(super) fn start_over(&self) {
        self.era.fetch_add(1, Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.known.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels::StockLevels;
    use crate::operation::Id;

    fn key() -> StockKey {
        StockKey::new(1, 0).unwrap()
    }

    fn record(version: u64) -> StockRecord {
        let levels = StockLevels::new(version, 0, 0).unwrap();
        StockRecord { id: 1, product_id: Id::new(1).unwrap(), key: key(), levels, version }
    }

    fn local() -> Local {
        let local = Local::new(&Settings::default());
        local.set_hears(true);
        local
    }

    #[test]
    fn an_older_record_never_takes_the_place_of_a_newer_one() {
        let local = local();
        local.put(record(3), local.mark());
        local.put(record(2), local.mark());
        assert_eq!(local.get(key()), Some(record(3)));
        local.put(record(4), local.mark());
        assert_eq!(local.get(key()), Some(record(4)));
    }

    #[test]
    fn a_hint_outlives_the_record_it_drops() {
        let local = local();
        let mark = local.mark();
        local.put(record(3), mark);
        local.raise(key(), 5);
        assert_eq!(local.get(key()), None);
        // Read before the hint came, kept after it.
        local.put(record(4), mark);
        assert_eq!(local.get(key()), None);
        assert_eq!(local.floor(key()), 5);
        local.put(record(5), local.mark());
        local.raise(key(), 5);
        assert_eq!(local.get(key()), Some(record(5)), "a hint of what is here changes nothing");
    }

    #[test]
    fn what_was_read_before_a_silence_is_not_used_after_it() {
        let local = local();
        let before = local.mark();
        local.put(record(3), before);
        local.set_hears(false);
        assert_eq!(local.get(key()), None);
        local.set_hears(true);
        assert_eq!(local.get(key()), None);
        local.put(record(3), before);
        assert_eq!(local.get(key()), None, "its reader had begun before");
        local.put(record(2), local.mark());
        assert_eq!(local.get(key()), None, "what was heard of versions is kept");
        local.put(record(3), local.mark());
        assert_eq!(local.get(key()), Some(record(3)));
    }

    #[test]
    fn without_hints_records_are_kept_for_a_moment_only() {
        let settings = Settings { blind: Duration::ZERO, ..Settings::default() };
        let local = Local::new(&settings);
        local.put(record(3), local.mark());
        assert_eq!(local.get(key()), None);
        assert_eq!(local.floor(key()), 3);
        let local = Local::new(&Settings::default());
        local.put(record(3), local.mark());
        assert_eq!(local.get(key()), Some(record(3)));
    }

    #[test]
    fn a_new_era_takes_older_versions() {
        let local = local();
        let before = local.mark();
        local.put(record(9), before);
        local.start_over();
        assert_eq!((local.get(key()), local.floor(key())), (None, 0));
        local.put(record(9), before);
        assert_eq!((local.get(key()), local.floor(key())), (None, 0), "its reader had begun before");
        local.put(record(2), local.mark());
        assert_eq!(local.get(key()), Some(record(2)));
    }

    #[test]
    fn a_doubtful_record_is_read_again() {
        let local = local();
        local.put(record(3), local.mark());
        local.forget(key());
        assert_eq!((local.get(key()), local.floor(key())), (None, 3));
    }
}
