//! What is set by the environment, read once and checked before anything is opened.

use std::env::{self, VarError};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::cache::RedisPlace;
use crate::store::DatabaseUrl;
use crate::store::url::mask;

/// Which database: a URL.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// Which lock nodes: URLs, separated by commas.
pub const REDLOCK_NODES: &str = "REDLOCK_NODES";
/// How long a lock node that was restarted does not vote.
pub const REDLOCK_RESTART_GUARD: &str = "REDLOCK_RESTART_GUARD";
/// Where the Redis of the cache and of resident levels is; none unless set.
pub const REDIS_HOST: &str = "REDIS_HOST";
/// The port of that Redis; 6379 unless set.
pub const REDIS_PORT: &str = "REDIS_PORT";
/// The password of that Redis; none unless set.
pub const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
/// The number of the database there; 0 unless set.
pub const REDIS_DB: &str = "REDIS_DB";
/// Which kind of repository.
pub const STOCK_REPOSITORY: &str = "STOCK_REPOSITORY";

const ALLOWED_NODES: &str = "redis://host:port URLs, separated by commas";

/// Which of the repositories is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepositoryKind {
    /// Writers queue for the row in the database.
    RowLock,
    /// Writers queue for a Redlock lease.
    #[default]
    Redlock,
}

impl fmt::Display for RepositoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RowLock => "row-lock",
            Self::Redlock => "redlock",
        })
    }
}

impl FromStr for RepositoryKind {
    type Err = InvalidRepositoryKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "row-lock" => Ok(Self::RowLock),
            "redlock" => Ok(Self::Redlock),
            _ => Err(InvalidRepositoryKind),
        }
    }
}

/// A name that is no kind of repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are row-lock and redlock")]
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

/// A text that is no restart guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are max-ttl, off and whole seconds from 1 to 86400")]
pub struct InvalidRestartGuard;

/// What the environment says. Whatever is unset or empty is left to the caller.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The database, from `DATABASE_URL`.
    pub database: Option<DatabaseUrl>,
    /// The lock nodes, from `REDLOCK_NODES`; empty for in-process ones.
    pub nodes: Vec<String>,
    /// What keeps restarted lock nodes out of votes, from `REDLOCK_RESTART_GUARD`.
    pub restart_guard: Option<RestartGuard>,
    /// The kind of repository, from `STOCK_REPOSITORY`.
    pub repository: Option<RepositoryKind>,
    /// The Redis of the cache and of resident levels, from `REDIS_HOST` and those beside it.
    pub redis: Option<RedisPlace>,
}

impl Config {
    /// What this process was started with.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first value that cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(|name| match env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(value)) => Err(ConfigError {
                variable: name,
                value: mask(&value.to_string_lossy()),
                reason: "it is not UTF-8".into(),
            }),
        })
    }

    fn read(lookup: impl Fn(&'static str) -> Result<Option<String>, ConfigError>) -> Result<Self, ConfigError> {
        let set = |name| Ok(lookup(name)?.filter(|value| !value.is_empty()));
        Ok(Self {
            database: set(DATABASE_URL)?.map(|url| database(&url)).transpose()?,
            nodes: set(REDLOCK_NODES)?.map(|urls| nodes(&urls)).transpose()?.unwrap_or_default(),
            restart_guard: parsed(REDLOCK_RESTART_GUARD, set(REDLOCK_RESTART_GUARD)?)?,
            repository: parsed(STOCK_REPOSITORY, set(STOCK_REPOSITORY)?)?,
            redis: redis(set)?,
        })
    }
}

/// A variable whose value cannot be used. Passwords in it are masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: `{value}` cannot be used: {reason}")]
pub struct ConfigError {
    /// The variable.
    pub variable: &'static str,
    /// Its value, with passwords masked.
    pub value: String,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

impl ConfigError {
    /// The nodes of `REDLOCK_NODES` were refused by the lock crate.
    #[must_use]
    pub fn of_nodes(nodes: &[String], reason: impl fmt::Display) -> Self {
        let masked: Vec<_> = nodes.iter().map(|url| mask(url)).collect();
        Self {
            variable: REDLOCK_NODES,
            value: masked.join(","),
            reason: format!("{reason}; allowed are {ALLOWED_NODES}"),
        }
    }
}

fn database(url: &str) -> Result<DatabaseUrl, ConfigError> {
    url.parse().map_err(|error: crate::store::InvalidDatabaseUrl| ConfigError {
        variable: DATABASE_URL,
        value: error.shown,
        reason: format!("{}; allowed are {}", error.reason, crate::store::url::ALLOWED),
    })
}

fn nodes(urls: &str) -> Result<Vec<String>, ConfigError> {
    let nodes: Vec<String> = urls.split(',').map(|url| url.trim().to_owned()).collect();
    if nodes.iter().any(String::is_empty) {
        return Err(ConfigError::of_nodes(&nodes, "there is nothing between two commas"));
    }
    Ok(nodes)
}

/// The Redis that the variables name. What only says more of it is checked all the same without a host.
fn redis(set: impl Fn(&'static str) -> Result<Option<String>, ConfigError>) -> Result<Option<RedisPlace>, ConfigError> {
    let number = |variable, allowed| {
        let wrong = |value| ConfigError { variable, value, reason: format!("allowed are {allowed}") };
        let Some(value) = set(variable)? else { return Ok(None) };
        value.parse::<u16>().map(Some).map_err(|_| wrong(value))
    };
    let port = match number(REDIS_PORT, "1 to 65535")? {
        Some(0) => {
            let reason = "allowed are 1 to 65535".into();
            return Err(ConfigError { variable: REDIS_PORT, value: "0".into(), reason });
        }
        port => port.unwrap_or(6379),
    };
    let (db, password) = (number(REDIS_DB, "0 to 65535")?.unwrap_or(0), set(REDIS_PASSWORD)?);
    Ok(set(REDIS_HOST)?.map(|host| RedisPlace { host, port, password, db }))
}

fn parsed<T>(variable: &'static str, text: Option<String>) -> Result<Option<T>, ConfigError>
where
    T: FromStr<Err: fmt::Display>,
{
    let Some(value) = text else { return Ok(None) };
    match value.parse() {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error) => Err(ConfigError { variable, reason: error.to_string(), value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variable: &'static str, value: &str) -> Result<Config, ConfigError> {
        Config::read(|name| Ok((name == variable).then(|| value.to_owned())))
    }

    #[test]
    fn nothing_set_leaves_everything_to_the_caller() {
        let config = Config::read(|_| Ok(None)).unwrap();
        assert!(config.database.is_none() && config.nodes.is_empty());
        assert_eq!(config.repository, None);
        assert!(with(DATABASE_URL, "").unwrap().database.is_none());
    }

    #[test]
    fn values_are_read() {
        let config = with(REDLOCK_NODES, "redis://a, redis://b").unwrap();
        assert_eq!(config.nodes, ["redis://a", "redis://b"]);
        let config = with(STOCK_REPOSITORY, "row-lock").unwrap();
        assert_eq!(config.repository, Some(RepositoryKind::RowLock));
        for (text, guard) in [
            ("max-ttl", RestartGuard::MaxTtl),
            ("off", RestartGuard::Off),
            ("30", RestartGuard::For(Duration::from_secs(30))),
        ] {
            assert_eq!(with(REDLOCK_RESTART_GUARD, text).unwrap().restart_guard, Some(guard));
        }
        let config = with(REDIS_HOST, "cache.example").unwrap();
        assert_eq!(config.redis.unwrap().to_string(), "cache.example:6379/0");
        assert_eq!(with(REDIS_PASSWORD, "secret").unwrap().redis, None);
        let config = with(DATABASE_URL, "sqlite:stock.db").unwrap();
        assert_eq!(config.database.unwrap().to_string(), "sqlite:stock.db");
    }

    #[test]
    fn errors_name_variable_value_and_what_is_allowed() {
        for (variable, value, allowed) in [
            (DATABASE_URL, "postgres://localhost/stock", "mysql://"),
            (REDLOCK_NODES, "redis://a,,redis://b", "redis://host:port"),
            (STOCK_REPOSITORY, "optimistic", "row-lock and redlock"),
            (REDIS_PORT, "redis", "1 to 65535"),
            (REDIS_PORT, "0", "1 to 65535"),
            (REDIS_DB, "-1", "0 to 65535"),
            (REDLOCK_RESTART_GUARD, "never", "max-ttl, off and whole seconds"),
            (REDLOCK_RESTART_GUARD, "1.5", "max-ttl, off and whole seconds"),
            (REDLOCK_RESTART_GUARD, "0", "from 1 to 86400"),
            (REDLOCK_RESTART_GUARD, "86401", "from 1 to 86400"),
        ] {
            let message = with(variable, value).unwrap_err().to_string();
            for part in [variable, value, allowed] {
                assert!(message.contains(part), "{message} lacks {part}");
            }
        }
    }

    #[test]
    fn errors_show_no_password() {
        for (variable, value) in [
            (DATABASE_URL, "postgres://me:secret@localhost/stock"),
            (REDLOCK_NODES, "redis://:secret@a,,redis://me:secret@b"),
        ] {
            let message = with(variable, value).unwrap_err().to_string();
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
