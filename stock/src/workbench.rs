//! Requests applied one after another in memory, each all or nothing: what every repository does
//! between reading rows and writing them, for one request or for hundreds.
//!
//! Whoever uses it has the rows locked, or will write them only over exactly what was read; the
//! workbench knows neither databases nor locks.

use std::collections::HashMap;
use std::ops::Range;

use crate::hold::{Hold, Refusal};
use crate::log::LogEntry;
use crate::operation::StockKey;
use crate::record::{RowWrite, StockRecord, StockRow};
use crate::request::{Change, Identified, OrderId, RequestId};

/// Rows that were read, what has been done to them since, and what is to be written for it.
#[derive(Debug, Default)]
pub struct Workbench {
    rows: Vec<RowSlot>,
    by_key: HashMap<StockKey, usize>,
    holds: Vec<HoldSlot>,
    by_order: HashMap<(u64, OrderId), usize>,
    known: HashMap<RequestId, Known>,
    entries: Vec<LogEntry>,
    undo: Vec<Undo>,
}

impl Workbench {
    /// An empty one. What a request needs and nobody has put here counts as not there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a row here as it was read. Its changes are made under the lease with the token `fence`,
    /// or without a lease.
    pub fn put_row(&mut self, row: StockRow, fence: Option<u64>) {
        self.by_key.insert(row.record.key, self.rows.len());
        self.rows.push(RowSlot { read: row, now: row, fence });
    }

    /// Puts a hold here as it was read, of a row that is here too.
    pub fn put_hold(&mut self, hold: Hold) {
        self.by_order.insert((hold.stock_id, hold.order_id.clone()), self.holds.len());
        self.holds.push(HoldSlot { now: hold, touched: false });
    }

    /// Puts log entries here, of requests that were carried out before. Those of one request are
    /// together, in the order of their position.
    pub fn put_known(&mut self, entries: Vec<LogEntry>) {
        let mut requests: HashMap<RequestId, Vec<LogEntry>> = HashMap::new();
        for entry in entries {
            requests.entry(entry.request_id.clone()).or_default().push(entry);
        }
        self.known.extend(requests.into_iter().map(|(id, entries)| (id, Known::Before(entries))));
    }

    /// The row as it is by now.
    #[must_use]
    pub fn row(&self, key: StockKey) -> Option<&StockRow> {
        self.by_key.get(&key).map(|&slot| &self.rows[slot].now)
    }

    /// The holds that are here, as they are by now.
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter().map(|slot| &slot.now)
    }

    /// The holds that these requests need: the numbers of their records, and their orders. Sorted,
    /// each once.
    #[must_use]
    pub fn needed_holds<'a>(&self, requests: impl IntoIterator<Item = &'a Identified>) -> Vec<(u64, OrderId)> {
        let changes = requests.into_iter().flat_map(Identified::changes);
        let of_order = changes.filter_map(|change| Some((self.row(change.key)?.record.id, change.hold_of()?.clone())));
        let mut needed: Vec<_> = of_order.collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Carries a request out, all of it or nothing. One that was carried out before, here or
    /// elsewhere, changes nothing and gets its first answer.
    ///
    /// # Errors
    ///
    /// [`Rejection`]; everything is as it was before the call.
    pub fn apply(&mut self, request: &Identified) -> Result<Answer, Rejection> {
        if let Some(known) = self.known.get(request.id()) {
            let entries = match known {
                Known::Before(entries) => entries.as_slice(),
                Known::Here(range) => &self.entries[range.clone()],
            };
            return self.first_answer(request, entries);
        }
        let first = self.entries.len();
        let mut records = Vec::with_capacity(request.changes().len());
        for (position, change) in (0..).zip(request.changes()) {
            match self.step(request.id(), position, change) {
                Ok(record) => records.push(record),
                Err(rejection) => {
                    self.take_back(first);
                    return Err(rejection);
                }
            }
        }
        self.undo.clear();
        self.known.insert(request.id().clone(), Known::Here(first..self.entries.len()));
        Ok(Answer { request_id: request.id().clone(), records, replayed: false })
    }

    /// What has to be written, everything sorted by record.
    #[must_use]
    pub fn into_writes(self) -> Writes {
        let changed = self.rows.into_iter().filter(|slot| slot.now != slot.read);
        let mut rows: Vec<_> = changed.map(|slot| RowWrite::new(&slot.read, slot.now)).collect();
        rows.sort_unstable_by_key(|write| write.row.record.key);
        let mut entries = self.entries;
        entries.sort_unstable_by_key(|entry| (entry.key, entry.version));
        let touched = self.holds.into_iter().filter(|slot| slot.touched);
        let mut holds: Vec<_> = touched.map(|slot| slot.now).collect();
        holds.sort_unstable_by(|a, b| (a.key, &a.order_id).cmp(&(b.key, &b.order_id)));
        Writes { rows, entries, holds }
    }

    /// Makes one change and notes how to take it back.
    fn step(&mut self, id: &RequestId, position: u32, change: &Change) -> Result<StockRecord, Rejection> {
        let key = change.key;
        let &slot = self.by_key.get(&key).ok_or(Rejection::NotFound { key })?;
        let RowSlot { now: row, fence, .. } = self.rows[slot];
        if row.residence.is_some() {
            return Err(Rejection::Resident { key });
        }
        let place = change.hold_of().map(|order_id| (row.record.id, order_id.clone()));
        let held = place.as_ref().and_then(|place| self.by_order.get(place)).copied();
        let hold = held.map(|held| &self.holds[held].now);
        let changed = row.change(change, hold, fence, (id, position))?;
        self.undo.push(Undo::Row(slot, row));
        self.rows[slot].now = changed.row;
        self.entries.push(changed.entry);
        if let Some((hold, place)) = changed.hold.zip(place) {
            self.keep_hold(held, hold, place);
        }
        Ok(changed.row.record)
    }

    fn keep_hold(&mut self, slot: Option<usize>, hold: Hold, place: (u64, OrderId)) {
        let hold = HoldSlot { now: hold, touched: true };
        if let Some(slot) = slot {
            let before = std::mem::replace(&mut self.holds[slot], hold);
            self.undo.push(Undo::Hold(slot, Box::new(before)));
        } else {
            self.by_order.insert(place.clone(), self.holds.len());
            self.holds.push(hold);
            self.undo.push(Undo::NewHold(place));
        }
    }

    /// Takes back a request's changes, of which the first entry is this one.
    fn take_back(&mut self, first: usize) {
        self.entries.truncate(first);
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Row(slot, row) => self.rows[slot].now = row,
                Undo::Hold(slot, hold) => self.holds[slot] = *hold,
                Undo::NewHold(place) => {
                    self.by_order.remove(&place);
                    self.holds.pop();
                }
            }
        }
    }

    fn first_answer(&self, request: &Identified, entries: &[LogEntry]) -> Result<Answer, Rejection> {
        let conflict = || Rejection::Conflict { request_id: request.id().clone() };
        if entries.len() != request.changes().len() {
            return Err(conflict());
        }
        let record = |(entry, change): (&LogEntry, &Change)| {
            let row = self.row(entry.key).filter(|_| entry.is_of(change)).ok_or_else(conflict)?;
            Ok::<_, Rejection>(entry.record_after(row.record.product_id))
        };
        let records = entries.iter().zip(request.changes()).map(record).collect::<Result<_, Rejection>>()?;
        Ok(Answer { request_id: request.id().clone(), records, replayed: true })
    }
}

#[derive(Debug)]
struct RowSlot {
    read: StockRow,
    now: StockRow,
    fence: Option<u64>,
}

#[derive(Debug)]
struct HoldSlot {
    now: Hold,
    touched: bool,
}

/// Where the entries of a request are that was carried out.
#[derive(Debug)]
enum Known {
    Before(Vec<LogEntry>),
    Here(Range<usize>),
}

#[derive(Debug)]
enum Undo {
    Row(usize, StockRow),
    Hold(usize, Box<HoldSlot>),
    NewHold((u64, OrderId)),
}

/// What has to be written in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    /// Rows that changed.
    pub rows: Vec<RowWrite>,
    /// One entry for each change.
    pub entries: Vec<LogEntry>,
    /// Holds that changed, or are new.
    pub holds: Vec<Hold>,
}

impl Writes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.entries.is_empty() && self.holds.is_empty()
    }
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its id, given or made.
    pub request_id: RequestId,
    /// For each change the record after it, in the order they were asked for.
    pub records: Vec<StockRecord>,
    /// Whether it had been carried out before.
    pub replayed: bool,
}

/// Why a request was not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// There is no such record.
    #[error("there is no record of {key}")]
    NotFound {
        /// What was looked for.
        key: StockKey,
    },
    /// The record's levels live in Redis; only the resident repository changes it.
    #[error(
        "{key} is resident: its levels live in Redis, and only the resident repository changes them; \
             it can release them"
    )]
    Resident {
        /// Which record.
        key: StockKey,
    },
    /// Levels or holds do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another request was carried out under this id.
    #[error("request id {request_id} has been used for another request")]
    Conflict {
        /// The id.
        request_id: RequestId,
    },
}

impl Rejection {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Resident { .. } => "resident",
            Self::Refused(refusal) => refusal.code(),
            Self::Conflict { .. } => "request_conflict",
        }
    }
}
