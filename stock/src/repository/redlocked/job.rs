//! A request in the queue, and the caller who waits for its answer.

use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::RepositoryError;
use crate::request::Identified;
use crate::store::StoreError;
use crate::workbench::Answer;

/// What a caller is told in the end.
pub(super) type Outcome = Result<Answer, RepositoryError>;

/// Somebody waits for this to be carried out; or has gone, which changes nothing.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Identified,
    /// How long a lease is waited for.
    pub(super) until: Instant,
    /// How many leases turned out to be stale, or were lost.
    pub(super) retakes: u32,
    asked: Instant,
    /// Whether a transaction with it has begun: if it vanishes then, nobody knows what has become of it.
    pub(super) begun: bool,
    caller: Option<oneshot::Sender<Outcome>>,
    /// Its place among those that may wait.
    _room: OwnedSemaphorePermit,
}

impl Job {
    pub(super) fn new(
        request: Identified,
        wait: Duration,
        caller: oneshot::Sender<Outcome>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let asked = Instant::now();
        Self { request, until: asked + wait, retakes: 0, asked, begun: false, caller: Some(caller), _room: room }
    }

    /// How long it had been waiting at this moment.
    pub(super) fn age_at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.asked)
    }

    /// Tells the caller, if it is still there.
    pub(super) fn answer(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(caller) = self.caller.take() {
            let _ = caller.send(outcome);
        }
    }
}

impl Drop for Job {
    /// Dropped without an answer: by a desk that was closed, a runtime that has gone, or a panic.
    fn drop(&mut self) {
        if self.caller.is_none() {
            return;
        }
        let (request_id, source) = (self.request.id().clone(), StoreError::Unavailable(sqlx::Error::WorkerCrashed));
        let unknown = RepositoryError::OutcomeUnknown { request_id, source };
        self.tell(Err(if self.begun { unknown } else { RepositoryError::Overloaded }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::operation::{Operation, Quantity, StockKey};
    use crate::request::{Change, Request};

    #[test]
    fn what_vanishes_on_its_way_is_unknown_and_what_never_set_out_is_refused() {
        for begun in [false, true] {
            let change = Change::new(StockKey::new(1, 0).unwrap(), Operation::Lock, Quantity::new(1).unwrap());
            let (caller, mut answer) = oneshot::channel();
            let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let request = Request::one(change).identify().unwrap();
            let mut job = Job::new(request, Duration::ZERO, caller, room);
            job.begun = begun;
            drop(job);
            let told = answer.try_recv().unwrap().unwrap_err();
            assert_eq!(matches!(told, RepositoryError::OutcomeUnknown { .. }), begun, "{told}");
        }
    }
}
