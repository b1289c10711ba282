//! Everything that happened: what clients asked for and were told, which faults there were, and what the database and
//! the ledger hold at the end.

pub(crate) mod locks;
pub(crate) mod stock;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::clock::{Nanos, now};

pub(crate) use self::locks::{Heard, Locks};
pub(crate) use self::stock::{Asked, Held, Logged, Op, Stored, Told, Verdict};

/// A fault, from the moment before it was done to the moment after it was undone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
}

/// The recorder of one run.
#[derive(Debug)]
pub(crate) struct Record {
    started: AtomicU64,
    heard: Mutex<Vec<Heard>>,
    ops: Mutex<Vec<Op>>,
    faults: Mutex<Vec<Span>>,
    done: Mutex<Vec<(Nanos, u64)>>,
    notes: Mutex<Vec<String>>,
    broken: Mutex<Vec<String>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self {
            started: AtomicU64::new(now()),
            heard: Mutex::default(),
            ops: Mutex::default(),
            faults: Mutex::default(),
            done: Mutex::default(),
            notes: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    /// Everything is there, and the faults may begin.
    pub(crate) fn begin(&self) {
        self.started.store(now(), Ordering::Relaxed);
    }

    /// A lock client said this.
    pub(crate) fn hears(&self, heard: Heard) {
        if let Some(at) = heard.entered_at() {
            self.counts(at, 1);
        }
        lock(&self.heard).push(heard);
    }

    /// A request has come to what it is going to be.
    pub(crate) fn takes(&self, op: Op) {
        if let Some(Told { at, verdict: Verdict::Done { .. } }) = op.told {
            self.counts(at, 1);
        }
        lock(&self.ops).push(op);
    }

    /// So much was done at this moment; what throughput is made of.
    pub(crate) fn counts(&self, at: Nanos, done: u64) {
        lock(&self.done).push((at, done));
    }

    /// A fault has come and gone.
    pub(crate) fn fault(&self, span: Span) {
        lock(&self.faults).push(span);
    }

    /// A figure for the report.
    pub(crate) fn note(&self, note: impl Into<String>) {
        lock(&self.notes).push(note.into());
    }

    /// Something that must not be, seen while it ran.
    pub(crate) fn broke(&self, what: impl Into<String>) {
        lock(&self.broken).push(what.into());
    }

    /// When the last fault so far was undone; the beginning, if there was none.
    pub(crate) fn hurt_until(&self) -> Nanos {
        let last = lock(&self.faults).iter().map(|fault| fault.to).max();
        last.unwrap_or_else(|| self.started.load(Ordering::Relaxed))
    }

    /// Whether nothing has been done since the last fault.
    pub(crate) fn waits_for_work(&self) -> bool {
        let last = self.hurt_until();
        !lock(&self.done).iter().rev().any(|(at, done)| *done > 0 && *at >= last)
    }

    /// All of it, when nobody adds to it any more.
    pub(crate) fn finish(&self) -> History {
        History {
            started: self.started.load(Ordering::Relaxed),
            ended: now(),
            locks: Locks::from_heard(std::mem::take(&mut *lock(&self.heard))),
            ops: std::mem::take(&mut *lock(&self.ops)),
            faults: std::mem::take(&mut *lock(&self.faults)),
            done: std::mem::take(&mut *lock(&self.done)),
            notes: std::mem::take(&mut *lock(&self.notes)),
            broken: std::mem::take(&mut *lock(&self.broken)),
            writes: Vec::new(),
            stored: Vec::new(),
            logged: Vec::new(),
            held: Vec::new(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that is over, and what it left.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) started: Nanos,
    pub(crate) ended: Nanos,
    pub(crate) locks: Locks,
    pub(crate) ops: Vec<Op>,
    pub(crate) faults: Vec<Span>,
    /// When how much was done.
    pub(crate) done: Vec<(Nanos, u64)>,
    pub(crate) notes: Vec<String>,
    /// What was seen to be wrong while it ran.
    pub(crate) broken: Vec<String>,
    /// The ledger's accepted writes, key by key in order.
    pub(crate) writes: Vec<crate::ledger::Accepted>,
    /// The records as the database has them.
    pub(crate) stored: Vec<Stored>,
    /// The log as the database has it, record by record in the order of versions.
    pub(crate) logged: Vec<Logged>,
    /// What orders hold, as the database has it.
    pub(crate) held: Vec<Held>,
}

impl History {
    /// How much was done in all.
    pub(crate) fn total(&self) -> u64 {
        self.done.iter().map(|(_, done)| done).sum()
    }
}
