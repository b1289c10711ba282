//! What is set, read once and checked before anything is opened.
//!
//! A value comes from a flag, else from the environment, else from a file, else it is the default
//! ([`setting`] lists them all). Flags have the names of the variables in small letters, without the
//! `STOCK_` that all of them would have; so have the keys of the file, with underscores.

pub mod error;
pub mod kinds;
pub mod service;
pub mod setting;
pub mod source;

use std::time::Duration;

use crate::cache::RedisPlace;
use crate::operation::{InvalidStockKey, StockKey};
use crate::store::DatabaseUrl;

pub use self::error::ConfigError;
pub use self::kinds::{
    InvalidLogFormat, InvalidRepositoryKind, InvalidRestartGuard, LogFormat, RepositoryKind, RestartGuard,
};
pub use self::service::{ServiceConfig, TlsFiles, Token};
pub use self::setting::{
    DATABASE_URL, REDIS_DB, REDIS_HOST, REDIS_PASSWORD, REDIS_PORT, REDIS_TLS, REDLOCK_NODES, REDLOCK_RESTART_GUARD,
    RUST_LOG, STOCK_API_TOKEN, STOCK_BIND, STOCK_CACHE_CAPACITY, STOCK_CACHE_WARM, STOCK_CONFIG,
    STOCK_DATABASE_CONNECTIONS, STOCK_LOG_FORMAT, STOCK_MIGRATE, STOCK_REPOSITORY, STOCK_RESIDENT_LAG, Setting,
};
pub use self::source::{Effective, Flags, Source};

use self::source::Values;

/// The database where none is named.
pub const DEFAULT_DATABASE: &str = "sqlite:stock.db";

/// The longest lease any instance takes; the same in all of them.
pub const LEASE: Duration = Duration::from_secs(10);

/// Everything that is set. What stays out of it because nothing was said is left to the caller.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database, from `DATABASE_URL`.
    pub database: Option<DatabaseUrl>,
    /// How many connections to a database server there are at most.
    pub database_connections: u32,
    /// Whether the service brings the tables up to date before it begins.
    pub migrate: bool,
    /// The lock nodes, from `REDLOCK_NODES`; empty for in-process ones.
    pub nodes: Vec<String>,
    /// What keeps restarted lock nodes out of votes, from `REDLOCK_RESTART_GUARD`.
    pub restart_guard: Option<RestartGuard>,
    /// The kind of repository, from `STOCK_REPOSITORY`.
    pub repository: Option<RepositoryKind>,
    /// The Redis of the cache and of resident levels, from `REDIS_HOST` and those beside it.
    pub redis: Option<RedisPlace>,
    /// How long resident levels may be ahead of the database.
    pub resident_lag: Duration,
    /// How many records each instance keeps in its own cache.
    pub cache_capacity: u64,
    /// Which records are brought into the caches when the service begins.
    pub warm: Vec<StockKey>,
    /// What the HTTP service needs.
    pub service: ServiceConfig,
    /// What is logged, in tracing's filter syntax; a default of the program unless set.
    pub log: Option<String>,
    /// How it is logged.
    pub log_format: LogFormat,
    effective: Vec<Effective>,
}

impl Config {
    /// What the environment says, and the file that it names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first value that cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::load(&Flags::new())
    }

    /// What these flags say, else the environment, else the file that either of them names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first value that cannot be used.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::read(&Values::collect(flags, source::environment)?)
    }

    fn read(values: &Values) -> Result<Self, ConfigError> {
        Ok(Self {
            database: values.parse(DATABASE_URL, database)?,
            database_connections: values.number(STOCK_DATABASE_CONNECTIONS, 32, 1..=1_000)?,
            migrate: values.switch(STOCK_MIGRATE, true)?,
            nodes: values.parse(REDLOCK_NODES, nodes)?.unwrap_or_default(),
            restart_guard: values.parse_as(REDLOCK_RESTART_GUARD)?,
            repository: values.parse_as(STOCK_REPOSITORY)?,
            redis: redis(values)?,
            resident_lag: Duration::from_secs(values.number(STOCK_RESIDENT_LAG, 0, 0..=600)?),
            cache_capacity: values.number(STOCK_CACHE_CAPACITY, 100_000, 0..=100_000_000)?,
            warm: values.parse(STOCK_CACHE_WARM, records)?.unwrap_or_default(),
            service: ServiceConfig::read(values)?,
            log: values.text(RUST_LOG).map(str::to_owned),
            log_format: values.parse_as(STOCK_LOG_FORMAT)?.unwrap_or_default(),
            effective: values.effective(),
        })
    }

    /// Every value in force and where it comes from; secrets are masked.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// An error about a value that can be read, but not used.
    #[must_use]
    pub fn refuse(&self, variable: &'static str, reason: impl Into<String>) -> ConfigError {
        let found = self.effective.iter().find(|effective| effective.setting.variable == variable);
        let (value, origin) =
            found.map_or((None, Source::Default), |found| (found.value.clone(), found.source.clone()));
        ConfigError { variable, origin, value: value.unwrap_or_default(), reason: reason.into() }
    }

    /// The database, or the default one.
    ///
    /// # Panics
    ///
    /// Never: the default can be read.
    #[must_use]
    pub fn database_or_default(&self) -> DatabaseUrl {
        let default = || DEFAULT_DATABASE.parse().expect("it names a file");
        self.database.clone().unwrap_or_else(default)
    }
}

fn database(url: &str) -> Result<DatabaseUrl, String> {
    url.parse().map_err(|error: crate::store::InvalidDatabaseUrl| {
        format!("{}; allowed are {}", error.reason, crate::store::url::ALLOWED)
    })
}

fn nodes(urls: &str) -> Result<Vec<String>, String> {
    let nodes: Vec<String> = urls.split(',').map(|url| url.trim().to_owned()).collect();
    if nodes.iter().any(String::is_empty) {
        return Err(format!("there is nothing between two commas; allowed are {}", error::ALLOWED_NODES));
    }
    Ok(nodes)
}

fn records(keys: &str) -> Result<Vec<StockKey>, String> {
    keys.split(',').map(|key| key.trim().parse().map_err(|error: InvalidStockKey| error.to_string())).collect()
}

fn host(text: &str) -> Result<String, String> {
    if text.contains(['/', '@', ' ']) {
        return Err(format!("allowed are a name or an address, without {REDIS_PORT} and {REDIS_PASSWORD}"));
    }
    Ok(text.to_owned())
}

/// The Redis that the variables name. What only says more of it is checked all the same without a host.
fn redis(values: &Values) -> Result<Option<RedisPlace>, ConfigError> {
    let port = values.number(REDIS_PORT, 6379, 1..=65_535)?;
    let db = values.number(REDIS_DB, 0, 0..=65_535)?;
    let tls = values.switch(REDIS_TLS, false)?;
    let password = values.text(REDIS_PASSWORD).map(str::to_owned);
    let host = values.parse(REDIS_HOST, host)?;
    Ok(host.map(|host| RedisPlace { host, port, password, db, tls }))
}

#[cfg(test)]
mod tests;
