//! A value that cannot be used.

use std::fmt;

use super::setting::REDLOCK_NODES;
use super::source::Source;
use crate::store::url::mask_all;

pub(super) const ALLOWED_NODES: &str = "redis://host:port URLs, separated by commas";

/// A setting whose value cannot be used. Passwords in it are masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}{}: `{value}` cannot be used: {reason}", place(origin))]
pub struct ConfigError {
    /// The variable.
    pub variable: &'static str,
    /// Where the value was given.
    pub origin: Source,
    /// Its value, with passwords masked.
    pub value: String,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

impl ConfigError {
    /// The nodes of `REDLOCK_NODES` were refused by the lock crate.
    #[must_use]
    pub fn of_nodes(nodes: &[String], reason: impl fmt::Display) -> Self {
        Self {
            variable: REDLOCK_NODES,
            origin: Source::Environment,
            value: mask_all(&nodes.join(",")),
            reason: format!("{reason}; allowed are {ALLOWED_NODES}"),
        }
    }
}

/// The variable says it where the value comes from the environment.
fn place(origin: &Source) -> String {
    match origin {
        Source::Flag => " (given as a flag)".to_owned(),
        Source::File { path, line } => format!(" ({path}:{line})"),
        Source::Environment | Source::Default => String::new(),
    }
}
