//! What a batch came to, for each of its parts; also where the answer to COMMIT was lost.
//!
//! Then the rows are locked on a new connection, which waits for the old transaction, and the log is
//! read. If that cannot be done the outcome is unknown, and nobody guesses.

use std::time::{Duration, Instant};

use super::attempt::Prepared;
use super::counters::count;
use super::part::{Fate, Part};
use super::run::{Run, pause};
use crate::error::RepositoryError;
use crate::log::LogEntry;
use crate::operation::StockKey;
use crate::store::StoreError;
use crate::workbench::{Answer, Rejection};

/// How long a lost answer is looked for. After that the outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(5);

impl Run {
    /// It is done: every part gets its answers.
    pub(super) fn done(&mut self, prepared: Prepared) {
        let is_committed = !prepared.entries.is_empty();
        let parts = std::mem::take(&mut self.parts);
        for (part, answers) in parts.into_iter().zip(prepared.answers) {
            // What was claimed counts only after a commit.
            let rows = if is_committed || part.is_claimed() {
                part.keys.iter().filter_map(|key| prepared.rows.get(key)).copied().collect()
            } else {
                Vec::new()
            };
            let outcomes = answers.into_iter().map(|answer| answer.map_err(RepositoryError::from)).collect();
            self.fates.push((part, Fate::Done { rows, outcomes }));
        }
    }

    /// Finds out whether a commit has been, whose answer was lost.
    pub(super) async fn settle(&mut self, source: StoreError, prepared: Prepared) {
        tracing::warn!(%source, parts = self.parts.len(), "the answer to a commit was lost; looking for it");
        match self.was_committed(&prepared).await {
            Some(true) => {
                count(&self.counters.settled);
                self.done(prepared);
            }
            Some(false) => {
                count(&self.counters.settled);
                self.parts.iter_mut().for_each(|part| part.rows.clear());
                self.look_first = true;
            }
            None => {
                let parts = std::mem::take(&mut self.parts);
                let unknown = parts.into_iter().zip(prepared.answers);
                self.fates.extend(unknown.map(|(part, answers)| unknown_fate(part, answers, &source)));
            }
        }
    }

    async fn was_committed(&self, prepared: &Prepared) -> Option<bool> {
        let entry = prepared.entries.first()?;
        let mut keys: Vec<_> = prepared.rows.keys().copied().collect();
        keys.sort_unstable();
        let until = Instant::now() + PATIENCE;
        for attempt in 1.. {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.is_logged(&keys, entry)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%error, attempt, "not found out yet"),
                Err(_) => return None,
            }
            pause(attempt).await;
        }
        None
    }

    /// Whether this very entry is in the log: it was written all together with the others.
    async fn is_logged(&self, keys: &[StockKey], entry: &LogEntry) -> Result<bool, StoreError> {
        let mut transaction = self.store.begin().await?;
        let found = async {
            transaction.claim(keys).await?;
            transaction.find_requests(std::slice::from_ref(&entry.request_id)).await
        };
        let found = found.await;
        transaction.rollback().await;
        Ok(found?.contains(entry))
    }
}

/// Whoever would have changed something does not know whether it has; for the others nothing is done.
fn unknown_fate(part: Part, answers: Vec<Result<Answer, Rejection>>, source: &StoreError) -> (Part, Fate) {
    let outcomes = part.jobs.iter().zip(answers).map(|(job, answer)| match answer {
        Ok(answer) if !answer.replayed => {
            let request_id = job.request.id().clone();
            Err(RepositoryError::OutcomeUnknown { request_id, source: source.repeat() })
        }
        _ => Err(RepositoryError::Store(source.repeat())),
    });
    let outcomes = outcomes.collect();
    (part, Fate::Done { rows: Vec::new(), outcomes })
}
