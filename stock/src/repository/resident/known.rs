//! Requests that come again: what was answered to them before, from the journal or from the log.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::link::Link;
use super::queue::Place;
use super::residence::unavailable;
use crate::error::RepositoryError;
use crate::log::LogEntry;
use crate::operation::StockKey;
use crate::record::StockRecord;
use crate::request::{Change, Identified, RequestId};
use crate::store::Store;
use crate::workbench::Answer;

/// How many ids are looked for at once.
const IDS: usize = 256;

/// How many lookups may wait.
const WAITING: usize = 16_384;

/// Looks for the ids of many callers in one query.
#[derive(Debug)]
pub(super) struct Lookups {
    store: Arc<dyn Store>,
    link: Arc<Link>,
    asked: mpsc::Sender<Asked>,
}

type Asked = (RequestId, oneshot::Sender<Vec<LogEntry>>);

impl Lookups {
    pub(super) fn new(store: Arc<dyn Store>, link: Arc<Link>) -> Self {
        let (asked, waiting) = mpsc::channel(WAITING);
        tokio::spawn(look(store.clone(), waiting));
        Self { store, link, asked }
    }

    /// What the log in the database has of a request.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::RequestConflict`] if it was another one.
    pub(super) async fn in_log(
        &self,
        request: &Identified,
        places: &[Place],
    ) -> Result<Option<Answer>, RepositoryError> {
        let (sender, found) = oneshot::channel();
        self.asked.try_send((request.id().clone(), sender)).map_err(|_| RepositoryError::Overloaded)?;
        let entries = match found.await {
            Ok(entries) => entries,
            // The query for all has failed; the one for this one says why.
            Err(_) => self.store.find_requests(std::slice::from_ref(request.id())).await?,
        };
        if entries.is_empty() {
            return Ok(None);
        }
        let is_same = entries.len() == request.changes().len()
            && entries.iter().zip(request.changes()).all(|(entry, change)| entry.is_of(change));
        let record = |entry: &LogEntry| {
            let place = places.iter().find(|place| place.key == entry.key)?;
            Some(entry.record_after(place.product_id))
        };
        let records = entries.iter().map(record).collect::<Option<Vec<_>>>();
        answer(request, records.filter(|_| is_same)).map(Some)
    }

    /// What the entry of the journal with this id has of a request; `None` if it has been written back.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::RequestConflict`] if it was another one.
    pub(super) async fn in_journal(
        &self,
        id: &str,
        request: &Identified,
        places: &[Place],
    ) -> Result<Option<Answer>, RepositoryError> {
        let entry = self.link.journal(id, 1).await.map_err(unavailable)?.pop().filter(|entry| entry.id == id);
        let Some(entry) = entry else { return Ok(None) };
        let keys = entry.records.iter().map(|(key, _)| *key);
        let mut now: HashMap<StockKey, _> = keys.zip(entry.before.iter().copied()).collect();
        for done in &entry.requests {
            let mut records = Vec::with_capacity(done.changes().len());
            for change in done.changes() {
                let figures = now.get_mut(&change.key).filter(|_| true);
                let Some(figures) = figures else { continue };
                let Ok(levels) = figures.levels.apply(change.operation, change.quantity) else { continue };
                (figures.levels, figures.version) = (levels, figures.version + 1);
                let place = places.iter().find(|place| place.key == change.key);
                let (key, version) = (change.key, figures.version);
                records.extend(place.map(|place| StockRecord {
                    id: place.id,
                    product_id: place.product_id,
                    key,
                    levels,
                    version,
                }));
            }
            if done.id() == request.id() {
                let is_same = done.changes().len() == request.changes().len()
                    && done.changes().iter().zip(request.changes()).all(|(one, other)| same(one, other));
                return answer(request, Some(records).filter(|_| is_same)).map(Some);
            }
        }
        Ok(None)
    }
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

async fn look(store: Arc<dyn Store>, mut waiting: mpsc::Receiver<Asked>) {
    let mut asked = Vec::new();
    while waiting.recv_many(&mut asked, IDS).await > 0 {
        let mut ids: Vec<_> = asked.iter().map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let Ok(found) = store.find_requests(&ids).await else {
            asked.clear();
            continue;
        };
        for (id, sender) in asked.drain(..) {
            let entries = found.iter().filter(|entry| entry.request_id == id).cloned().collect();
            // Whoever does not wait any more has gone.
            let _ = sender.send(entries);
        }
    }
}
