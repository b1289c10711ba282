//! What the journal says, done again by the rules on what the database has: it must come to the same.

use std::collections::HashMap;

use super::wire::{Figures, JournalEntry};
use crate::error::RepositoryError;
use crate::hold::Hold;
use crate::operation::StockKey;
use crate::record::{Residence, StockRow};
use crate::request::{Identified, OrderId, Request, RequestId};
use crate::workbench::{Workbench, Writes};

/// Rows of the database, and what the journal makes of them.
#[derive(Debug)]
pub(super) struct Replay {
    bench: Workbench,
    residences: HashMap<StockKey, Residence>,
}

impl Replay {
    /// Rows as they were read; those that are not resident count as not there.
    pub(super) fn new(rows: Vec<StockRow>) -> Self {
        let (mut bench, mut residences) = (Workbench::new(), HashMap::new());
        for row in rows {
            let Some(residence) = row.residence else { continue };
            residences.insert(row.record.key, residence);
            // The workbench leaves resident rows alone; these are in its hands until they are written.
            bench.put_row(StockRow { residence: None, ..row }, None);
        }
        Self { bench, residences }
    }

    /// The holds that these entries need.
    pub(super) fn needed_holds<'a>(&self, entries: impl Iterator<Item = &'a JournalEntry>) -> Vec<(u64, OrderId)> {
        self.bench.needed_holds(entries.flat_map(|entry| &entry.requests))
    }

    /// Puts a hold here, as it was read.
    pub(super) fn put_hold(&mut self, hold: Hold) {
        self.bench.put_hold(hold);
    }

    /// The holds that are here, as they are by now.
    pub(super) fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.bench.holds()
    }

    /// A record's row by now, and how far into the journal that is.
    pub(super) fn row(&self, key: StockKey) -> Option<(&StockRow, Residence)> {
        Some((self.bench.row(key)?, *self.residences.get(&key)?))
    }

    /// Does what an entry says if it is still to be done, which is what it answers.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ResidentDiverged`] if it does not follow.
    pub(super) fn follow(&mut self, entry: &JournalEntry) -> Result<bool, RepositoryError> {
        let is_due = self.is_due(entry)?;
        if is_due {
            self.take(entry, &HashMap::new())?;
        }
        Ok(is_due)
    }

    /// Whether an entry is still to be done. One that is written back, or of an epoch that is over, is not.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ResidentDiverged`] if entries before it are missing.
    pub(super) fn is_due(&self, entry: &JournalEntry) -> Result<bool, RepositoryError> {
        let mut due = None;
        for ((key, epoch), (before, after)) in entry.records.iter().zip(entry.before.iter().zip(&entry.after)) {
            if before.sequence == after.sequence {
                continue;
            }
            let residence = self.residences.get(key).filter(|residence| residence.epoch == *epoch);
            let is_next = residence.is_some_and(|residence| residence.sequence == before.sequence);
            let is_over = residence.is_none_or(|residence| residence.sequence >= after.sequence);
            if is_next == is_over || due.replace(is_next).is_some_and(|other| other != is_next) {
                let reason = format!("{residence:?} and entry {} from {} on", entry.id, before.sequence);
                return Err(RepositoryError::ResidentDiverged { key: *key, reason });
            }
        }
        Ok(due.unwrap_or(false))
    }

    /// Does what an entry says, and checks that it comes to what the entry says. Requests among `renamed`
    /// go by another id.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ResidentDiverged`] if it does not.
    pub(super) fn take(
        &mut self,
        entry: &JournalEntry,
        renamed: &HashMap<RequestId, RequestId>,
    ) -> Result<(), RepositoryError> {
        let first = entry.records.first().map(|(key, _)| *key);
        for request in &entry.requests {
            let key = request.changes().first().map(|change| change.key).or(first);
            let diverged = |reason: String| match key {
                Some(key) => RepositoryError::ResidentDiverged { key, reason },
                None => RepositoryError::Overloaded,
            };
            let other = renamed.get(request.id()).and_then(|id| rename(request, id));
            let request = other.as_ref().unwrap_or(request);
            match self.bench.apply(request) {
                Ok(answer) if !answer.replayed => {}
                Ok(_) => return Err(diverged(format!("request {} is in the journal twice", request.id()))),
                Err(rejection) => return Err(diverged(format!("request {}: {rejection}", request.id()))),
            }
        }
        for ((key, _), after) in entry.records.iter().zip(&entry.after) {
            self.arrive(*key, after, &entry.id)?;
        }
        Ok(())
    }

    fn arrive(&mut self, key: StockKey, after: &Figures, entry: &str) -> Result<(), RepositoryError> {
        let (row, residence) = (self.bench.row(key), self.residences.get_mut(&key));
        let found = row.map(|row| (row.record.levels, row.held, row.record.version));
        if found != Some((after.levels, after.held, after.version)) {
            let reason = format!("entry {entry} ends with {after:?}, the database would have {found:?}");
            return Err(RepositoryError::ResidentDiverged { key, reason });
        }
        if let Some(residence) = residence {
            residence.sequence = after.sequence;
        }
        Ok(())
    }

    /// What has to be written, each row with how far into the journal it is.
    pub(super) fn into_writes(self) -> Writes {
        let Self { bench, residences } = self;
        let made = bench.holds().map(|hold| (hold.stock_id, hold.order_id.clone())).zip(0_usize..);
        let made: HashMap<_, _> = made.collect();
        let mut writes = bench.into_writes();
        // As they were opened: an order's holds are listed by the numbers that they get. The rows are locked, so that
        // nobody else is at their holds in another order.
        writes.holds.sort_by_cached_key(|hold| made.get(&(hold.stock_id, hold.order_id.clone())).copied());
        for write in &mut writes.rows {
            write.row.residence = residences.get(&write.row.record.key).copied();
        }
        writes
    }
}

fn rename(request: &Identified, id: &RequestId) -> Option<Identified> {
    Request::batch(request.changes().to_vec()).id(id.clone()).identify().ok()
}
