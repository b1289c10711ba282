//! Settings that are one of a few words.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which of the repositories is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepositoryKind {
    /// Writers queue for the row in the database.
    RowLock,
    /// Writers queue for a Redlock lease.
    #[default]
    Redlock,
    /// Levels live in Redis and are written back. An answer says that Redis has it; what Redis loses before
    /// it was written back is lost (see [`resident`](crate::repository::resident)).
    Resident,
}

impl fmt::Display for RepositoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RowLock => "row-lock",
            Self::Redlock => "redlock",
            Self::Resident => "resident",
        })
    }
}

impl FromStr for RepositoryKind {
    type Err = InvalidRepositoryKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "row-lock" => Ok(Self::RowLock),
            "redlock" => Ok(Self::Redlock),
            "resident" => Ok(Self::Resident),
            _ => Err(InvalidRepositoryKind),
        }
    }
}

/// A name that is no kind of repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are row-lock, redlock and resident")]
pub struct InvalidRepositoryKind;

/// How long a lock node that was restarted does not vote, so that it cannot grant what it has
/// forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartGuard {
    /// Until the longest lease it may have granted is over.
    #[default]
    MaxTtl,
    /// So long.
    For(Duration),
    /// Not at all: for nodes that never lose their data, and for tests.
    Off,
}

impl FromStr for RestartGuard {
    type Err = InvalidRestartGuard;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("max-ttl", _) => Ok(Self::MaxTtl),
            ("off", _) => Ok(Self::Off),
            (_, Ok(seconds @ 1..=86_400)) => Ok(Self::For(Duration::from_secs(seconds))),
            _ => Err(InvalidRestartGuard),
        }
    }
}

impl From<RestartGuard> for redlock::RestartGuard {
    fn from(guard: RestartGuard) -> Self {
        match guard {
            RestartGuard::MaxTtl => Self::MaxTtl,
            RestartGuard::For(quarantine) => Self::For(quarantine),
            RestartGuard::Off => Self::Off,
        }
    }
}

/// A text that is no restart guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are max-ttl, off and whole seconds from 1 to 86400")]
pub struct InvalidRestartGuard;

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = InvalidLogFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(InvalidLogFormat),
        }
    }
}

/// A name that is no format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are text and json")]
pub struct InvalidLogFormat;
