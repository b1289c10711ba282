//! A request in the queue, and the caller who waits for its answer.

use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::RepositoryError;
use crate::request::Identified;
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
    caller: oneshot::Sender<Outcome>,
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
        Self { request, until: asked + wait, retakes: 0, asked, caller, _room: room }
    }

    /// How long it has been waiting.
    pub(super) fn age(&self) -> Duration {
        self.asked.elapsed()
    }

    /// Tells the caller, if it is still there.
    pub(super) fn answer(self, outcome: Outcome) {
        let _ = self.caller.send(outcome);
    }
}
