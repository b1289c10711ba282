//! Ends holds whose time is over.
//!
//! One instance at a time sweeps, by a Redlock lease that every pass takes anew. Instances that share a
//! database and no lock nodes (row locks need none) take turns by a lock of the database's. The lease only
//! saves work: what a sweeper sends is the same request whoever sends it, named after the hold and its end, and
//! is refused once the hold is no longer as it was listed. Two sweepers at once, one that was stopped in
//! the middle of a pass and goes on an hour later, or a payment that comes at the same moment, can
//! therefore neither end a hold twice nor end one that was paid or prolonged.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use metrics::counter;
use redlock::{LockError, Redlock, RunError};

use crate::error::RepositoryError;
use crate::hold::{Hold, Refusal};
use crate::repository::StockRepository;
use crate::request::Request;
use crate::store::PageSize;

/// The resource that sweepers lock, the same in every instance.
pub const LOCK: &str = "lock:product_stock:sweeper";

/// How many holds are ended at the same time.
const AT_ONCE: usize = 16;

/// Ends expired holds through a repository.
#[derive(Debug, Clone)]
pub struct Sweeper {
    repository: Arc<dyn StockRepository>,
    turns: Turns,
    every: Duration,
    page: PageSize,
}

/// What keeps sweepers apart.
#[derive(Debug, Clone)]
enum Turns {
    /// A lease on the lock nodes that all instances share.
    Leases(Redlock),
    /// The database, where they share nothing else.
    Database,
}

/// What a pass has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Holds that it has ended.
    pub expired: u64,
    /// Holds that were paid, prolonged or ended by somebody else in the meantime.
    pub changed: u64,
    /// Holds that could not be ended; the next pass tries again.
    pub failed: u64,
}

/// Why a pass was not made, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// Another instance is at it.
    #[error("another instance is sweeping")]
    Elsewhere,
    /// The lease ended in the middle of the pass; what it has done stays done.
    #[error("the sweeper's lease was lost")]
    Lost,
    /// The lock nodes did not grant a lease.
    #[error("the sweeper has no lease")]
    Locks(#[source] RunError),
    /// Expired holds could not be listed, or the database did not say whose turn it is.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl Sweeper {
    /// A sweeper that looks once a second, a hundred holds a page.
    #[must_use]
    pub fn new(repository: Arc<dyn StockRepository>, redlock: Redlock) -> Self {
        Self { repository, turns: Turns::Leases(redlock), every: Duration::from_secs(1), page: PageSize::default() }
    }

    /// The same for an instance that shares no lock nodes with the others: the database says whose turn it is.
    #[must_use]
    pub fn by_database(repository: Arc<dyn StockRepository>) -> Self {
        Self { repository, turns: Turns::Database, every: Duration::from_secs(1), page: PageSize::default() }
    }

    /// How long it rests after a pass; one second unless set.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// How many holds it lists at a time; a hundred unless set.
    #[must_use]
    pub fn page(mut self, page: PageSize) -> Self {
        self.page = page;
        self
    }

    /// Sweeps for ever, whatever goes wrong.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; the lease is released.
    pub async fn run(&self) -> Infallible {
        // Lock nodes may be away for long: that is said once.
        let mut is_failing = false;
        loop {
            let outcome = self.sweep().await;
            let name = match &outcome {
                Ok(_) => "done",
                Err(SweepError::Elsewhere) => "elsewhere",
                Err(SweepError::Lost) => "lost",
                Err(_) => "failed",
            };
            counter!("stock_sweeps_total", "outcome" => name).increment(1);
            let failed = outcome.as_ref().err().filter(|error| !matches!(error, SweepError::Elsewhere));
            match (&outcome, failed) {
                (_, Some(error)) if !is_failing => {
                    tracing::warn!(error = error as &dyn std::error::Error, "expired holds are not swept");
                }
                (_, None) if is_failing => tracing::info!("expired holds are swept again"),
                (Ok(swept), _) if *swept != Swept::default() => tracing::debug!(?swept, "expired holds"),
                _ => {}
            }
            is_failing = failed.is_some();
            tokio::time::sleep(self.every).await;
        }
    }

    /// One pass, if no other instance is at it.
    ///
    /// # Errors
    ///
    /// [`SweepError`].
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn sweep(&self) -> Result<Swept, SweepError> {
        let tally = Tally::default();
        match &self.turns {
            Turns::Leases(redlock) => self.sweep_by_lease(redlock, &tally).await,
            Turns::Database => {
                let turn = self.repository.store().sweeper_turn().await.map_err(RepositoryError::from)?;
                let turn = turn.ok_or(SweepError::Elsewhere)?;
                let pass = self.pass(&tally).await;
                turn.end().await;
                pass.map(|()| tally.swept())
            }
        }
    }

    async fn sweep_by_lease(&self, redlock: &Redlock, tally: &Tally) -> Result<Swept, SweepError> {
        let pass = redlock.try_lock(LOCK).run(async |_| self.pass(tally).await).await;
        match pass {
            Ok(outcome) => outcome.map(|()| tally.swept()),
            Err(RunError::Lock(LockError::Contended { .. })) => Err(SweepError::Elsewhere),
            Err(RunError::Lost(_)) => Err(SweepError::Lost),
            Err(error) => Err(SweepError::Locks(error)),
        }
    }

    async fn pass(&self, tally: &Tally) -> Result<(), SweepError> {
        let mut after = None;
        loop {
            let page = self.repository.store().expired_holds(after, self.page).await.map_err(RepositoryError::from)?;
            let holds = futures_util::stream::iter(&page.items);
            holds.for_each_concurrent(AT_ONCE, |hold| self.end(hold, tally)).await;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn end(&self, hold: &Hold, tally: &Tally) {
        let Some(request) = Request::expire(hold) else { return };
        let (count, name) = match self.repository.apply(request).await {
            Ok(answer) if !answer.replayed => (&tally.expired, "expired"),
            Ok(_) => (&tally.changed, "changed"),
            // What it was listed with is no longer so.
            Err(RepositoryError::Refused(Refusal::HoldChanged { .. } | Refusal::HoldNotFound { .. })) => {
                (&tally.changed, "changed")
            }
            Err(error) => {
                tracing::debug!(%error, order_id = %hold.order_id, key = %hold.key, "an expired hold stays");
                (&tally.failed, "failed")
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        counter!("stock_swept_holds_total", "outcome" => name).increment(1);
    }
}

#[derive(Debug, Default)]
struct Tally {
    expired: AtomicU64,
    changed: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    fn swept(&self) -> Swept {
        let [expired, changed, failed] =
            [&self.expired, &self.changed, &self.failed].map(|count| count.load(Ordering::Relaxed));
        Swept { expired, changed, failed }
    }
}
