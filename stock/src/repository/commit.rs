//! One request in one transaction: what every guarded repository can do, whatever kept others away.
//!
//! Conflicts roll back and are tried again. So is a commit whose answer was lost: every request has an
//! id, so the next attempt, which locks the same rows and thereby waits for the transaction in doubt,
//! finds in the log whether it was carried out.

use std::time::{Duration, Instant};

use crate::contention::Meters;
use crate::error::RepositoryError;
use crate::failpoint::reached;
use crate::record::RowWrite;
use crate::request::Identified;
use crate::store::{CommitError, Store, StoreError, Transaction};
use crate::workbench::{Answer, Rejection, Workbench};

/// How often a request is tried that others get in the way of.
const ATTEMPTS: u32 = 5;

/// The longest pause before the second attempt; it grows with each.
const PAUSE_MS: u64 = 10;

/// How long a lost answer is looked for. After that the outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request, and how it is carried out.
pub(super) struct Commit<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) request: &'a Identified,
    /// What others in the way, and commits, cost.
    pub(super) meters: &'a Meters,
}

/// Why an attempt has come to nothing, as far as that is known.
enum Failure {
    /// Nothing was written, and nothing will be.
    Known(RepositoryError),
    /// Nothing was written; somebody was in the way.
    Conflict(StoreError),
    /// Nothing was written; somebody else has carried the request out.
    Duplicate(StoreError),
    /// The answer to the commit was lost.
    Lost(StoreError),
}

impl Commit<'_> {
    /// Carries the request out.
    pub(super) async fn run(self) -> Result<Answer, RepositoryError> {
        let mut look_first = false;
        for attempt in 1.. {
            let error = match self.attempt(look_first).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Known(error)) => return Err(error),
                Err(Failure::Lost(source)) => return self.settle(source).await,
                Err(Failure::Conflict(error)) => error,
                Err(Failure::Duplicate(error)) => {
                    look_first = true;
                    error
                }
            };
            if attempt == ATTEMPTS {
                return Err(RepositoryError::Store(error));
            }
            self.meters.conflicted();
            tracing::debug!(%error, attempt, request_id = %self.request.id(), "trying again");
            pause(attempt).await;
        }
        unreachable!("an endless loop has ended")
    }

    /// Finds out what has become of the request, and carries it out if that is nothing.
    async fn settle(&self, source: StoreError) -> Result<Answer, RepositoryError> {
        tracing::warn!(%source, request_id = %self.request.id(), "the answer to a commit was lost; looking for it");
        let until = Instant::now() + PATIENCE;
        for attempt in 1.. {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.attempt(true)).await {
                Ok(Ok(answer)) => {
                    self.meters.settled();
                    return Ok(Answer { replayed: false, ..answer });
                }
                Ok(Err(Failure::Known(error))) if !matches!(error, RepositoryError::Store(_)) => {
                    self.meters.settled();
                    return Err(error);
                }
                Ok(Err(_)) => {}
                Err(_) => break,
            }
            pause(attempt).await;
        }
        Err(RepositoryError::OutcomeUnknown { request_id: self.request.id().clone(), source })
    }

    async fn attempt(&self, look_first: bool) -> Result<Answer, Failure> {
        let mut transaction = self.store.begin().await?;
        match self.write(transaction.as_mut(), look_first).await {
            Ok(answer) => {
                reached("row-lock-written");
                let asked = Instant::now();
                let committed = transaction.commit().await;
                self.meters.committed(asked.elapsed());
                match committed {
                    Ok(()) => Ok(answer),
                    Err(CommitError::RolledBack(error)) => Err(error.into()),
                    // Nothing has changed: once more.
                    Err(CommitError::Unknown(error)) if answer.replayed => Err(Failure::Conflict(error)),
                    Err(CommitError::Unknown(error)) => Err(Failure::Lost(error)),
                }
            }
            Err(failure) => {
                transaction.rollback().await;
                Err(failure)
            }
        }
    }

    async fn write(&self, transaction: &mut dyn Transaction, look_first: bool) -> Result<Answer, Failure> {
        let mut bench = self.claim(transaction).await?;
        if look_first {
            self.look(transaction, &mut bench).await?;
        }
        let mut answer = bench.apply(self.request);
        // What was carried out before may not be possible now. An id that nobody has seen needs no
        // look, and where the levels allow it, the log refuses a second time.
        let is_refused = !matches!(answer, Ok(_) | Err(Rejection::Conflict { .. }));
        if is_refused && !self.request.is_new() && !look_first {
            self.look(transaction, &mut bench).await?;
            answer = bench.apply(self.request);
        }
        let answer = answer?;
        if answer.replayed {
            // What somebody else has committed may be seen a moment before it is on the disk. A change of this
            // transaction's own comes to the disk after it.
            let row = self.request.keys().first().and_then(|key| bench.row(*key)).copied();
            let touched: Vec<_> = row.iter().map(|row| RowWrite::new(row, *row)).collect();
            transaction.write(&touched).await?;
        } else {
            transaction.put(&bench.into_writes()).await?;
        }
        Ok(answer)
    }

    /// The rows the request is about, locked, and the holds it is about.
    async fn claim(&self, transaction: &mut dyn Transaction) -> Result<Workbench, Failure> {
        let mut bench = Workbench::new();
        let asked = Instant::now();
        let rows = transaction.claim(&self.request.keys()).await?;
        self.meters.waited(asked.elapsed());
        rows.into_iter().for_each(|row| bench.put_row(row, None));
        let places = bench.needed_holds([self.request]);
        if !places.is_empty() {
            transaction.find_holds(&places).await?.into_iter().for_each(|hold| bench.put_hold(hold));
        }
        Ok(bench)
    }

    async fn look(&self, transaction: &mut dyn Transaction, bench: &mut Workbench) -> Result<(), Failure> {
        let id = self.request.id().clone();
        bench.put_known(transaction.find_requests(&[id]).await?);
        Ok(())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => Self::Conflict(error),
            StoreError::DuplicateRequest(_) => Self::Duplicate(error),
            error => Self::Known(error.into()),
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Known(rejection.into())
    }
}

async fn pause(attempt: u32) {
    let pause = rand::random_range(0..=PAUSE_MS * u64::from(attempt));
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
