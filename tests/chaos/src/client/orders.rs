//! What a lock client is told, and what it tells: lines of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;

/// The first line a client reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// How it is called in the record.
    pub(crate) name: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) ledger: String,
    pub(crate) seed: u64,
    pub(crate) tasks: u64,
    pub(crate) keys: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) ttl_ms: u64,
    pub(crate) node_timeout_ms: u64,
    /// The longest pause between two sections of a task.
    pub(crate) pause_ms: u64,
    /// Whether restarted nodes are kept out of votes.
    pub(crate) quarantine: bool,
    pub(crate) habits: Habits,
    pub(crate) bug: Option<String>,
}

impl Orders {
    /// The lease time.
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// How often, of a thousand sections; the others are short ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Habits {
    /// Longer than the lease, which is renewed meanwhile.
    pub(crate) long: u32,
    /// Until the lease is over, without renewal.
    pub(crate) to_the_end: u32,
    /// The future that waits for the lock is dropped after a moment.
    pub(crate) dropped: u32,
    /// Over all keys at once.
    pub(crate) several: u32,
}

/// What happens in a section, with the moment at which that was certain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Somebody wants these keys.
    Asked { at: Nanos, section: u64, keys: Vec<String> },
    /// They have them; the lease says it stands until then.
    Entered { at: Nanos, section: u64, token: Option<u64>, until: Nanos },
    /// The lease has been looked at again.
    Still { at: Nanos, section: u64, until: Nanos },
    /// A write was accepted or refused.
    Wrote { at: Nanos, section: u64, accepted: bool },
    /// It is over; the release comes after this.
    Left { at: Nanos, section: u64 },
    /// There was no lease, and why.
    Refused { at: Nanos, section: u64, why: String },
}
