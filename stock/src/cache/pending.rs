//! What is to be brought to Redis: of each record the newest version, however many there were.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::operation::StockKey;
use crate::record::StockRecord;

/// How many records wait at most. Beyond, they are not brought there at all.
const BOUND: usize = 100_000;

/// Something to be done in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Write this record.
    Put(StockRecord),
    /// Remove the record: nobody knows what has become of it.
    Doubt(StockKey),
}

impl Errand {
    pub(super) fn key(&self) -> StockKey {
        match self {
            Self::Put(record) => record.key,
            Self::Doubt(key) => *key,
        }
    }
}

/// Errands to be run.
#[derive(Debug, Default)]
pub(super) struct Pending {
    errands: Mutex<HashMap<StockKey, Errand>>,
    arrived: Notify,
}

impl Pending {
    /// Notes an errand, unless a newer one is there; `false` if there are too many.
    pub(super) fn add(&self, errand: Errand) -> bool {
        let mut errands = self.errands();
        let before = errands.get(&errand.key());
        match (before, errand) {
            (None, _) if errands.len() >= BOUND => return false,
            (Some(Errand::Put(before)), Errand::Put(now)) if before.version >= now.version => return true,
            // What is known after a doubt is known from the database, and may still be before it.
            (Some(Errand::Doubt(_)), Errand::Put(_)) => return true,
            _ => {}
        }
        errands.insert(errand.key(), errand);
        drop(errands);
        self.arrived.notify_one();
        true
    }

    /// Waits until there is something to do; at most so many errands.
    pub(super) async fn some(&self, most: usize) -> Vec<Errand> {
        loop {
            let some: Vec<_> = self.errands().values().take(most).copied().collect();
            if !some.is_empty() {
                return some;
            }
            self.arrived.notified().await;
        }
    }

    /// These have been run; one that has changed meanwhile stays.
    pub(super) fn done(&self, done: &[Errand]) {
        let mut errands = self.errands();
        for errand in done {
            if errands.get(&errand.key()) == Some(errand) {
                errands.remove(&errand.key());
            }
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.errands().is_empty()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.errands().clear();
    }

    fn errands(&self) -> MutexGuard<'_, HashMap<StockKey, Errand>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
