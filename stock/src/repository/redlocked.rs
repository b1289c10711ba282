//! The repository whose writers queue for a Redlock lease instead of a database connection.
//!
//! The lease keeps order between processes, so that at most one of them at a time comes to the
//! database for a record. What arrives in this process while it is held is applied one after another
//! in memory and committed in one transaction, with one log entry each; one transaction takes the ready
//! batches of many records. Callers are answered after the commit and not before.
//!
//! The lease is not what keeps the units right. A new one claims its row first: locks it, refuses it
//! where a larger token has been there, and leaves its own. After that the row is written over exactly
//! the version and token that this process committed last, so that a holder that comes late (a process
//! that was paused, clocks that ran apart) writes nothing and takes a new lease. A token far ahead (a
//! client's clock once was, and the nodes have lost their counters since) is passed by in the same way:
//! the new lease is asked for above it.
//!
//! Reading order: `job` (what is asked for), `lanes` (who waits for what; no I/O), `desk` (the task
//! that owns them), `lease`, `run` (a batch until its fate is known), `attempt` (one transaction),
//! `settle` (a lost answer to COMMIT).

mod attempt;
pub mod counters;
mod desk;
mod failpoint;
mod job;
mod lanes;
mod lease;
mod part;
mod run;
mod settle;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redlock::Redlock;

use self::counters::{Counters, Snapshot};
use self::desk::Desk;
use super::StockRepository;
use crate::contention::Meters;
use crate::error::RepositoryError;
use crate::request::Request;
use crate::store::{BoxFuture, Store};
use crate::workbench::Answer;

/// How long a lease is waited for unless [`Redlocked::wait`] says otherwise.
const WAIT: Duration = Duration::from_secs(15);

/// Lease → claim → apply all that waits → log → commit → answer; the lease stays a few milliseconds.
///
/// Clones share everything. An operation goes on when its caller is gone.
#[derive(Debug, Clone)]
pub struct Redlocked {
    store: Arc<dyn Store>,
    redlock: Redlock,
    wait: Duration,
    counters: Arc<Counters>,
    /// Opened by the first request, because only that is certain to come on a runtime.
    desk: Arc<OnceLock<Desk>>,
}

impl Redlocked {
    /// A repository on this store, guarded by these locks.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, redlock: Redlock) -> Self {
        Self {
            store,
            redlock,
            wait: WAIT,
            counters: Arc::new(Counters::new(Meters::new("redlock"))),
            desk: Arc::default(),
        }
    }

    /// How long leases are waited for, for each request; 15 seconds unless set.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// What has been counted since it was made.
    #[must_use]
    pub fn counters(&self) -> Snapshot {
        self.counters.snapshot()
    }

    /// Finishes what has been asked for, answers it and releases every lease. What is asked for after
    /// that is refused ([`RepositoryError::Overloaded`]). The lock manager and the store stay open.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: closing goes on.
    pub async fn close(&self) {
        self.desk().close().await;
    }

    fn desk(&self) -> &Desk {
        self.desk.get_or_init(|| Desk::open(self.store.clone(), self.redlock.clone(), self.counters.clone()))
    }
}

impl StockRepository for Redlocked {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async { self.desk().ask(request.identify()?, self.wait).await })
    }
}
