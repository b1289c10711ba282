//! What a batch came to, for each of its parts; also where the answer to COMMIT was lost.
//!
//! Then one of its rows is locked on a new connection, which waits for the old transaction, and the log
//! is read. If that cannot be done the outcome is unknown, and nobody guesses.

use std::time::{Duration, Instant};

use super::attempt::Prepared;
use super::part::{Fate, Part};
use super::run::{Run, pause};
use crate::error::RepositoryError;
use crate::log::LogEntry;
use crate::record::RowWrite;
use crate::store::{CommitError, StoreError};
use crate::workbench::{Answer, Rejection};

/// How long a lost answer is looked for. After that the outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(5);

impl Run {
    /// It is done: every part gets its answers.
    pub(super) fn done(&mut self, prepared: Prepared) {
        let is_committed = prepared.is_written();
        let parts = std::mem::take(&mut self.parts);
        let jobs = parts.iter().flat_map(|part| &part.jobs);
        jobs.for_each(|job| self.counters.waited(job.age_at(prepared.began)));
        if !prepared.entries.is_empty() {
            let records = parts.iter().map(|part| part.keys.len()).sum();
            self.counters.together(records, parts.iter().map(|part| part.jobs.len()).sum());
        }
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
                self.counters.settled();
                self.done(prepared);
            }
            Some(false) => {
                self.counters.settled();
                self.parts.iter_mut().for_each(|part| part.rows.clear());
                self.look_first = true;
            }
            None => {
                let parts = std::mem::take(&mut self.parts);
                let (answers, entries) = (prepared.answers, prepared.entries);
                let unknown = parts.into_iter().zip(answers);
                self.fates.extend(unknown.map(|(part, answers)| unknown_fate(part, answers, &entries, &source)));
            }
        }
    }

    /// Looks for one entry after the other, until there is an answer: they were written all together, so one of them
    /// stands for all, and a row that somebody else holds meanwhile keeps nobody from the answer.
    async fn was_committed(&self, prepared: &Prepared) -> Option<bool> {
        let until = Instant::now() + PATIENCE;
        for (attempt, entry) in (1..).zip(prepared.entries.iter().cycle()) {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.is_logged(entry)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%error, attempt, "not found out yet"),
                Err(_) => return None,
            }
            pause(attempt).await;
        }
        None
    }

    /// Whether this very entry is in the log.
    ///
    /// The transaction in doubt had written all its rows when COMMIT was sent. MySQL and MariaDB keep every row that was
    /// written locked until the transaction has ended, let go of all of them together, and not before others see what
    /// was committed; a server that was killed locks them again until it has decided. So whoever has one of them sees
    /// the end of it. SQLite has a single lock for the whole file.
    async fn is_logged(&self, entry: &LogEntry) -> Result<bool, StoreError> {
        let mut transaction = self.store.begin().await?;
        let looked = async {
            let rows = transaction.claim(&[entry.key]).await?;
            let found = transaction.find_requests(std::slice::from_ref(&entry.request_id)).await?;
            let is_logged = found.contains(entry);
            if is_logged {
                // It may be seen a moment before it is on the disk; what is committed after it comes there later.
                let touched: Vec<_> = rows.iter().map(|row| RowWrite::new(row, *row)).collect();
                transaction.write(&touched).await?;
            }
            Ok::<_, StoreError>(is_logged)
        };
        match looked.await {
            Ok(true) => {
                transaction.commit().await.map_err(CommitError::into_source)?;
                Ok(true)
            }
            not_logged => {
                transaction.rollback().await;
                not_logged
            }
        }
    }
}

/// Whoever would have changed something does not know whether it has, nor does somebody who asked under
/// the same id; for the others nothing is done.
fn unknown_fate(
    part: Part,
    answers: Vec<Result<Answer, Rejection>>,
    entries: &[LogEntry],
    source: &StoreError,
) -> (Part, Fate) {
    let is_unknown = |answer: &Answer| entries.iter().any(|entry| entry.request_id == answer.request_id);
    let outcomes = part.jobs.iter().zip(answers).map(|(job, answer)| match answer {
        Ok(answer) if is_unknown(&answer) => {
            let request_id = job.request.id().clone();
            Err(RepositoryError::OutcomeUnknown { request_id, source: source.repeat() })
        }
        _ => Err(RepositoryError::Store(source.repeat())),
    });
    let outcomes = outcomes.collect();
    (part, Fate::Done { rows: Vec::new(), outcomes })
}
