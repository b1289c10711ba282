//! What whoever runs the service does by hand, once in a while.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Subcommand};
use stock::cache;
use stock::config::{Config, DATABASE_URL, REDIS_HOST, REDLOCK_NODES};
use stock::store::{self, DatabaseUrl, LockNodes, MAX_PAGE, PageSize, Store};
use stock::timestamp::Timestamp;

/// The longest lease any instance takes.
const LEASE: Duration = Duration::from_secs(10);

/// The database where none is named.
const DEFAULT_DATABASE: &str = "sqlite:stock.db";

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Forgets everything that is cached, in every instance: after a database was restored, since its
    /// versions have gone back.
    Clear,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Locks {
    /// Makes the nodes of REDLOCK_NODES those that the instances on this database have agreed on.
    ///
    /// Instances that lock on other nodes do not keep each other out: stop all of them first, or let them
    /// run with row-lock meanwhile, wait for the longest lease (10 seconds), adopt, and start them with
    /// the new nodes.
    Adopt,
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
}

impl Cache {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let Self::Clear = self;
        let place = Config::from_env()?.redis.with_context(|| format!("{REDIS_HOST} is not set"))?;
        let (generation, removed) = cache::clear(&place).await.with_context(|| place.to_string())?;
        println!("{removed} records removed; generation {generation} has begun");
        Ok(())
    }
}

impl Locks {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let Self::Adopt = self;
        let config = Config::from_env()?;
        anyhow::ensure!(!config.nodes.is_empty(), "{REDLOCK_NODES} is not set");
        let (url, store) = open(config.database).await?;
        let nodes = LockNodes::new(&config.nodes, LEASE);
        store.adopt_lock_nodes(&nodes).await.with_context(|| url.to_string())?;
        store.close().await;
        println!("{} lock nodes adopted for {url}", config.nodes.len());
        Ok(())
    }
}

impl Logs {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let Self::Prune(Prune { before }) = self;
        let (url, store) = open(Config::from_env()?.database).await?;
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
pub(crate) async fn migrate() -> anyhow::Result<()> {
    let (url, store) = open(Config::from_env()?.database).await?;
    store.migrate().await.with_context(|| url.to_string())?;
    store.close().await;
    println!("{url} is up to date");
    Ok(())
}

async fn open(url: Option<DatabaseUrl>) -> anyhow::Result<(DatabaseUrl, std::sync::Arc<dyn Store>)> {
    let url = match url {
        Some(url) => url,
        None => DEFAULT_DATABASE.parse().with_context(|| format!("{DATABASE_URL} is not set"))?,
    };
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
