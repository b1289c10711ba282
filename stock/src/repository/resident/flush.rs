//! Writes the journal back to the database: in order, exactly once, by one instance at a time.
//!
//! The lease only keeps instances from doing the same work. What makes it exactly once is in the rows:
//! each says up to which sequence of which epoch it has been written back, in the transaction that wrote
//! it, and a transaction begins where the rows that it has locked say. A flusher that was stopped, or
//! whose commit went unanswered, finds on its next look what has become of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock::{Guard, Redlock};
use tokio::sync::{Notify, watch};

use super::ResidentConfig;
use super::apart::Apart;
use super::link::{JOURNAL, Link, REQUESTS, STATE, is_at_most};
use super::pace::Pace;
use super::replay::Replay;
use super::residence::unavailable;
use super::wire::{JournalEntry, hash_key, json};
use crate::contention::Meters;
use crate::error::RepositoryError;
use crate::failpoint::planted;
use crate::hint::{CHANNEL, Hint};
use crate::hold::{Hold, HoldState};
use crate::operation::StockKey;
use crate::record::Residence;
use crate::request::{Identified, RequestId};
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
    meters: Meters,
    /// How long changes wait, and how many.
    lag: Duration,
    backlog: u64,
    /// Whoever waits for something to be written back receives from it.
    askers: watch::Sender<()>,
    wake: Notify,
    stop: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

/// What came of writing entries back.
struct Written {
    closed: Vec<Closed>,
    /// The version of each row, for those who have copies.
    versions: Vec<Hint>,
    /// Entries that the rows are past already.
    passed: Vec<JournalEntry>,
}

/// A hold of which nothing is left: the record's hash, its epoch, the order, the sequence.
type Closed = (String, String, String, u64);

impl Flusher {
    pub(super) fn new(
        store: Arc<dyn Store>,
        link: Arc<Link>,
        redlock: Redlock,
        meters: Meters,
        config: &ResidentConfig,
    ) -> Self {
        Self {
            store,
            link,
            redlock,
            meters,
            lag: config.lag,
            backlog: config.backlog,
            askers: watch::Sender::new(()),
            wake: Notify::new(),
            stop: watch::channel(false).0,
            ended: watch::channel(false).0,
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Ends [`run`](Self::run).
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Flushes until it is stopped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        let _ended = Ended(&self.ended);
        let (mut guard, mut pace) = (None, Pace::new(self.lag, self.backlog));
        loop {
            let pause = match self.round(&mut guard, &mut pace).await {
                Ok(()) => IDLE,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "flushing resident records");
                    // Another instance may fare better, and need not wait for the end of the lease.
                    let_go(&mut guard).await;
                    PAUSE
                }
            };
            tokio::select! {
                // After a failure nobody's hurry counts, or the others would never have their turn.
                () = self.wake.notified(), if pause == IDLE => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let_go(&mut guard).await;
    }

    /// Waits until it has been stopped and has let go of its lease.
    pub(super) async fn ended(&self) {
        // Whoever has the other end is `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Everything there is, if it is due and the lease can be had.
    async fn round(&self, guard: &mut Option<Guard>, pace: &mut Pace) -> Result<(), RepositoryError> {
        if guard.as_ref().is_some_and(|guard| !guard.is_valid()) {
            *guard = None;
        }
        if guard.is_none() {
            if !self.is_due(pace).await? {
                return Ok(());
            }
            // Somebody else is at it, or will be when the lease is over.
            *guard = self.redlock.try_lock(LEASE).await.ok();
        }
        if let Some(guard) = guard {
            while !*self.stop.borrow() && self.goes_on(pace).await? && self.flush(guard).await? {}
        }
        if !pace.is_immediate() {
            // Others may be asked sooner.
            let_go(guard).await;
        }
        Ok(())
    }

    async fn goes_on(&self, pace: &mut Pace) -> Result<bool, RepositoryError> {
        Ok(pace.is_immediate() || self.is_due(pace).await?)
    }

    async fn is_due(&self, pace: &mut Pace) -> Result<bool, RepositoryError> {
        let changes = self.link.waiting().await.map_err(unavailable)?;
        Ok(pace.is_due(changes, self.askers.receiver_count() > 0, Instant::now()))
    }

    /// Waits until everything that is in the journal now has been written back.
    pub(super) async fn settle(&self) -> Result<(), RepositoryError> {
        self.settle_within(PATIENCE).await
    }

    /// As [`settle`](Self::settle), for so long at most.
    pub(super) async fn settle_within(&self, patience: Duration) -> Result<(), RepositoryError> {
        let Some(last) = self.link.last().await.map_err(unavailable)? else { return Ok(()) };
        let _asking = self.askers.subscribe();
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

    /// Waits until everything that was done to a record before has been written back, or kept because it does not
    /// follow; not for what is done to others.
    pub(super) async fn settle_record(&self, key: StockKey) -> Result<(), RepositoryError> {
        // One that is nobody's was written back before it became that.
        let row = self.store.read(key).await?;
        let Some(Residence { epoch, .. }) = row.and_then(|row| row.residence) else { return Ok(()) };
        let seen = self.link.look(key).await.map_err(unavailable)?;
        let figures = seen.figures.filter(|_| seen.epoch == epoch.to_string());
        let Some(sold) = figures.map(|figures| figures.sequence) else { return self.settle().await };
        let Some(last) = self.link.last().await.map_err(unavailable)? else { return Ok(()) };
        let _asking = self.askers.subscribe();
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            let residence = self.store.read(key).await?.and_then(|row| row.residence);
            let is_waiting = residence.is_some_and(|now| now.epoch == epoch && now.sequence < sold);
            let first = self.link.first().await.map_err(unavailable)?;
            if !is_waiting || first.is_none_or(|first| !is_at_most(&first, &last)) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(RepositoryError::Overloaded);
            }
            self.wake.notify_one();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
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
        // Here, so that whoever is kept out has seen nothing that came after.
        if entries.is_empty() || planted("resident-kept-out") {
            return Ok(false);
        }
        let mut apart = self.apart().await?;
        let written = loop {
            let rest = apart.rest(&entries);
            match self.write_all(&rest, guard).await {
                Err(RepositoryError::ResidentDiverged { key, reason }) => {
                    self.set_apart(&rest, (key, reason), &mut apart).await?;
                }
                outcome => break outcome?,
            }
        };
        self.set_apart_unlogged(&written.passed, &mut apart).await?;
        if planted("resident-before-trim") {
            return Err(StoreError::Conflict(None).into());
        }
        self.trim(&entries, &apart, &written).await?;
        Ok(true)
    }

    /// Writes entries back, also those whose ids have been used past Redis.
    async fn write_all(&self, entries: &[JournalEntry], guard: &Guard) -> Result<Written, RepositoryError> {
        match self.write(entries, guard, &HashMap::new()).await {
            Err(RepositoryError::Store(StoreError::DuplicateRequest(_))) => {
                let renamed = self.rename(entries).await?;
                self.write(entries, guard, &renamed).await
            }
            outcome => outcome,
        }
    }

    /// Other ids for requests whose ids are in the log already: another request was carried out under the
    /// same id at the same moment, past Redis. Both were answered, so both stay.
    pub(super) async fn rename(
        &self,
        entries: &[JournalEntry],
    ) -> Result<HashMap<RequestId, RequestId>, RepositoryError> {
        let logged = self.logged(entries.iter().flat_map(|entry| &entry.requests)).await?;
        let renamed: HashMap<_, _> = logged.into_iter().map(|(id, _)| (id, RequestId::make())).collect();
        if !renamed.is_empty() {
            tracing::error!(
                ?renamed,
                "these ids are in the log already; what was done under them in Redis gets others"
            );
        }
        Ok(renamed)
    }

    /// Of which records the log has something under the ids of these requests.
    pub(super) async fn logged(
        &self,
        requests: impl Iterator<Item = &Identified>,
    ) -> Result<HashSet<(RequestId, StockKey)>, RepositoryError> {
        let ids: Vec<_> = requests.map(|request| request.id().clone()).collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let logged = self.store.find_requests(&ids).await?;
        Ok(logged.into_iter().map(|entry| (entry.request_id, entry.key)).collect())
    }

    async fn write(
        &self,
        entries: &[JournalEntry],
        guard: &Guard,
        renamed: &HashMap<RequestId, RequestId>,
    ) -> Result<Written, RepositoryError> {
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
            let mut passed = Vec::new();
            for entry in entries {
                match replay.is_due(entry)? {
                    true => replay.take(entry, renamed)?,
                    false => passed.push(entry.clone()),
                }
            }
            let closed = replay.holds().filter_map(|hold| closed(hold, &replay)).collect();
            // Also of those that were written before: whoever did so may not have been able to say it.
            let rows = keys.iter().filter_map(|key| replay.row(*key));
            let versions = rows.map(|(row, _)| Hint::Changed(row.record.key, row.record.version)).collect();
            transaction.put(&replay.into_writes()).await?;
            if !guard.is_valid() || planted("resident-before-commit") {
                return Err(RepositoryError::Store(StoreError::Conflict(None)));
            }
            Ok(Written { closed, versions, passed })
        };
        match written.await {
            Ok(written) => {
                let began = Instant::now();
                match transaction.commit().await {
                    Ok(()) => {
                        self.meters.committed(began.elapsed());
                        Ok(written)
                    }
                    // The rows will tell.
                    Err(CommitError::RolledBack(error) | CommitError::Unknown(error)) => Err(error.into()),
                }
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn trim(&self, entries: &[JournalEntry], apart: &Apart, written: &Written) -> Result<(), RepositoryError> {
        let done = |entry: &JournalEntry| (entry.id.clone(), entry.changes(), apart.places(entry));
        let done: Vec<_> = entries.iter().map(done).collect();
        let (done, closed) = (json(&done), json(&written.closed));
        let messages: Vec<_> = written.versions.iter().map(Hint::to_string).collect();
        let removed = self.link.with(async |connection, _| {
            let mut call = self.link.scripts.trim.key(JOURNAL);
            call.key(STATE).arg(REQUESTS).arg(GENERATION).arg(done).arg(closed).arg(CHANNEL).arg(json(&messages));
            call.invoke_async::<i64>(connection).await
        });
        removed.await.map(|_| ()).map_err(unavailable)
    }
}

/// Says that the flusher has ended, whatever has ended it.
struct Ended<'a>(&'a watch::Sender<bool>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Gives the lease to whoever wants it next.
async fn let_go(guard: &mut Option<Guard>) {
    if let Some(guard) = guard.take() {
        // Nodes that do not answer have it end by itself.
        let _ = guard.release().await;
    }
}

fn closed(hold: &Hold, replay: &Replay) -> Option<Closed> {
    let (_, residence) = replay.row(hold.key)?;
    let order = hold.order_id.as_str().to_owned();
    (hold.state != HoldState::Open)
        .then(|| (hash_key(hold.key), residence.epoch.to_string(), order, residence.sequence))
}
