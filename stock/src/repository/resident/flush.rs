//! Writes the journal back to the database: in order, exactly once, by one instance at a time.
//!
//! The lease only keeps instances from doing the same work. What makes it exactly once is in the rows:
//! each says up to which sequence of which epoch it has been written back, in the transaction that wrote
//! it, and a transaction begins where the rows that it has locked say. A flusher that was stopped, or
//! whose commit went unanswered, finds on its next look what has become of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock::{Guard, Redlock};
use tokio::sync::{Notify, watch};

use super::link::{JOURNAL, Link, REQUESTS, STATE, is_at_most};
use super::replay::Replay;
use super::residence::unavailable;
use super::wire::{JournalEntry, hash_key, json};
use crate::error::RepositoryError;
use crate::hold::{Hold, HoldState};
use crate::operation::StockKey;
use crate::request::RequestId;
use crate::store::{CommitError, Store, StoreError};

/// Whose lease the flusher takes.
const LEASE: &str = "lock:product_stock:resident:flush";

/// How long nothing is looked for where nobody says that there is something.
const IDLE: Duration = Duration::from_millis(50);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// How long what was answered before is waited for to be written back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most entries read at once, and most changes written in one transaction.
const ENTRIES: usize = 64;
const CHANGES: usize = 4_096;

/// Request ids that make a generation; two of these are kept.
const GENERATION: usize = 200_000;

/// Writes the journal back.
#[derive(Debug)]
pub(super) struct Flusher {
    store: Arc<dyn Store>,
    link: Arc<Link>,
    redlock: Redlock,
    wake: Notify,
    stop: watch::Sender<bool>,
}

/// A hold of which nothing is left: the record's hash, its epoch, the order, the sequence.
type Closed = (String, String, String, u64);

impl Flusher {
    pub(super) fn new(store: Arc<dyn Store>, link: Arc<Link>, redlock: Redlock) -> Self {
        Self { store, link, redlock, wake: Notify::new(), stop: watch::channel(false).0 }
    }

    /// Ends [`run`](Self::run).
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Flushes until it is stopped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        let mut guard = None;
        loop {
            let pause = match self.round(&mut guard).await {
                Ok(()) => IDLE,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "flushing resident records");
                    PAUSE
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if let Some(guard) = guard {
            let _ = Guard::release(guard).await;
        }
    }

    /// Everything there is, if the lease can be had.
    async fn round(&self, guard: &mut Option<Guard>) -> Result<(), RepositoryError> {
        if guard.as_ref().is_some_and(|guard| !guard.is_valid()) {
            *guard = None;
        }
        if guard.is_none() {
            if self.link.first().await.map_err(unavailable)?.is_none() {
                return Ok(());
            }
            // Somebody else is at it, or will be when the lease is over.
            *guard = self.redlock.try_lock(LEASE).await.ok();
        }
        if let Some(guard) = guard {
            while !*self.stop.borrow() && self.flush(guard).await? {}
        }
        Ok(())
    }

    /// Waits until everything that is in the journal now has been written back.
    pub(super) async fn settle(&self) -> Result<(), RepositoryError> {
        self.settle_within(PATIENCE).await
    }

    /// As [`settle`](Self::settle), for so long at most.
    pub(super) async fn settle_within(&self, patience: Duration) -> Result<(), RepositoryError> {
        let Some(last) = self.link.last().await.map_err(unavailable)? else { return Ok(()) };
        let until = Instant::now() + patience;
        loop {
            self.wake.notify_one();
            tokio::time::sleep(Duration::from_millis(1)).await;
            match self.link.first().await.map_err(unavailable)? {
                Some(first) if is_at_most(&first, &last) && Instant::now() < until => {}
                Some(first) if is_at_most(&first, &last) => return Err(RepositoryError::Overloaded),
                _ => return Ok(()),
            }
        }
    }

    /// Writes the oldest part of the journal back, in one transaction. False where there is nothing.
    async fn flush(&self, guard: &Guard) -> Result<bool, RepositoryError> {
        let mut entries = self.link.journal("-", ENTRIES).await.map_err(unavailable)?;
        let mut changes = 0;
        let fits = entries.iter().take_while(|entry| {
            let is_first = changes == 0;
            changes += entry.changes();
            is_first || changes <= CHANGES
        });
        entries.truncate(fits.count());
        if entries.is_empty() {
            return Ok(false);
        }
        let mut renamed = HashMap::new();
        let closed = match self.write(&entries, guard, &renamed).await {
            Err(RepositoryError::Store(StoreError::DuplicateRequest(_))) => {
                renamed = self.rename(&entries).await?;
                self.write(&entries, guard, &renamed).await?
            }
            outcome => outcome?,
        };
        if planted("resident-before-trim") {
            return Err(StoreError::Conflict(None).into());
        }
        self.trim(&entries, &closed).await?;
        Ok(true)
    }

    /// Other ids for requests whose ids are in the log already: another request was carried out under the
    /// same id at the same moment, past Redis. Both were answered, so both stay.
    async fn rename(&self, entries: &[JournalEntry]) -> Result<HashMap<RequestId, RequestId>, RepositoryError> {
        let requests = entries.iter().flat_map(|entry| &entry.requests);
        let ids: Vec<_> = requests.map(|request| request.id().clone()).collect();
        let logged = self.store.find_requests(&ids).await?;
        let renamed: HashMap<_, _> = logged.into_iter().map(|entry| (entry.request_id, RequestId::make())).collect();
        tracing::error!(?renamed, "requests past Redis had the same ids; these are logged under others");
        Ok(renamed)
    }

    async fn write(
        &self,
        entries: &[JournalEntry],
        guard: &Guard,
        renamed: &HashMap<RequestId, RequestId>,
    ) -> Result<Vec<Closed>, RepositoryError> {
        let mut keys: Vec<StockKey> =
            entries.iter().flat_map(|entry| entry.records.iter().map(|(key, _)| *key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut transaction = self.store.begin().await?;
        let written = async {
            let mut replay = Replay::new(transaction.claim(&keys).await?);
            let places = replay.needed_holds(entries.iter());
            if !places.is_empty() {
                transaction.find_holds(&places).await?.into_iter().for_each(|hold| replay.put_hold(hold));
            }
            for entry in entries {
                if replay.is_due(entry)? {
                    replay.take(entry, renamed)?;
                }
            }
            let closed = replay.holds().filter_map(|hold| closed(hold, &replay)).collect();
            let writes = replay.into_writes();
            transaction.write(&writes.rows).await?;
            transaction.append(&writes.entries).await?;
            transaction.write_holds(&writes.holds).await?;
            if !guard.is_valid() || planted("resident-before-commit") {
                return Err(RepositoryError::Store(StoreError::Conflict(None)));
            }
            Ok(closed)
        };
        match written.await {
            Ok(closed) => match transaction.commit().await {
                Ok(()) => Ok(closed),
                // The rows will tell.
                Err(CommitError::RolledBack(error) | CommitError::Unknown(error)) => Err(error.into()),
            },
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn trim(&self, entries: &[JournalEntry], closed: &[Closed]) -> Result<(), RepositoryError> {
        let done: Vec<_> = entries.iter().map(|entry| (entry.id.as_str(), entry.changes())).collect();
        let (done, closed) = (json(&done), json(&closed));
        let removed = self.link.with(async |connection, _| {
            let mut call = self.link.scripts.trim.key(JOURNAL);
            call.key(STATE).arg(REQUESTS).arg(GENERATION).arg(done).arg(closed);
            call.invoke_async::<i64>(connection).await
        });
        removed.await.map(|_| ()).map_err(unavailable)
    }
}

fn closed(hold: &Hold, replay: &Replay) -> Option<Closed> {
    let (_, residence) = replay.row(hold.key)?;
    let order = hold.order_id.as_str().to_owned();
    (hold.state != HoldState::Open)
        .then(|| (hash_key(hold.key), residence.epoch.to_string(), order, residence.sequence))
}

/// Whether a test wants this moment to be the last of the flush.
#[cfg(feature = "failpoints")]
fn planted(name: &str) -> bool {
    fail::eval(name, |_| ()).is_some()
}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
const fn planted(_name: &str) -> bool {
    false
}
