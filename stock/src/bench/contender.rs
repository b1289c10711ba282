//! Who is measured.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use redlock::Redlock;
use serde::{Deserialize, Serialize};

use super::conditional::Conditional;
use super::orders::Orders;
use super::over_http::OverHttp;
use crate::config::{ConfigError, RepositoryKind};
use crate::repository::resident::ResidentConfig;
use crate::repository::{Redlocked, Resident, RowLock, StockRepository};
use crate::store::{self, Access, DatabaseUrl, Writers};

/// A repository, or what people would write by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Contender {
    /// One of the repositories.
    Repository(RepositoryKind),
    /// `UPDATE … SET available_stock = available_stock - ? … WHERE … AND available_stock >= ?` and a
    /// log row, in one transaction. It knows no other operation.
    Conditional,
}

/// The name of the one that is no repository.
const CONDITIONAL: &str = "conditional-update";

impl Contender {
    /// Opens it on what the orders name.
    ///
    /// # Errors
    ///
    /// A database or lock nodes that cannot be used.
    pub(super) async fn open(self, orders: &Orders) -> anyhow::Result<Opened> {
        let url: DatabaseUrl = orders.database.parse()?;
        // As an instance in production has it.
        let writers = match self {
            Self::Repository(RepositoryKind::Redlock) => Writers::HoldLeases,
            _ => Writers::Queue,
        };
        let access = Access { writers, ..Access::default() };
        let store = store::open_with(&url, access).await.with_context(|| format!("{url} cannot be opened"))?;
        let kind = match self {
            Self::Repository(kind) => kind,
            Self::Conditional => return Ok(Opened::Plain(Arc::new(Conditional::new(&url, store)?))),
        };
        if orders.http {
            return Ok(Opened::Http(Box::new(OverHttp::open(kind, orders, store).await?)));
        }
        Ok(match kind {
            RepositoryKind::RowLock => Opened::Plain(Arc::new(RowLock::new(store))),
            RepositoryKind::Redlock => {
                let redlock = locks(orders).await?;
                Opened::Redlock(Redlocked::new(store, redlock.clone()), redlock)
            }
            RepositoryKind::Resident => {
                let redis = orders.redis.as_deref().context("there is no Redis for resident levels")?;
                let config = ResidentConfig::new(redis).lag(Duration::from_millis(orders.lag_ms));
                let resident = Resident::open(store, locks(orders).await?, config).await?;
                Opened::Resident(Arc::new(resident))
            }
        })
    }
}

/// A contender that can begin, and what has to be done for it to end well.
pub(super) enum Opened {
    /// Nothing.
    Plain(Arc<dyn StockRepository>),
    /// Leases have to be released, or the next one to want them waits until they are over.
    Redlock(Redlocked, Redlock),
    /// What it has answered has to arrive in the database.
    Resident(Arc<Resident>),
    /// The service has to end.
    Http(Box<OverHttp>),
}

impl Opened {
    /// What is measured.
    pub(super) fn repository(&self) -> Arc<dyn StockRepository> {
        match self {
            Self::Plain(repository) => repository.clone(),
            Self::Redlock(repository, _) => Arc::new(repository.clone()),
            Self::Resident(repository) => repository.clone(),
            Self::Http(repository) => Arc::new(repository.as_ref().clone()),
        }
    }

    /// Ends it, within this time.
    pub(super) async fn close(self, within: Duration) -> anyhow::Result<()> {
        match self {
            Self::Plain(_) => {}
            Self::Redlock(repository, redlock) => {
                repository.close().await;
                redlock.close(within).await;
            }
            Self::Resident(resident) => resident.finish(within).await?,
            Self::Http(service) => service.close(within).await,
        }
        Ok(())
    }
}

/// Locks on the nodes that the orders name.
async fn locks(orders: &Orders) -> anyhow::Result<Redlock> {
    let guard = match orders.quarantine {
        true => redlock::RestartGuard::MaxTtl,
        false => redlock::RestartGuard::Off,
    };
    let builder = Redlock::builder().nodes(&orders.nodes).restart_guard(guard);
    let redlock = builder.build().map_err(|error| ConfigError::of_nodes(&orders.nodes, error))?;
    // Connections are made when first used, which is not to be measured.
    redlock.preflight().await;
    Ok(redlock)
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(kind) => kind.fmt(f),
            Self::Conditional => f.write_str(CONDITIONAL),
        }
    }
}

impl FromStr for Contender {
    type Err = InvalidContender;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            CONDITIONAL => Ok(Self::Conditional),
            _ => name.parse().map(Self::Repository).map_err(|_| InvalidContender),
        }
    }
}

impl From<Contender> for String {
    fn from(contender: Contender) -> Self {
        contender.to_string()
    }
}

impl TryFrom<String> for Contender {
    type Error = InvalidContender;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

/// A name that nobody has who can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are {CONDITIONAL} and the kinds of repositories")]
pub struct InvalidContender;
