//! A sale: simulated buyers rush one variant, and afterwards somebody counts.
//!
//! With nothing set it runs on nothing installed: five in-process lock nodes, which fail and return
//! while it lasts, and a SQLite file that goes away with it. What buyers were told is compared with what the
//! database says, so a unit sold twice, or lost, is seen. The same service that serves elsewhere shows it
//! meanwhile, and lets visitors hurt the lock nodes.

mod buyer;
mod locks;
mod progress;
pub mod report;
mod tally;

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::buyer::Buyer;
use self::locks::Weather;
use self::progress::Progress;
use self::report::{End, Report};
use self::tally::Tally;
use crate::assembly::{Instance, Purpose};
#[cfg(doc)]
use crate::config::ConfigError;
use crate::config::{Config, RepositoryKind, ServiceConfig};
use crate::log::Audit;
use crate::operation::{Id, Quantity, StockKey};
use crate::repository::StockRepository;
use crate::repository::unguarded::Unguarded;
use crate::service::{LAST_STEPS, Place, Service, recorder};
use crate::store::url::SqliteUrl;
use crate::store::{self, DatabaseUrl, StoreError};

/// How often the progress is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// Refusals and nothing else for this long: what is left is stuck with somebody.
const NOTHING_SELLS: Duration = Duration::from_secs(1);

/// How long an operation under way is waited for at the end. After that its outcome counts as
/// unknown.
const GRACE: Duration = Duration::from_secs(10);

/// The sale to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// How long it lasts at most.
    pub seconds: u64,
    /// How many buyers there are.
    pub buyers: u64,
    /// How many units there are.
    pub stock: u64,
    /// Whether anything keeps the buyers apart: what the configuration says, or nothing at all.
    pub is_guarded: bool,
}

/// Holds a sale on what the configuration names, until it is over or `stop` is ready. Lock nodes that
/// were restarted lately are waited for first, and standard error says so.
///
/// # Errors
///
/// Whatever keeps it from starting: a bad value ([`ConfigError`]), a database that is not there, lock
/// nodes of which no quorum will vote, or `stop`. What goes wrong during the sale is in the report.
pub async fn run(sale: Sale, config: &Config, stop: impl Future<Output = ()>) -> anyhow::Result<Report> {
    let mut stop = pin!(stop);
    let shop = tokio::select! {
        shop = Shop::open(sale, config) => shop?,
        () = &mut stop => anyhow::bail!("stopped before the sale began"),
    };
    eprintln!("{} buyers, {} units, {shop}.", sale.buyers, sale.stock);
    let tally = Arc::new(Tally::new());
    let started = Instant::now();
    let end = shop.sell(sale, &tally, stop).await;
    let report = Report {
        stock: sale.stock,
        end,
        took: started.elapsed(),
        told: tally.snapshot(),
        node_failures: shop.weather.as_ref().and_then(|weather| weather.failures(shop.instance.locks())),
        audit: shop.count().await,
        logged: sale.is_guarded,
    };
    shop.close().await;
    Ok(report)
}

/// Everything a sale needs.
struct Shop {
    key: StockKey,
    instance: Arc<Instance>,
    repository: Arc<dyn StockRepository>,
    service: Service,
    /// What befalls the lock nodes, where the buyers need them.
    weather: Option<Weather>,
    /// What keeps the buyers apart, for people.
    guard: String,
    /// The folder of the SQLite file, removed at the end.
    _folder: Option<TempDir>,
}

impl Shop {
    async fn open(sale: Sale, config: &Config) -> anyhow::Result<Self> {
        recorder::install();
        let (database, folder) = database(config)?;
        let kind = if sale.is_guarded { config.repository } else { Some(RepositoryKind::RowLock) };
        let mut config = config.clone();
        (config.database, config.migrate, config.repository) = (Some(database), true, kind);
        let place = Place::take(&ServiceConfig { bind: ([127, 0, 0, 1], 0).into(), ..config.service.clone() }).await?;
        let instance = Arc::new(Instance::open(&config, Purpose::Demo).await?);
        let weather = instance.needs_locks().then(Weather::default);
        if weather.is_some() {
            locks::ready(instance.locks()).await?;
        }
        let (repository, guard) = match (sale.is_guarded, instance.kind()) {
            (false, _) => {
                let unguarded = Arc::new(Unguarded::new(instance.store().clone()));
                (instance.observe(unguarded), "nothing keeps them apart".to_owned())
            }
            (_, RepositoryKind::RowLock) => (instance.repository().clone(), "row locks".to_owned()),
            (_, RepositoryKind::Redlock) => (instance.repository().clone(), locks::described(instance.locks())),
            (_, RepositoryKind::Resident) => (instance.repository().clone(), "levels in Redis".to_owned()),
        };
        // A number of its own for each sale: the database may be one with real stock in it.
        let number = rand::random_range(1 << 40..1 << 53);
        let key = StockKey::new(number, 0)?;
        repository.create(Id::new(number)?, key, Quantity::new(sale.stock)?).await?;
        let service = place.open(instance.clone(), Purpose::Demo);
        eprintln!("control room: {}", service.url());
        Ok(Self { key, instance, repository, service, weather, guard, _folder: folder })
    }

    /// Lets the buyers in, waits for the end, and sees the last one out.
    async fn sell(&self, sale: Sale, tally: &Arc<Tally>, stop: impl Future<Output = ()>) -> End {
        let (close, closed) = watch::channel(false);
        let sold_out = Arc::new(Notify::new());
        let mut buyers = JoinSet::new();
        for _ in 0..sale.buyers {
            let buyer = Buyer {
                repository: self.repository.clone(),
                key: self.key,
                tally: tally.clone(),
                closed: closed.clone(),
                sold_out: sold_out.clone(),
            };
            buyers.spawn(buyer.rush());
        }
        let mut progress = Progress::new(sale.stock);
        let end = tokio::select! {
            () = sold_out.notified() => End::SoldOut,
            () = stop => End::Interrupted,
            () = tokio::time::sleep(Duration::from_secs(sale.seconds)) => End::TimeUp,
            () = watch_sale(&mut progress, tally) => End::SoldOut,
            never = self.trouble() => match never {},
        };
        close.send_replace(true);
        let leave = async { while buyers.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, leave).await.is_err() {
            buyers.shutdown().await;
        }
        let (operations, _, sold) = tally.counts();
        progress.show(operations, sold);
        end
    }

    /// What goes wrong with the lock nodes during the sale.
    async fn trouble(&self) -> Infallible {
        match &self.weather {
            Some(weather) => weather.strike(self.instance.locks()).await,
            None => std::future::pending().await,
        }
    }

    /// What the database says now.
    async fn count(&self) -> Result<Audit, String> {
        if let Some(resident) = self.instance.resident() {
            resident.settle(GRACE).await.map_err(|error| error.to_string())?;
        }
        match store::audit(self.instance.store().as_ref(), self.key).await {
            Ok(Some(audit)) => Ok(audit),
            Ok(None) => Err("the record is gone".into()),
            Err(error) => Err(explain(&error)),
        }
    }

    async fn close(self) {
        self.service.close().await;
        self.instance.close(LAST_STEPS).await;
    }
}

impl fmt::Display for Shop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.guard, self.instance.database())
    }
}

/// Shows the progress. Ends when there are refusals only.
async fn watch_sale(progress: &mut Progress, tally: &Tally) {
    let mut tick = tokio::time::interval(TICK);
    let mut last = (0, 0, Instant::now());
    loop {
        tick.tick().await;
        let (operations, refused, sold) = tally.counts();
        progress.show(operations, sold);
        let (operations_then, refused_then, since) = last;
        if operations != operations_then || refused == refused_then {
            last = (operations, refused, Instant::now());
        } else if since.elapsed() >= NOTHING_SELLS {
            return;
        }
    }
}

/// The database that is named, or a new file in a folder of its own.
fn database(config: &Config) -> anyhow::Result<(DatabaseUrl, Option<TempDir>)> {
    if let Some(url) = &config.database {
        return Ok((url.clone(), None));
    }
    let folder = TempDir::with_prefix("stock-demo-").context("no temporary folder can be made")?;
    let file = SqliteUrl::new(folder.path().join("stock.db"));
    Ok((DatabaseUrl::Sqlite(file), Some(folder)))
}

/// An error and what led to it, on one line.
fn explain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
