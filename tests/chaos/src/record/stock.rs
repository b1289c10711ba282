//! What was asked of stock instances, what was told, and what the database has of it in the end.

use anyhow::Context;
use testkit::{Row, SqlServer};

use crate::clock::Nanos;
use crate::instance::{Levels, Part};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Changes under an id.
    Change { id: String, parts: Vec<Part> },
    /// A look at a record.
    Read,
}

/// One request, over all its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) buyer: u64,
    pub(crate) asked: Asked,
    /// Before the first attempt.
    pub(crate) at: Nanos,
    pub(crate) attempts: u32,
    /// `None` if nobody ever told.
    pub(crate) told: Option<Told>,
}

/// The last word on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// When it came.
    pub(crate) at: Nanos,
    pub(crate) verdict: Verdict,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done, with the records after it.
    Done { records: Vec<Levels> },
    /// It is not done and will not be.
    Refused { code: String },
    /// Somebody may have done it.
    Unknown,
}

/// A record as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) variant: u64,
    pub(crate) version: u64,
    /// What was put in at the beginning.
    pub(crate) opening: i64,
    /// Available, locked, reserved.
    pub(crate) levels: [i64; 3],
}

/// A log entry as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) variant: u64,
    pub(crate) request_id: String,
    pub(crate) position: usize,
    pub(crate) action: String,
    pub(crate) quantity: i64,
    /// Available, locked, reserved.
    pub(crate) before: [i64; 3],
    pub(crate) after: [i64; 3],
    pub(crate) fence: Option<u64>,
    pub(crate) version: u64,
    /// For which order.
    pub(crate) order: Option<String>,
    /// After how many seconds the order's hold was to end.
    pub(crate) expires_in: Option<i64>,
    /// When it was written, in microseconds by the database's clock.
    pub(crate) at: i64,
}

/// What an order holds, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) order: String,
    pub(crate) variant: u64,
    pub(crate) locked: i64,
    pub(crate) reserved: i64,
}

const HOLDS: &str = "SELECT order_id, variant_id, locked, reserved FROM stock_holds ORDER BY id";

const RECORDS: &str = "SELECT variant_id, version, available_stock, locked_stock, reserved_stock FROM product_stocks \
                       ORDER BY variant_id";

const LOG: &str = "SELECT variant_id, request_id, position, action, quantity, before_available, before_locked, \
                   before_reserved, after_available, after_locked, after_reserved, fence, version, order_id, expires_in, \
                   TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_at) \
                   FROM product_stock_logs ORDER BY variant_id, version, position, id";

/// The records, each of which was opened with `opening` units.
pub(crate) async fn stored(server: &SqlServer, database: &str, opening: u64) -> anyhow::Result<Vec<Stored>> {
    let rows = server.query(database, RECORDS).await?;
    let opening = i64::try_from(opening)?;
    rows.iter()
        .map(|row| Ok(Stored { variant: number(row, 0)?, version: number(row, 1)?, opening, levels: levels(row, 2)? }))
        .collect()
}

/// The log.
pub(crate) async fn logged(server: &SqlServer, database: &str) -> anyhow::Result<Vec<Logged>> {
    let rows = server.query(database, LOG).await?;
    rows.iter().map(entry).collect()
}

/// What orders hold.
pub(crate) async fn held(server: &SqlServer, database: &str) -> anyhow::Result<Vec<Held>> {
    let rows = server.query(database, HOLDS).await?;
    let hold = |row: &Row| {
        let order = text(row, 0)?.to_owned();
        Ok(Held { order, variant: number(row, 1)?, locked: number(row, 2)?, reserved: number(row, 3)? })
    };
    rows.iter().map(hold).collect()
}

fn entry(row: &Row) -> anyhow::Result<Logged> {
    Ok(Logged {
        variant: number(row, 0)?,
        request_id: text(row, 1)?.to_owned(),
        position: number(row, 2)?,
        action: text(row, 3)?.to_owned(),
        quantity: number(row, 4)?,
        before: levels(row, 5)?,
        after: levels(row, 8)?,
        fence: row.get(11).and_then(Option::as_ref).map(|fence| fence.parse()).transpose()?,
        version: number(row, 12)?,
        order: row.get(13).cloned().flatten(),
        expires_in: row.get(14).and_then(Option::as_ref).map(|seconds| seconds.parse()).transpose()?,
        at: number(row, 15)?,
    })
}

fn levels(row: &Row, first: usize) -> anyhow::Result<[i64; 3]> {
    Ok([number(row, first)?, number(row, first + 1)?, number(row, first + 2)?])
}

fn text(row: &Row, at: usize) -> anyhow::Result<&str> {
    row.get(at).and_then(Option::as_deref).context("a column without a value")
}

fn number<N: std::str::FromStr<Err = std::num::ParseIntError>>(row: &Row, at: usize) -> anyhow::Result<N> {
    Ok(text(row, at)?.parse()?)
}
