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
    let oldest = oldest_requests::<B>(session, before, size).await?;
    let numbers: Vec<_> = oldest.iter().map(|entry| entry.id).collect();
    // Sorted by record, as everybody locks them.
    let versions: BTreeMap<_, _> = oldest.into_iter().map(|entry| (entry.key, entry.version)).collect();
    let pruned = Statement::new(B::DIALECT.pruned).text(json::pairs(versions.into_values()));
    session.execute(pruned).await?;
    let count = numbers.len() as u64;
    session.execute(Statement::new(B::DIALECT.delete_logs).text(json::numbers(numbers))).await?;
    Ok(count)
}

/// An entry that may be pruned.
struct Old {
    id: u64,
    /// The last entry of its request.
    last: u64,
    key: StockKey,
    /// The number of the record, and its version.
    version: (u64, u64),
}

/// A page of the oldest entries, and then as many as it takes for every request to be whole. A
/// transaction writes many requests, the entries of one between those of others.
async fn oldest_requests<B: Backend>(
    session: &mut B::Session,
    before: Timestamp,
    size: PageSize,
) -> Result<Vec<Old>, StoreError> {
    let page = u64::from(size.get());
    let mut limit = page;
    loop {
        let rows = session.all(Statement::new(B::DIALECT.oldest_logs).number(limit)).await?;
        let is_all = (rows.len() as u64) < limit;
        let (mut entries, mut is_over) = (Vec::new(), is_all);
        for row in &rows {
            if rows::timestamp(row, "created_at")? >= Some(before) {
                is_over = true;
                break;
            }
            let version = (rows::unsigned(row, "stock_id")?, rows::unsigned(row, "version")?);
            let (id, last) = (rows::unsigned(row, "id")?, rows::unsigned(row, "last_id")?);
            entries.push(Old { id, last, key: rows::key(row)?, version });
        }
        let whole = whole_requests(&entries, page);
        if is_over || whole as u64 >= page {
            entries.truncate(whole);
            return Ok(entries);
        }
        limit *= 2;
    }
}

/// How many of these entries are a page of whole requests: the fewest that fill one, else the most there
/// are.
fn whole_requests(entries: &[Old], page: u64) -> usize {
    let (mut last, mut whole) = (0, 0);
    for (count, entry) in (1..).zip(entries) {
        last = last.max(entry.last);
        if last <= entry.id {
            whole = count;
            if count as u64 >= page {
                break;
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(lasts: &[u64], page: u64) -> usize {
        let key = StockKey::new(1, 0).unwrap();
        let old = |(id, last): (u64, &u64)| Old { id, last: *last, key, version: (1, id) };
        whole_requests(&(1..).zip(lasts).map(old).collect::<Vec<_>>(), page)
    }

    #[test]
    fn a_page_ends_where_every_request_does() {
        assert_eq!(whole(&[1, 2, 3], 2), 2, "single changes");
        assert_eq!(whole(&[3, 2, 3, 4], 1), 3, "one that lies around another");
        assert_eq!(whole(&[3, 5, 3, 4, 5, 6], 3), 5, "one that begins before another ends");
        assert_eq!(whole(&[1, 9, 3], 3), 1, "one whose end is not old enough");
        assert_eq!(whole(&[9, 2], 1), 0);
        assert_eq!(whole(&[], 1), 0);
    }
}
