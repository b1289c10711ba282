//! A transaction on any database that takes the statements.

use super::of_key;
use crate::hold::{Held, Hold};
use crate::log::{LogEntry, LogSummary, LogWalk};
use crate::operation::StockKey;
use crate::record::{RowWrite, StockRow};
use crate::request::{ExpiresIn, OrderId, RequestId};
use crate::store::session::{Backend, Session, Statement};
use crate::store::{BoxFuture, CommitError, StoreError, Transaction, dialect, json, rows};
use crate::workbench::Writes;

pub(super) struct SqlTransaction<B: Backend> {
    pub(super) session: B::Session,
}

/// How many log entries are written at once: some two megabytes, which every server takes.
const AT_ONCE: usize = 4_096;

/// How many log entries are read at once.
const PAGE: u64 = 5_000;

impl<B: Backend> SqlTransaction<B> {
    async fn find<T>(
        &mut self,
        statement: Statement,
        read: impl Fn(&<B::Session as Session>::Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.session.all(statement).await?.iter().map(read).collect()
    }

    /// Writes as many rows as there are; fewer, and one of them was not what it should be.
    async fn write_all(&mut self, statement: Statement, rows: usize) -> Result<(), StoreError> {
        all_written(self.session.execute(statement).await?, rows)
    }
}

fn all_written(written: u64, rows: usize) -> Result<(), StoreError> {
    if usize::try_from(written) == Ok(rows) { Ok(()) } else { Err(StoreError::Conflict(None)) }
}

impl<B: Backend> Transaction for SqlTransaction<B> {
    fn claim<'a>(&'a mut self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>> {
        let statement = match keys {
            [key] => of_key(B::DIALECT.claim_one, *key),
            keys => Statement::new(B::DIALECT.claim).text(json::keys(keys)),
        };
        Box::pin(self.find(statement, rows::row))
    }

    fn claim_free<'a>(&'a mut self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>> {
        Box::pin(self.find(Statement::new(B::DIALECT.claim_free).text(json::keys(keys)), rows::row))
    }

    fn peek<'a>(&'a mut self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>> {
        Box::pin(self.find(Statement::new(B::DIALECT.read_many).text(json::keys(keys)), rows::row))
    }

    fn find_holds<'a>(&'a mut self, places: &'a [(u64, OrderId)]) -> BoxFuture<'a, Result<Vec<Hold>, StoreError>> {
        Box::pin(self.find(Statement::new(B::DIALECT.find_holds).text(json::places(places)), rows::hold))
    }

    fn open_holds(&mut self, stock_id: u64) -> BoxFuture<'_, Result<Vec<Hold>, StoreError>> {
        Box::pin(self.find(Statement::new(B::DIALECT.open_holds).number(stock_id), rows::hold))
    }

    fn find_requests<'a>(&'a mut self, ids: &'a [RequestId]) -> BoxFuture<'a, Result<Vec<LogEntry>, StoreError>> {
        Box::pin(async { Ok(by_request(self.find(of_requests::<B>(ids), rows::entry).await?)) })
    }

    fn write<'a>(&'a mut self, writes: &'a [RowWrite]) -> BoxFuture<'a, Result<(), StoreError>> {
        let statement = match writes {
            [] => return Box::pin(async { Ok(()) }),
            [write] => write_one(B::DIALECT.write_one, write),
            writes => Statement::new(B::DIALECT.write).text(json::rows(writes)),
        };
        Box::pin(self.write_all(statement, writes.len()))
    }

    fn append<'a>(&'a mut self, entries: &'a [LogEntry]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for entries in entries.chunks(AT_ONCE) {
                let written = match entries {
                    [entry] => self.session.execute(append_one(entry)).await?,
                    entries => self.session.append(entries).await?,
                };
                all_written(written, entries.len())?;
            }
            Ok(())
        })
    }

    fn write_holds<'a>(&'a mut self, holds: &'a [Hold]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let is_new = |hold: &&Hold| hold.id.is_none();
            let new = holds.iter().filter(is_new).count();
            if new > 0 {
                let text = json::holds(holds.iter().filter(is_new));
                self.write_all(Statement::new(B::DIALECT.new_holds).text(text), new).await?;
            }
            if new < holds.len() {
                let text = json::holds(holds.iter().filter(|hold| !is_new(hold)));
                self.write_all(Statement::new(B::DIALECT.write_holds).text(text), holds.len() - new).await?;
            }
            Ok(())
        })
    }

    fn put<'a>(&'a mut self, writes: &'a Writes) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match (&writes.rows[..], &writes.entries[..]) {
                ([row], entries @ [_, _, ..]) if entries.len() <= AT_ONCE => {
                    let row = write_one(B::DIALECT.write_one, row);
                    let (found, added) = self.session.execute_logged(row, entries).await?;
                    all_written(found, 1)?;
                    all_written(added, entries.len())?;
                }
                (rows, entries) => {
                    self.write(rows).await?;
                    self.append(entries).await?;
                }
            }
            self.write_holds(&writes.holds).await
        })
    }

    fn log_summary(&mut self, stock_id: u64) -> BoxFuture<'_, Result<LogSummary, StoreError>> {
        Box::pin(async move {
            // Page by page: however long the log is, no statement takes long.
            let mut walk = LogWalk::default();
            loop {
                let page = Statement::new(dialect::ENTRIES).number(stock_id).number(walk.version()).number(PAGE);
                let page = self.find(page, rows::entry).await?;
                page.iter().for_each(|entry| walk.add(entry));
                if (page.len() as u64) < PAGE {
                    return Ok(walk.summary());
                }
            }
        })
    }

    fn holds_sum(&mut self, stock_id: u64) -> BoxFuture<'_, Result<Held, StoreError>> {
        Box::pin(async move {
            let sum = self.find(Statement::new(dialect::HOLDS_SUM).number(stock_id), rows::held).await?.pop();
            Ok(sum.ok_or(sqlx::Error::RowNotFound)?)
        })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async { Ok(self.session.commit().await?) })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {
            // A connection that cannot even roll back is closed, which has the same effect.
            if let Err(error) = self.session.rollback().await {
                tracing::debug!(%error, "rollback");
            }
        })
    }
}

/// A statement that finds the log entries of requests.
pub(super) fn of_requests<B: Backend>(ids: &[RequestId]) -> Statement {
    match ids {
        [id] => Statement::new(dialect::FIND_REQUEST).text(id.as_str()),
        ids => Statement::new(B::DIALECT.find_requests).text(json::ids(ids)),
    }
}

/// Each request's entries in the order of its changes.
pub(super) fn by_request(mut entries: Vec<LogEntry>) -> Vec<LogEntry> {
    entries.sort_unstable_by(|a, b| (&a.request_id, a.position).cmp(&(&b.request_id, b.position)));
    entries
}

fn write_one(statement: &'static str, write: &RowWrite) -> Statement {
    let RowWrite { version, fence, row } = write;
    Statement::new(statement)
        .levels(row.record.levels)
        .number(row.record.version)
        .number(row.fence)
        .number(row.held.locked)
        .number(row.held.reserved)
        .optional(row.residence.map(|residence| residence.epoch))
        .optional(row.residence.map(|residence| residence.sequence))
        .number(row.record.id)
        .number(*version)
        .number(*fence)
}

fn append_one(entry: &LogEntry) -> Statement {
    Statement::new(dialect::APPEND_ONE)
        .number(entry.stock_id)
        .number(entry.key.variant_id.get())
        .number(entry.key.warehouse_id.get())
        .text(entry.request_id.as_str())
        .number(u64::from(entry.position))
        .optional_text(entry.order_id.as_ref().map(OrderId::as_str))
        .optional(entry.expires_in.map(ExpiresIn::get))
        .text(entry.action.name())
        .number(entry.quantity.get())
        .levels(entry.before)
        .levels(entry.after)
        .optional(entry.fence)
        .number(entry.version)
}
