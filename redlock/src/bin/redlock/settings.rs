//! From options and variables to a lock manager; what cannot be used is named with its source.

use std::env::{self, VarError};

use redlock::{Builder, ConfigError, Redlock, RestartGuard};

use crate::options::{NodeOptions, restart_guard};
use crate::status::Failure;

const NODES: &str = "REDLOCK_NODES";
const GUARD: &str = "REDLOCK_RESTART_GUARD";
const ALLOWED_NODES: &str = "allowed are redis://, rediss:// and unix:// URLs, separated by commas";

/// The nodes' URLs, with passwords, and where they were given.
#[derive(Debug)]
pub(crate) struct Urls {
    list: Vec<String>,
    source: &'static str,
}

impl Urls {
    /// From the option, else from the variable.
    pub(crate) fn read(options: &NodeOptions) -> Result<Self, Failure> {
        let (list, source) = if options.nodes.is_empty() {
            let text = variable(NODES)?.ok_or_else(|| {
                Failure::usage(format!("no lock nodes: set {NODES}, or give --nodes; {ALLOWED_NODES}"))
            })?;
            (text.split(',').map(str::to_owned).collect(), NODES)
        } else {
            (options.nodes.clone(), "--nodes")
        };
        let list: Vec<String> = list.iter().map(|url| url.trim().to_owned()).collect();
        // Not shown: what is between the other commas may have passwords.
        if list.iter().any(String::is_empty) {
            return Err(Failure::usage(format!("{source}: there is nothing between two commas; {ALLOWED_NODES}")));
        }
        Ok(Self { list, source })
    }

    /// In the order given.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }

    /// A manager over them, after `change`.
    pub(crate) fn manager(
        &self,
        options: &NodeOptions,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<Redlock, Failure> {
        let builder = Redlock::builder()
            .nodes(self.iter())
            .key_prefix(&options.key_prefix)
            .node_timeout(options.node_timeout)
            .restart_guard(guard(options)?);
        let builder = match options.max_ttl {
            // Those who take no lease have no ttl of their own that could be above it.
            Some(max_ttl) => builder.max_ttl(max_ttl).ttl(max_ttl),
            None => builder,
        };
        change(builder).build().map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &ConfigError) -> Failure {
        let source = match error {
            ConfigError::InvalidTtl { .. } => "--ttl",
            ConfigError::MaxTtlBelowTtl { .. } | ConfigError::MaxTtlTooLong { .. } => "--max-ttl",
            ConfigError::InvalidNodeTimeout { .. } => "--node-timeout",
            ConfigError::InvalidOwner { .. } => "--owner",
            ConfigError::InvalidKeyPrefix { .. } => "--key-prefix",
            _ => return Failure::usage(format!("{}: {error}; {ALLOWED_NODES}", self.source)),
        };
        Failure::usage(format!("{source}: {error}"))
    }
}

fn guard(options: &NodeOptions) -> Result<RestartGuard, Failure> {
    if let Some(guard) = options.restart_guard {
        return Ok(guard);
    }
    let Some(text) = variable(GUARD)? else { return Ok(RestartGuard::MaxTtl) };
    restart_guard(&text).map_err(|allowed| Failure::usage(format!("{GUARD}: `{text}` cannot be used: {allowed}")))
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Failure::usage(format!("{name}: it is not UTF-8"))),
    }
}
