//! What an instance is told, and what it answers: lines of JSON.

use serde::{Deserialize, Serialize};
use stock::record::StockRecord;

/// The number of questions whose answer nobody waits for.
pub(crate) const NOBODY: u64 = 0;

/// The first line an instance reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) name: String,
    pub(crate) database: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) ttl_ms: u64,
    /// Whether restarted nodes are kept out of votes.
    pub(crate) quarantine: bool,
    pub(crate) bug: Option<String>,
}

/// Which repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Redlock,
    RowLock,
}

/// A question with its number, which the answer repeats.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) number: u64,
    pub(crate) question: Question,
}

/// What an instance can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Question {
    /// To carry out these changes, all or nothing.
    Change { id: String, parts: Vec<Part> },
    /// What there is.
    Read { variant: u64 },
    /// To stop itself when it next comes to this moment.
    StopAt { moment: String },
    /// Not to stop itself there any more.
    GoOn { moment: String },
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) variant: u64,
    pub(crate) operation: String,
    pub(crate) quantity: u64,
    /// For which order.
    pub(crate) order: Option<String>,
    /// After how many seconds what is locked for the order may be unlocked.
    pub(crate) expires_in: Option<u64>,
}

impl Part {
    /// A change that is not for an order.
    pub(crate) fn new(variant: u64, operation: &str, quantity: u64) -> Self {
        Self { variant, operation: operation.to_owned(), quantity, order: None, expires_in: None }
    }
}

/// What came of a question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    pub(crate) outcome: Outcome,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Done, with the records after it.
    Done { records: Vec<Levels> },
    /// Not done, and why.
    Refused { code: String },
    /// Nobody knows.
    Unknown { why: String },
}

/// A record as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Levels {
    pub(crate) variant: u64,
    pub(crate) version: u64,
    pub(crate) available: u64,
    pub(crate) locked: u64,
    pub(crate) reserved: u64,
}

impl Levels {
    pub(super) fn of(record: &StockRecord) -> Self {
        Self {
            variant: record.key.variant_id.get(),
            version: record.version,
            available: record.levels.available(),
            locked: record.levels.locked(),
            reserved: record.levels.reserved(),
        }
    }
}
