//! Pages of records, log entries and holds; pruning the log page by page.

use std::collections::BTreeMap;

use super::{SqlStore, one_more};
use crate::hold::Hold;
use crate::log::LoggedEntry;
use crate::operation::{Id, StockKey};
use crate::record::{StockRecord, StockRow};
use crate::request::OrderId;
use crate::store::session::{Backend, Session, Statement};
use crate::store::{Filter, Page, PageSize, StoreError, dialect, json, rows};
use crate::timestamp::Timestamp;

impl<B: Backend> SqlStore<B> {
    pub(super) async fn list_records(
        &self,
        filter: &Filter,
        after: Option<u64>,
        size: PageSize,
    ) -> Result<Page<StockRecord>, StoreError> {
        let statement = match filter {
            Filter::Variant(id) => Statement::new(dialect::LIST_VARIANT).number(id.get()),
            Filter::Product(id) => Statement::new(dialect::LIST_PRODUCT).number(id.get()),
            Filter::Variants { variant_ids, warehouse_id } => {
                // One that is named twice is listed once.
                let mut ids: Vec<_> = variant_ids.iter().copied().map(Id::get).collect();
                ids.sort_unstable();
                ids.dedup();
                Statement::new(B::DIALECT.list_variants).text(json::numbers(ids)).number(warehouse_id.get())
            }
        };
        let statement = statement.number(after.unwrap_or(0)).number(one_more(size));
        let found = self.find(statement, |row| Ok(rows::row(row)?.record)).await?;
        Ok(Page::new(found, size, |record| record.id))
    }

    pub(super) async fn list_logs(
        &self,
        key: StockKey,
        below: u64,
        size: PageSize,
    ) -> Result<Page<LoggedEntry>, StoreError> {
        let Some(row) = self.read_row(key).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let statement = Statement::new(B::DIALECT.logs).number(row.record.id).number(below).number(one_more(size));
        let found = self.find(statement, rows::logged).await?;
        Ok(Page::new(found, size, |logged| logged.entry.version))
    }

    pub(super) async fn list_holds(
        &self,
        order_id: &OrderId,
        below: u64,
        size: PageSize,
    ) -> Result<Page<Hold>, StoreError> {
        let statement = Statement::new(B::DIALECT.holds).text(order_id.as_str()).number(below).number(one_more(size));
        self.hold_page(statement, size).await
    }

    pub(super) async fn list_expired(&self, after: Option<u64>, size: PageSize) -> Result<Page<Hold>, StoreError> {
        let statement = Statement::new(B::DIALECT.expired_holds).number(after.unwrap_or(0)).number(one_more(size));
        self.hold_page(statement, size).await
    }

    async fn hold_page(&self, statement: Statement, size: PageSize) -> Result<Page<Hold>, StoreError> {
        let found = self.find(statement, rows::hold).await?;
        Ok(Page::new(found, size, |hold| hold.id.unwrap_or_default()))
    }

    pub(super) async fn list_residents(
        &self,
        after: Option<u64>,
        size: PageSize,
    ) -> Result<Page<StockRow>, StoreError> {
        let statement = Statement::new(dialect::RESIDENTS).number(after.unwrap_or(0)).number(one_more(size));
        Ok(Page::new(self.find(statement, rows::row).await?, size, |row| row.record.id))
    }

    pub(super) async fn prune(&self, before: Timestamp, size: PageSize) -> Result<u64, StoreError> {
        let mut session = self.0.begin().await?;
        match prune_page::<B>(&mut session, before, size).await {
            Ok(pruned) => {
                session.commit().await?;
                Ok(pruned)
            }
            Err(error) => {
                if let Err(error) = session.rollback().await {
                    tracing::debug!(%error, "rollback");
                }
                Err(error)
            }
        }
    }
}

/// Always the oldest entries of all: what is left of a record's log is then its newest part, without a
/// gap, whatever the clock did.
async fn prune_page<B: Backend>(
    session: &mut B::Session,
    before: Timestamp,
    size: PageSize,
) -> Result<u64, StoreError> {
    let oldest = session.all(Statement::new(B::DIALECT.oldest_logs).number(u64::from(size.get()))).await?;
    let (mut entries, mut versions) = (Vec::new(), BTreeMap::new());
    for row in &oldest {
        if rows::timestamp(row, "created_at")? >= Some(before) {
            break;
        }
        entries.push(rows::unsigned(row, "id")?);
        // Sorted by record, as everybody locks them.
        versions.insert(rows::key(row)?, (rows::unsigned(row, "stock_id")?, rows::unsigned(row, "version")?));
    }
    let pruned = Statement::new(B::DIALECT.pruned).text(json::pairs(versions.into_values()));
    session.execute(pruned).await?;
    let count = entries.len() as u64;
    session.execute(Statement::new(B::DIALECT.delete_logs).text(json::numbers(entries))).await?;
    Ok(count)
}
