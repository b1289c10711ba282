//! Exit statuses, and failures that know theirs. The numbers are those of `sysexits.h` where it has
//! one, and a shell's for a command that cannot be started.

use std::fmt::Display;
use std::io;

use redlock::{LockError, LossReason, NodeFailure};
use serde_json::{Map, Value, json};

use crate::output;

/// All went well.
pub(crate) const OK: u8 = 0;
/// `EX_USAGE`: an option or a variable that cannot be used.
pub(crate) const USAGE: u8 = 64;
/// `EX_UNAVAILABLE`: no quorum of nodes.
pub(crate) const UNAVAILABLE: u8 = 69;
/// `EX_OSERR`: the system refused something that has nothing to do with locks.
const SYSTEM: u8 = 71;
/// `EX_TEMPFAIL`: somebody else holds it.
pub(crate) const CONTENDED: u8 = 75;
/// `EX_PROTOCOL`, for want of a better one: the lock was lost while the command ran.
pub(crate) const LOST: u8 = 76;
/// The command is there and cannot be started.
const NOT_STARTABLE: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;
/// What a shell adds to the number of a signal.
const BY_SIGNAL: u8 = 128;

/// Why the process ends without having done what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) status: u8,
    /// A word for programs.
    pub(crate) code: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
    /// More for programs.
    pub(crate) details: Map<String, Value>,
}

impl Failure {
    fn new(status: u8, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Map::new() }
    }

    /// An option or a variable that cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", message)
    }

    /// No quorum of nodes did what was asked.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(UNAVAILABLE, "unavailable", message)
    }

    /// Somebody else holds it.
    pub(crate) fn contended(message: impl Into<String>) -> Self {
        Self::new(CONTENDED, "contended", message)
    }

    /// The lock was lost; what became of the command is told by `what`.
    pub(crate) fn lost(resource: &str, reason: LossReason, what: &str) -> Self {
        let failure = Self::new(LOST, "lost", format!("the lock on `{resource}` was lost: {reason}; {what}"));
        let word = match reason {
            LossReason::Deadline => "deadline",
            LossReason::Quorum => "quorum",
            LossReason::MaxHold => "max-hold",
            _ => "released",
        };
        failure.with("reason", json!(word))
    }

    /// The command could not be started.
    pub(crate) fn not_started(program: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            return Self::new(NOT_FOUND, "not_found", format!("`{program}`: command not found"));
        }
        Self::new(NOT_STARTABLE, "not_startable", format!("`{program}` cannot be started: {error}"))
    }

    /// The system refused something.
    pub(crate) fn system(what: &str, error: &dyn Display) -> Self {
        Self::new(SYSTEM, "system", format!("{what}: {error}"))
    }

    /// With one more thing for programs.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.details.insert(name.to_owned(), value);
        self
    }

    fn with_nodes(self, nodes: &[NodeFailure]) -> Self {
        self.with("nodes", nodes.iter().map(output::node_failure).collect())
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let message = error.to_string();
        match cause(&error) {
            LockError::Contended { retry_after, .. } => {
                Self::contended(message).with("retry_after_ms", json!(output::millis(*retry_after)))
            }
            LockError::Unavailable { nodes, .. } => Self::unavailable(message).with_nodes(nodes),
            _ => Self::usage(message),
        }
    }
}

/// What is behind a wait that ran out.
fn cause(error: &LockError) -> &LockError {
    match error {
        LockError::TimedOut { last, .. } => cause(last),
        other => other,
    }
}

/// The status of a process that was ended by a signal, as shells have it.
pub(crate) fn by_signal(signal: i32) -> u8 {
    u8::try_from(signal).map_or(u8::MAX, |signal| BY_SIGNAL.saturating_add(signal))
}
