//! Requests that come again: what was answered to them before, from the journal or from the log.

use std::collections::HashMap;

use super::link::Link;
use super::queue::Place;
use super::residence::unavailable;
use crate::error::RepositoryError;
use crate::log::LogEntry;
use crate::operation::StockKey;
use crate::record::StockRecord;
use crate::request::{Change, Identified};
use crate::workbench::Answer;

/// What was answered to a request of whose id the log says this.
///
/// # Errors
///
/// [`RepositoryError::RequestConflict`] if it was another one.
pub(super) fn in_log(entries: &[LogEntry], request: &Identified, places: &[Place]) -> Result<Answer, RepositoryError> {
    let is_same = entries.len() == request.changes().len()
        && entries.iter().zip(request.changes()).all(|(entry, change)| entry.is_of(change));
    let record = |entry: &LogEntry| {
        let place = places.iter().find(|place| place.key == entry.key)?;
        Some(entry.record_after(place.product_id))
    };
    let records = entries.iter().map(record).collect::<Option<Vec<_>>>();
    answer(request, records.filter(|_| is_same))
}

/// What the entry of the journal with this id has of a request; `None` if it has been written back.
///
/// # Errors
///
/// [`RepositoryError::RequestConflict`] if it was another one.
pub(super) async fn in_journal(
    link: &Link,
    id: &str,
    request: &Identified,
    places: &[Place],
) -> Result<Option<Answer>, RepositoryError> {
    let entry = link.journal(id, 1).await.map_err(unavailable)?.pop().filter(|entry| entry.id == id);
    let Some(entry) = entry else { return Ok(None) };
    let keys = entry.records.iter().map(|(key, _)| *key);
    let mut now: HashMap<StockKey, _> = keys.zip(entry.before.iter().copied()).collect();
    for done in &entry.requests {
        let mut records = Vec::with_capacity(done.changes().len());
        for change in done.changes() {
            let Some(figures) = now.get_mut(&change.key) else { continue };
            let Ok(levels) = figures.levels.apply(change.operation, change.quantity) else { continue };
            (figures.levels, figures.version) = (levels, figures.version + 1);
            let place = places.iter().find(|place| place.key == change.key);
            let (key, version) = (change.key, figures.version);
            let record =
                |place: &Place| StockRecord { id: place.id, product_id: place.product_id, key, levels, version };
            records.extend(place.map(record));
        }
        if done.id() == request.id() {
            let is_same = done.changes().len() == request.changes().len()
                && done.changes().iter().zip(request.changes()).all(|(one, other)| same(one, other));
            return answer(request, Some(records).filter(|_| is_same)).map(Some);
        }
    }
    Ok(None)
}

/// Whether they ask for the same, as the log would see it.
fn same(one: &Change, other: &Change) -> bool {
    Change { ended_at: None, ..one.clone() } == Change { ended_at: None, ..other.clone() }
}

fn answer(request: &Identified, records: Option<Vec<StockRecord>>) -> Result<Answer, RepositoryError> {
    let request_id = request.id().clone();
    match records {
        Some(records) => Ok(Answer { request_id, records, replayed: true }),
        None => Err(RepositoryError::RequestConflict { request_id }),
    }
}
