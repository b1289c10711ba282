//! What whoever runs the service does by hand, once in a while.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Subcommand};
use stock::assembly::lock_nodes;
use stock::cache::{self, Cached, RedisPlace, Warmed};
use stock::config::{Config, REDIS_HOST, REDLOCK_NODES};
use stock::operation::StockKey;
use stock::repository::RowLock;
use stock::store::{self, DatabaseUrl, MAX_PAGE, PageSize, Store};
use stock::timestamp::Timestamp;

use crate::settings::Settings;

/// How long the cache's Redis is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Forgets everything that is cached, in every instance: after a database was restored, since its
    /// versions have gone back.
    Clear(Settings),
    /// Brings records into the Redis that instances share, before anybody asks for them.
    ///
    /// With STOCK_CACHE_WARM every instance does that when it begins, and for its own cache too.
    Warm(Warm),
}

#[derive(Debug, Args)]
pub(crate) struct Warm {
    /// Which ones, as VARIANT/WAREHOUSE; those of STOCK_CACHE_WARM unless given.
    #[arg(value_name = "RECORD")]
    records: Vec<StockKey>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Locks {
    /// Makes the nodes of REDLOCK_NODES those that the instances on this database have agreed on.
    ///
    /// Instances that lock on other nodes do not keep each other out: stop all of them first, or let them
    /// run with row-lock meanwhile, wait for the longest lease (10 seconds), adopt, and start them with
    /// the new nodes.
    Adopt(Settings),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Logs {
    /// Removes log entries that were written before a moment.
    ///
    /// With them goes the memory of their requests: one that comes again is carried out again.
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The moment: 2026-01-31, 2026-01-31T12:00:00Z (UTC), or an age like 90d.
    #[arg(long, value_parser = moment)]
    before: Timestamp,
    #[command(flatten)]
    settings: Settings,
}

/// Brings the tables up to date.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) settings: Settings,
}

impl Cache {
    pub(crate) fn settings(&self) -> &Settings {
        match self {
            Self::Clear(settings) | Self::Warm(Warm { settings, .. }) => settings,
        }
    }

    pub(crate) async fn run(&self, config: Config) -> anyhow::Result<()> {
        let place = config.redis.clone().with_context(|| format!("{REDIS_HOST} is not set"))?;
        match self {
            Self::Clear(_) => {
                let (generation, removed) = cache::clear(&place).await.with_context(|| place.to_string())?;
                println!("{removed} records removed; generation {generation} has begun");
            }
            Self::Warm(Warm { records, .. }) => {
                let records = if records.is_empty() { &config.warm } else { records };
                let Warmed { redis, database, missing } = warm(&config, &place, records).await?;
                println!("{database} records brought to {place}, {redis} were there, {missing} do not exist");
            }
        }
        Ok(())
    }
}

/// Puts a cache in front of the database for as long as that takes.
async fn warm(config: &Config, place: &RedisPlace, records: &[StockKey]) -> anyhow::Result<Warmed> {
    let (url, store) = open(config).await?;
    let settings = cache::Settings { redis: Some(place.clone()), ..cache::Settings::default() };
    let cache = Cached::new(Arc::new(RowLock::new(store.clone())), &settings);
    anyhow::ensure!(cache.connected(PATIENCE).await, "{place} does not answer");
    let warmed = cache.warm(records).await.with_context(|| url.to_string())?;
    anyhow::ensure!(cache.flush(PATIENCE).await, "{place} does not take the records");
    store.close().await;
    Ok(warmed)
}

impl Locks {
    pub(crate) fn settings(&self) -> &Settings {
        let Self::Adopt(settings) = self;
        settings
    }

    pub(crate) async fn run(&self, config: Config) -> anyhow::Result<()> {
        let is_file = matches!(config.database_or_default(), DatabaseUrl::Sqlite(_));
        anyhow::ensure!(is_file || !config.nodes.is_empty(), "{REDLOCK_NODES} is not set");
        let (url, store) = open(&config).await?;
        store.adopt_lock_nodes(&lock_nodes(&config)).await.with_context(|| url.to_string())?;
        store.close().await;
        match config.nodes.len() {
            0 => println!("in-process lock nodes adopted for {url}"),
            nodes => println!("{nodes} lock nodes adopted for {url}"),
        }
        Ok(())
    }
}

impl Logs {
    pub(crate) fn settings(&self) -> &Settings {
        let Self::Prune(prune) = self;
        &prune.settings
    }

    pub(crate) async fn run(&self, config: &Config) -> anyhow::Result<()> {
        let Self::Prune(Prune { before, .. }) = self;
        let (url, store) = open(config).await?;
        let mut removed = 0;
        // A page at a time, so that nobody waits for long.
        loop {
            let page = store.prune_logs(*before, PageSize::clamped(MAX_PAGE)).await.with_context(|| url.to_string())?;
            removed += page;
            if page == 0 {
                break;
            }
        }
        store.close().await;
        println!("{removed} log entries removed from {url}");
        Ok(())
    }
}

/// `stock migrate`: brings the tables up to date.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    let (url, store) = open(config).await?;
    store.migrate().await.with_context(|| url.to_string())?;
    store.close().await;
    println!("{url} is up to date");
    Ok(())
}

async fn open(config: &Config) -> anyhow::Result<(DatabaseUrl, Arc<dyn Store>)> {
    let url = config.database_or_default();
    let store = store::open(&url).await.with_context(|| format!("{url} cannot be opened"))?;
    Ok((url, store))
}

/// A moment, or an age.
fn moment(text: &str) -> Result<Timestamp, String> {
    let midnight = format!("{text}T00:00:00Z");
    let moment = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&midnight)).ok();
    let ago = || SystemTime::now().checked_sub(humantime::parse_duration(text).ok()?);
    let moment = moment.or_else(ago).ok_or("allowed are 2026-01-31, 2026-01-31T12:00:00Z and ages like 90d")?;
    let since = moment.duration_since(UNIX_EPOCH).map_err(|_| "it is before 1970")?;
    i64::try_from(since.as_micros()).map(Timestamp::from_micros).map_err(|_| "it is too late".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_and_ages() {
        assert_eq!(moment("1970-01-02").unwrap().micros(), 86_400_000_000);
        assert_eq!(moment("1970-01-01T00:00:01Z").unwrap().micros(), 1_000_000);
        assert!(moment("1h").unwrap() > moment("2h").unwrap());
        for nonsense in ["", "yesterday", "2026-13-01", "-1d"] {
            assert!(moment(nonsense).is_err(), "{nonsense}");
        }
    }
}
