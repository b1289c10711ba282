//! The database that everybody is measured on.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use sqlx::{Connection, MySqlConnection, Row};

use crate::operation::{Id, MAX_INTEGER, Quantity, StockKey};
use crate::store::url::MySqlUrl;
use crate::store::{self, DatabaseUrl, Store};

/// Units of a new record: more than any turn can sell.
const PLENTY: u64 = 1 << 50;

/// A MySQL or MariaDB server.
pub(super) struct Database {
    url: MySqlUrl,
    store: Arc<dyn Store>,
}

impl Database {
    /// Connects, and makes the tables where there are none.
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let url: DatabaseUrl = url.parse()?;
        let store = store::open(&url).await.with_context(|| format!("{url} cannot be opened"))?;
        store.migrate().await.with_context(|| format!("{url} cannot be migrated"))?;
        match url {
            DatabaseUrl::MySql(url) => Ok(Self { url, store }),
            DatabaseUrl::Sqlite(_) => bail!("{url} is a file with one writer; measured are MySQL and MariaDB"),
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Which server it is; refuses one that answers commits before they are on disk.
    pub(super) async fn check_durable(&self) -> anyhow::Result<String> {
        let mut connection = MySqlConnection::connect_with(&self.url.options).await?;
        let question = "SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED), VERSION()";
        let row = sqlx::query(question).fetch_one(&mut connection).await?;
        let (flush, version): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        connection.close().await?;
        ensure!(
            flush == 1,
            "innodb_flush_log_at_trx_commit is {flush}: commits are not durable, so nothing is measured"
        );
        let name = if version.contains("MariaDB") { "" } else { "MySQL " };
        Ok(format!("{name}{version}"))
    }

    /// Makes records that nobody has used, in the order of their variants.
    pub(super) async fn new_records(&self, count: u64) -> anyhow::Result<Vec<u64>> {
        let first = rand::random_range(0..MAX_INTEGER - count);
        for variant in first..first + count {
            self.store.create(Id::new(variant)?, StockKey::new(variant, 0)?, Quantity::new(PLENTY)?).await?;
        }
        Ok((first..first + count).collect())
    }

    pub(super) async fn close(self) {
        self.store.close().await;
    }
}
