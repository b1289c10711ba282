//! Who is measured.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use redlock::Redlock;
use serde::{Deserialize, Serialize};

use super::conditional::Conditional;
use super::orders::Orders;
use crate::config::{ConfigError, RepositoryKind};
use crate::repository::{Redlocked, RowLock, StockRepository};
use crate::store::{self, DatabaseUrl};

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
    pub(super) async fn open(self, orders: &Orders) -> anyhow::Result<Arc<dyn StockRepository>> {
        let url: DatabaseUrl = orders.database.parse()?;
        let store = store::open(&url).await.with_context(|| format!("{url} cannot be opened"))?;
        Ok(match self {
            Self::Conditional => Arc::new(Conditional::new(&url, store)?),
            Self::Repository(RepositoryKind::RowLock) => Arc::new(RowLock::new(store)),
            Self::Repository(RepositoryKind::Redlock) => Arc::new(Redlocked::new(store, locks(orders).await?)),
        })
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
