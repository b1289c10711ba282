//! What people would write by hand: the database decides in one statement, and a log row says so.
//!
//! It is as good as it can be made here: sessions as the repositories have them, prepared statements,
//! no row read before it is written. It knows one operation, and neither orders nor expiry.

use std::sync::Arc;

use anyhow::bail;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{Executor, MySqlConnection};

use crate::error::RepositoryError;
use crate::hold::Refusal;
use crate::levels::LevelsError;
use crate::operation::StockKey;
use crate::repository::StockRepository;
use crate::request::{Change, Identified, Request};
use crate::store::{BoxFuture, DatabaseUrl, Store, StoreError};
use crate::workbench::Answer;

/// As many as the repositories have.
const MAX_CONNECTIONS: u32 = 32;

const UPDATE: &str = "\
UPDATE product_stocks
SET available_stock = available_stock - ?, locked_stock = locked_stock + ?, version = version + 1,
    updated_at = UTC_TIMESTAMP(6)
WHERE variant_id = ? AND warehouse_id = ? AND available_stock >= ?";

const LOG: &str = "\
INSERT INTO product_stock_logs (stock_id, variant_id, warehouse_id, request_id, position, action, quantity,
    before_stock, before_available, before_locked, before_reserved,
    after_stock, after_available, after_locked, after_reserved, version)
SELECT id, variant_id, warehouse_id, ?, 0, 'lock', ?,
    stock, available_stock + ?, locked_stock - ?, reserved_stock,
    stock, available_stock, locked_stock, reserved_stock, version
FROM product_stocks WHERE variant_id = ? AND warehouse_id = ?";

/// One conditional `UPDATE` and its log row.
#[derive(Debug)]
pub(super) struct Conditional {
    store: Arc<dyn Store>,
    pool: MySqlPool,
}

impl Conditional {
    pub(super) fn new(url: &DatabaseUrl, store: Arc<dyn Store>) -> anyhow::Result<Self> {
        let DatabaseUrl::MySql(url) = url else {
            bail!("the conditional update is measured on MySQL and MariaDB only")
        };
        let pool = MySqlPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                    Ok(())
                })
            })
            .connect_lazy_with((*url.options).clone());
        Ok(Self { store, pool })
    }

    async fn lock(&self, request: &Identified) -> Result<Answer, RepositoryError> {
        let change = &request.changes()[0];
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        connection.execute("BEGIN").await.map_err(StoreError::from)?;
        let written = write(&mut connection, request, change).await;
        let end = if matches!(written, Ok(true)) { "COMMIT" } else { "ROLLBACK" };
        connection.execute(end).await.map_err(StoreError::from)?;
        if !written.map_err(StoreError::from)? {
            let (available, quantity) = (0, change.quantity.get());
            return Err(Refusal::from(LevelsError::InsufficientStock { available, quantity }).into());
        }
        // Nobody asks for the record after it here: reading it would cost the contender a round trip.
        Ok(Answer { request_id: request.id().clone(), records: Vec::new(), replayed: false })
    }
}

/// Whether there were enough units.
async fn write(connection: &mut MySqlConnection, request: &Identified, change: &Change) -> Result<bool, sqlx::Error> {
    let StockKey { variant_id, warehouse_id } = change.key;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (variant, warehouse) = (number(variant_id.get()), number(warehouse_id.get()));
    let units = number(change.quantity.get());
    let update = sqlx::query(UPDATE).bind(units).bind(units).bind(variant).bind(warehouse).bind(units);
    if update.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let log = sqlx::query(LOG).bind(request.id().as_str()).bind(units).bind(units).bind(units);
    log.bind(variant).bind(warehouse).execute(&mut *connection).await?;
    Ok(true)
}

impl StockRepository for Conditional {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async { self.lock(&request.identify()?).await })
    }
}
