//! After a turn somebody counts: nothing may be lost, and nothing done twice.

use anyhow::{Context, ensure};

use super::database::Database;
use super::orders::Record;
use crate::operation::StockKey;
use crate::store;

/// Whether the log explains the levels, and clients' answers explain the log.
pub(super) async fn reconcile(database: &Database, variants: &[u64], records: &[Record]) -> anyhow::Result<()> {
    let mut entries = 0;
    for &variant in variants {
        let key = StockKey::new(variant, 0)?;
        let audit = store::audit(database.store(), key).await?.with_context(|| format!("{key} is gone"))?;
        audit.reconcile().with_context(|| key.to_string())?;
        ensure!(audit.record.levels.locked() == audit.log.entries, "{key}: one unit was locked by each request");
        entries += audit.log.entries;
    }
    let done: u64 = records.iter().map(|record| record.done).sum();
    let unknown: u64 = records.iter().map(|record| record.unknown).sum();
    ensure!(
        (done..=done + unknown).contains(&entries),
        "clients were told of {done} changes and {unknown} outcomes are unknown, but {entries} changes are in the log"
    );
    Ok(())
}
