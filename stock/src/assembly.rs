//! A running instance, made of what the configuration says: database, locks, repository, cache, and the
//! tasks beside them; and its end, in the order in which nothing is lost.

mod activity;
mod locks;
mod observed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinHandle;

pub use self::activity::{Activity, Busy, Rates};
pub use self::locks::{LocalNode, Locks, lock_nodes};

use self::observed::Observed;
use crate::cache::{Cached, Settings, Warmed};
use crate::config::{Config, ConfigError, LEASE, REDIS_HOST, REDLOCK_NODES, RepositoryKind, STOCK_REPOSITORY};
use crate::failpoint;
use crate::operation::StockKey;
use crate::repository::resident::ResidentConfig;
use crate::repository::{Redlocked, Resident, RowLock, StockRepository};
use crate::store::{self, Access, DatabaseUrl, Store, Writers};
use crate::sweeper::Sweeper;

/// How long the cache's Redis is waited for, to warm the cache.
const WARM_UP: Duration = Duration::from_secs(10);

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: with the lock nodes that all instances on the database have agreed on.
    Service,
    /// To show something on a record of its own: in-process lock nodes can be hurt, and have short leases,
    /// so that they come back soon.
    Demo,
}

/// An instance. Its parts may be used side by side; [`close`](Self::close) ends it.
#[derive(Debug)]
pub struct Instance {
    database: DatabaseUrl,
    kind: RepositoryKind,
    store: Arc<dyn Store>,
    repository: Arc<dyn StockRepository>,
    inner: Inner,
    cache: Option<Cached>,
    locks: Locks,
    activity: Arc<Activity>,
    sweeper: JoinHandle<()>,
}

/// The repository behind the cache, of which each kind ends in its own way.
#[derive(Debug)]
enum Inner {
    RowLock(Arc<RowLock>),
    Redlocked(Arc<Redlocked>),
    Resident(Arc<Resident>),
}

impl Instance {
    /// Opens everything; brings the tables up to date first, unless that is turned off.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for settings that do not go together, and for lock nodes other than those the
    /// instances on this database have agreed on; else what does not answer, with the cause. Nothing stays
    /// open then.
    pub async fn open(config: &Config, purpose: Purpose) -> anyhow::Result<Self> {
        failpoint::plant();
        let kind = config.repository.unwrap_or_default();
        let database = config.database_or_default();
        check(config, kind, &database, purpose)?;
        let locks = Locks::new(config, purpose)?;
        let writers = match kind {
            RepositoryKind::Redlock => Writers::HoldLeases,
            RepositoryKind::RowLock | RepositoryKind::Resident => Writers::Queue,
        };
        let access = Access { lease: LEASE, writers, connections: config.database_connections };
        let store = store::open_with(&database, access).await;
        let store = store.with_context(|| format!("{database} cannot be opened"))?;
        match Self::over(config, purpose, store.clone(), locks).await {
            Ok(instance) => Ok(instance),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn over(config: &Config, purpose: Purpose, store: Arc<dyn Store>, locks: Locks) -> anyhow::Result<Self> {
        let kind = config.repository.unwrap_or_default();
        let database = config.database_or_default();
        let shares_nodes = prepare(config, kind, purpose, store.as_ref(), &database).await?;
        let inner = Inner::open(config, kind, &store, &locks).await?;
        // What is resident is read where it lives; a copy of that would be one more of the same.
        let cache = (kind != RepositoryKind::Resident).then(|| {
            let settings =
                Settings { redis: config.redis.clone(), capacity: config.cache_capacity, ..Settings::default() };
            Cached::new(inner.repository(), &settings)
        });
        let activity = Arc::new(Activity::default());
        let front = cache.clone().map_or_else(|| inner.repository(), |cache| Arc::new(cache) as Arc<_>);
        let repository = Arc::new(Observed::new(front, activity.clone()));
        if let Some(cache) = cache.clone().filter(|_| !config.warm.is_empty()) {
            tokio::spawn(warm_up(cache, config.warm.clone()));
        }
        let sweeper = match shares_nodes {
            true => Sweeper::new(repository.clone(), locks.redlock.clone()),
            false => Sweeper::by_database(repository.clone()),
        };
        let sweeper = tokio::spawn(async move { match sweeper.run().await {} });
        Ok(Self { database, kind, store, repository, inner, cache, locks, activity, sweeper })
    }

    /// What carries requests out: behind it are the cache, and everything else.
    #[must_use]
    pub fn repository(&self) -> &Arc<dyn StockRepository> {
        &self.repository
    }

    /// Another repository on this instance's database, whose activity counts as this instance's.
    #[must_use]
    pub fn observe(&self, repository: Arc<dyn StockRepository>) -> Arc<dyn StockRepository> {
        Arc::new(Observed::new(repository, self.activity.clone()))
    }

    /// Where everything is kept.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Which database that is. Shows no password.
    #[must_use]
    pub fn database(&self) -> &DatabaseUrl {
        &self.database
    }

    /// Which kind of repository it has.
    #[must_use]
    pub fn kind(&self) -> RepositoryKind {
        self.kind
    }

    /// The lock manager and its nodes.
    #[must_use]
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Whether it can do nothing without a quorum of lock nodes.
    #[must_use]
    pub fn needs_locks(&self) -> bool {
        self.kind == RepositoryKind::Redlock
    }

    /// The cache, where there is one.
    #[must_use]
    pub fn cache(&self) -> Option<&Cached> {
        self.cache.as_ref()
    }

    /// The repository with group commit, where it is that one.
    #[must_use]
    pub fn redlocked(&self) -> Option<&Redlocked> {
        match &self.inner {
            Inner::Redlocked(redlocked) => Some(redlocked),
            _ => None,
        }
    }

    /// The repository whose levels live in Redis, where it is that one.
    #[must_use]
    pub fn resident(&self) -> Option<&Resident> {
        match &self.inner {
            Inner::Resident(resident) => Some(resident),
            _ => None,
        }
    }

    /// What has been asked of it lately.
    #[must_use]
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Ends it, and can be used no more: what is under way is finished and answered, what is resident is written back, leases are
    /// released on their nodes, connections are closed. Each step may take until `within` is over, and is
    /// given up then, which is logged; true if none was. Nothing that was answered is lost either way.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: what was not reached is left to the end of the process.
    pub async fn close(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        self.sweeper.abort();
        let mut clean = true;
        let mut step = |name: &'static str, done: bool| {
            if !done {
                tracing::warn!(step = name, "given up at the end");
                clean = false;
            }
        };
        step("repository", self.inner.close(left()).await);
        if let Some(cache) = &self.cache {
            // A Redis that is away must not hold up the end; what is old there expires.
            let patience = left().min(Duration::from_secs(1));
            if !cache.flush(patience).await {
                tracing::info!("the cache in Redis does not have everything");
            }
        }
        step("leases", self.locks.release_all(left().min(Duration::from_secs(2))).await);
        step("database", tokio::time::timeout(left(), self.store.close()).await.is_ok());
        clean
    }
}

impl Inner {
    async fn open(
        config: &Config,
        kind: RepositoryKind,
        store: &Arc<dyn Store>,
        locks: &Locks,
    ) -> anyhow::Result<Self> {
        Ok(match (kind, &config.redis) {
            (RepositoryKind::RowLock, _) => Self::RowLock(Arc::new(RowLock::new(store.clone()))),
            (RepositoryKind::Redlock, _) => {
                Self::Redlocked(Arc::new(Redlocked::new(store.clone(), locks.redlock.clone())))
            }
            (RepositoryKind::Resident, Some(place)) => {
                let config = ResidentConfig::new(place.url()).lag(config.resident_lag);
                let resident = Resident::open(store.clone(), locks.redlock.clone(), config).await;
                Self::Resident(Arc::new(resident.with_context(|| format!("{place} cannot hold levels"))?))
            }
            (RepositoryKind::Resident, None) => return Err(no_redis(config).into()),
        })
    }

    fn repository(&self) -> Arc<dyn StockRepository> {
        match self {
            Self::RowLock(repository) => repository.clone(),
            Self::Redlocked(repository) => repository.clone(),
            Self::Resident(repository) => repository.clone(),
        }
    }

    /// Whether everything was finished within this time.
    async fn close(&self, within: Duration) -> bool {
        match self {
            Self::RowLock(_) => true,
            Self::Redlocked(repository) => tokio::time::timeout(within, repository.close()).await.is_ok(),
            Self::Resident(repository) => match repository.finish(within).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "not everything has been written back");
                    false
                }
            },
        }
    }
}

/// What does not go together.
fn check(config: &Config, kind: RepositoryKind, database: &DatabaseUrl, purpose: Purpose) -> Result<(), ConfigError> {
    if kind == RepositoryKind::Resident && config.redis.is_none() {
        return Err(no_redis(config));
    }
    if purpose == Purpose::Service && kind != RepositoryKind::RowLock && is_shared(database) && config.nodes.is_empty()
    {
        let reason = format!(
            "in-process lock nodes keep nobody else on {database} out; name nodes, or use {STOCK_REPOSITORY}=row-lock"
        );
        return Err(config.refuse(REDLOCK_NODES, reason));
    }
    Ok(())
}

fn no_redis(config: &Config) -> ConfigError {
    let reason = format!("resident levels live in a Redis, and {REDIS_HOST} is not set");
    let value = RepositoryKind::Resident.to_string();
    ConfigError { value, ..config.refuse(STOCK_REPOSITORY, reason) }
}

/// Whether instances on other machines may use it too.
fn is_shared(database: &DatabaseUrl) -> bool {
    matches!(database, DatabaseUrl::MySql(_))
}

/// Brings the tables up to date, or looks whether they are; for a service, also what else has to be right with the
/// database. Whether its lock nodes are those of all instances.
async fn prepare(
    config: &Config,
    kind: RepositoryKind,
    purpose: Purpose,
    store: &dyn Store,
    database: &DatabaseUrl,
) -> anyhow::Result<bool> {
    let tables = if config.migrate { store.migrate().await } else { store.check_schema().await };
    tables.with_context(|| format!("the tables of {database}"))?;
    if purpose == Purpose::Service {
        warn_of_forgetfulness(store, database).await;
    }
    if config.nodes.is_empty() && (is_shared(database) || kind == RepositoryKind::RowLock) {
        // Nodes in this process keep no instance on another machine out.
        return Ok(!is_shared(database));
    }
    if purpose == Purpose::Demo {
        return Ok(true);
    }
    match agree(config, store, database).await {
        // Row locks need no lock nodes; it only sweeps by them.
        Err(error) if kind == RepositoryKind::RowLock && error.is::<ConfigError>() => {
            tracing::warn!("{error:#}; expired holds are ended in turns that the database gives");
            Ok(false)
        }
        outcome => outcome.map(|()| true),
    }
}

/// Refuses to run on other lock nodes than those of the other instances.
async fn agree(config: &Config, store: &dyn Store, database: &DatabaseUrl) -> anyhow::Result<()> {
    let mine = lock_nodes(config);
    let agreed = store.agree_on_lock_nodes(&mine).await.with_context(|| format!("the lock nodes of {database}"))?;
    if agreed == mine {
        return Ok(());
    }
    let reason = format!(
        "the instances on {database} have agreed on other lock nodes (hash {}, leases of {:?}; these are {}, {:?}), and \
         would not keep each other out; if the set has really changed, stop all of them and run `stock locks adopt`",
        short(agreed.hash()),
        agreed.max_ttl(),
        short(mine.hash()),
        mine.max_ttl(),
    );
    Err(ConfigError::of_nodes(&config.nodes, reason).into())
}

/// Says loudly if the database may lose what was answered.
async fn warn_of_forgetfulness(store: &dyn Store, database: &DatabaseUrl) {
    match store.forgetful_settings().await {
        Ok(settings) => settings.iter().for_each(|setting| {
            tracing::warn!(%database, "COMMITS ARE NOT DURABLE, what was answered can be lost: {setting}");
        }),
        Err(error) => tracing::warn!(%database, %error, "whether commits are durable cannot be found out"),
    }
}

/// Brings the hot records close before anybody asks for them.
async fn warm_up(cache: Cached, keys: Vec<StockKey>) {
    if !cache.connected(WARM_UP).await {
        return tracing::warn!("the cache is not warmed: other instances are not heard, so nothing may be kept");
    }
    match cache.warm(&keys).await {
        Ok(Warmed { redis, database, missing }) => tracing::info!(redis, database, missing, "the cache is warm"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the cache is not warmed"),
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
