//! Which records are resident, making them so, and ending it.
//!
//! A record's epoch is committed in its row before anybody serves it, and levels are put into Redis while
//! the row is locked, only over what was seen there under that lock. So there is one epoch in the row,
//! one place where its levels are, and whoever comes with another epoch is refused by the script. Epochs are drawn,
//! so that no two lives of a record share one, also where a load was rolled back and its levels arrive late.
//! Becoming resident raises the row's fence: nobody who read it before can write over it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::flush::Flusher;
use super::link::{Link, RECORDS, Seen};
use super::queue::Place;
use super::wire::{hash_key, holds_key};
use crate::error::RepositoryError;
use crate::failpoint::planted;
use crate::hold::Hold;
use crate::operation::{MAX_INTEGER, StockKey};
use crate::record::{Residence, RowWrite, StockRow};
use crate::store::{CommitError, Store, StoreError, Transaction};

/// How long a record that is about to leave is waited for before it is taken back.
const LEAVING: Duration = Duration::from_secs(2);

/// How many loads at once do not get in each other's way.
const LANES: usize = 64;

/// The resident records that this instance knows.
#[derive(Debug)]
pub(super) struct Residences {
    pub(super) store: Arc<dyn Store>,
    pub(super) link: Arc<Link>,
    pub(super) flusher: Arc<Flusher>,
    known: Mutex<HashMap<StockKey, Place>>,
    lanes: Vec<tokio::sync::Mutex<()>>,
}

impl Residences {
    pub(super) fn new(store: Arc<dyn Store>, link: Arc<Link>, flusher: Arc<Flusher>) -> Self {
        let lanes = (0..LANES).map(|_| tokio::sync::Mutex::new(())).collect();
        Self { store, link, flusher, known: Mutex::default(), lanes }
    }

    /// Where a record is, as far as is known here.
    pub(super) fn known(&self, key: StockKey) -> Option<Place> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// Forgets what turned out to be over.
    pub(super) fn forget(&self, key: StockKey, epoch: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&key).is_some_and(|place| place.epoch == epoch) {
            known.remove(&key);
        }
    }

    /// Where a record is; it is made resident if it is not.
    pub(super) async fn ensure(&self, key: StockKey) -> Result<Place, RepositoryError> {
        if let Some(place) = self.known(key) {
            return Ok(place);
        }
        let lane = usize::try_from(key.variant_id.get() % LANES as u64).unwrap_or_default();
        let _turn = self.lanes[lane].lock().await;
        if let Some(place) = self.known(key) {
            return Ok(place);
        }
        let place = match self.find(key).await? {
            Some(place) => place,
            None => self.load(key).await?,
        };
        Ok(self.learn(place))
    }

    /// Where a record is, if it is resident and served; nothing is done about it where it is not.
    pub(super) async fn find(&self, key: StockKey) -> Result<Option<Place>, RepositoryError> {
        let until = Instant::now() + LEAVING;
        loop {
            let row = self.store.read(key).await?.ok_or(RepositoryError::NotFound { key })?;
            let Some(residence) = row.residence else { return Ok(None) };
            let seen = self.link.look(key).await.map_err(unavailable)?;
            let is_here = seen.epoch == residence.epoch.to_string();
            if let Some(reason) = seen.diverged.filter(|_| is_here) {
                return Err(RepositoryError::ResidentDiverged { key, reason });
            }
            if is_here && seen.is_open {
                return Ok(Some(self.learn(place(&row, residence.epoch))));
            }
            // A record that is about to leave does so soon, unless whoever was at it has died.
            if !is_here || Instant::now() >= until || !self.is_leaving(key).await? {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn is_leaving(&self, key: StockKey) -> Result<bool, RepositoryError> {
        let closing = self.link.with(async |connection, run_id| {
            let command = redis::cmd("HMGET").arg(hash_key(key)).arg("closing").arg("run_id").to_owned();
            let (closing, loaded_by): (Option<String>, Option<String>) = command.query_async(connection).await?;
            Ok(closing.is_some() && loaded_by.as_deref() == Some(run_id))
        });
        closing.await.map_err(unavailable)
    }

    fn learn(&self, place: Place) -> Place {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(place.key, place);
        place
    }

    /// Makes a record resident in a new epoch. Whatever the journal still has of an old one is written back
    /// first; nothing can join it, because the script refuses the old epoch already.
    async fn load(&self, key: StockKey) -> Result<Place, RepositoryError> {
        self.flusher.settle_record(key).await?;
        let mut transaction = self.store.begin().await?;
        let loaded = self.claim(key, transaction.as_mut()).await;
        match loaded {
            Ok(Loaded { place, is_new: true }) => {
                transaction.commit().await.map_err(uncommitted)?;
                tracing::debug!(%key, epoch = place.epoch, "resident");
                Ok(place)
            }
            Ok(Loaded { place, is_new: false }) => {
                transaction.rollback().await;
                Ok(place)
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn claim(&self, key: StockKey, transaction: &mut dyn Transaction) -> Result<Loaded, RepositoryError> {
        let row = transaction.claim(&[key]).await?.pop().ok_or(RepositoryError::NotFound { key })?;
        let seen = self.link.look(key).await.map_err(unavailable)?;
        if let Some(residence) = row.residence {
            if seen.epoch == residence.epoch.to_string() {
                if seen.is_open {
                    return Ok(Loaded { place: place(&row, residence.epoch), is_new: false });
                }
                self.nothing_is_missing(key, residence, &seen).await?;
            }
            tracing::warn!(%key, ?residence, ?seen, "Redis does not have what it should; loading what the database has");
        }
        // Nobody else has drawn it, or will: whatever was sent in another life, and arrives late, is told apart.
        let epoch = rand::random_range(1..=MAX_INTEGER);
        let holds = transaction.open_holds(row.record.id).await?;
        let residence = Some(Residence { epoch, sequence: 0 });
        let resident = StockRow { fence: row.fence + 1, residence, ..row };
        transaction.write(&[RowWrite::new(&row, resident)]).await?;
        if !self.put(&resident, epoch, &holds, &seen).await? {
            // Somebody else's load that is over by now came in between.
            return Err(StoreError::Conflict(None).into());
        }
        if planted("resident-loaded") {
            return Err(StoreError::Conflict(None).into());
        }
        Ok(Loaded { place: place(&row, epoch), is_new: true })
    }

    /// Refuses to load levels over others whose last changes neither the database has nor the journal, which has been
    /// written back: somebody has to look at that.
    async fn nothing_is_missing(
        &self,
        key: StockKey,
        residence: Residence,
        seen: &Seen,
    ) -> Result<(), RepositoryError> {
        let sold = seen.figures.map_or(0, |figures| figures.sequence);
        let reason = match &seen.diverged {
            Some(reason) => reason.clone(),
            None if sold <= residence.sequence => return Ok(()),
            None => {
                let reason = format!("written back up to {}, sold up to {sold}", residence.sequence);
                self.link.diverge((key, residence.epoch), &reason).await.map_err(unavailable)?;
                reason
            }
        };
        Err(RepositoryError::ResidentDiverged { key, reason })
    }

    /// Puts levels and open holds into Redis, over what was seen there.
    async fn put(&self, row: &StockRow, epoch: u64, holds: &[Hold], seen: &Seen) -> Result<bool, RepositoryError> {
        let (record, levels) = (row.record, row.record.levels);
        let done = self.link.with(async |connection, run_id| {
            let words = [
                ("id", record.id),
                ("product_id", record.product_id.get()),
                ("stock", levels.stock()),
                ("available_stock", levels.available()),
                ("locked_stock", levels.locked()),
                ("reserved_stock", levels.reserved()),
                ("held_locked", row.held.locked),
                ("held_reserved", row.held.reserved),
                ("version", record.version),
                ("epoch", epoch),
                ("sequence", 0),
            ];
            let mut call = self.link.scripts.load.key(hash_key(record.key));
            call.key(holds_key(record.key)).key(RECORDS);
            call.arg(&seen.epoch).arg(name(record.key)).arg(2 * words.len() + 2);
            for (field, number) in words {
                call.arg(field).arg(number);
            }
            call.arg("run_id").arg(run_id);
            for hold in holds {
                let expiry = if hold.ends_at().is_some() { "0" } else { "-1" };
                let state = if hold.lapsed { 'p' } else { 'o' };
                let packed = format!("{} {} {state} {expiry} 0", hold.held.locked, hold.held.reserved);
                call.arg(hold.order_id.as_str()).arg(packed);
            }
            call.invoke_async::<i64>(connection).await
        });
        Ok(done.await.map_err(unavailable)? == 1)
    }

    /// Ends a record's residence: sales stop, what was sold is written back, and the row is everybody's
    /// again. False where it was not resident.
    pub(super) async fn release(&self, key: StockKey) -> Result<bool, RepositoryError> {
        let row = self.store.read(key).await?.ok_or(RepositoryError::NotFound { key })?;
        let Some(Residence { epoch, .. }) = row.residence else { return Ok(false) };
        let seen = self.link.look(key).await.map_err(unavailable)?;
        if let Some(reason) = seen.diverged.filter(|_| seen.epoch == epoch.to_string()) {
            return Err(RepositoryError::ResidentDiverged { key, reason });
        }
        let last = self.close(key, epoch, "close").await?;
        self.forget(key, epoch);
        self.flusher.settle_record(key).await?;
        let mut transaction = self.store.begin().await?;
        match self.leave(key, epoch, last, transaction.as_mut()).await {
            Ok(()) => transaction.commit().await.map_err(uncommitted)?,
            Err(error) => {
                transaction.rollback().await;
                return Err(error);
            }
        }
        self.close(key, epoch, "remove").await?;
        Ok(true)
    }

    pub(super) async fn close(&self, key: StockKey, epoch: u64, what: &str) -> Result<Option<u64>, RepositoryError> {
        let sequence = self.link.with(async |connection, _| {
            let mut call = self.link.scripts.close.key(hash_key(key));
            call.key(holds_key(key)).key(RECORDS).arg(epoch).arg(what).arg(name(key));
            call.invoke_async(connection).await
        });
        sequence.await.map_err(unavailable)
    }

    async fn leave(
        &self,
        key: StockKey,
        epoch: u64,
        last: Option<u64>,
        transaction: &mut dyn Transaction,
    ) -> Result<(), RepositoryError> {
        let row = transaction.claim(&[key]).await?.pop().ok_or(RepositoryError::NotFound { key })?;
        let residence = row.residence.filter(|residence| residence.epoch == epoch);
        // Taken back in the meantime, by somebody who waited too long.
        let residence = residence.ok_or(StoreError::Conflict(None))?;
        match last {
            Some(last) if last != residence.sequence => {
                let reason = format!("written back up to {}, sold up to {last}", residence.sequence);
                return Err(RepositoryError::ResidentDiverged { key, reason });
            }
            Some(_) => {}
            None => tracing::warn!(%key, epoch, "Redis has nothing of it; what was not written back is lost"),
        }
        Ok(transaction.write(&[RowWrite::new(&row, StockRow { residence: None, ..row })]).await?)
    }
}

struct Loaded {
    place: Place,
    is_new: bool,
}

fn place(row: &StockRow, epoch: u64) -> Place {
    Place { key: row.record.key, epoch, id: row.record.id, product_id: row.record.product_id }
}

/// What a record is called in the set of resident ones.
pub(super) fn name(key: StockKey) -> String {
    format!("{}:{}", key.variant_id, key.warehouse_id)
}

/// Redis did not do what it was asked to.
pub(super) fn unavailable(error: redis::RedisError) -> RepositoryError {
    RepositoryError::ResidentUnavailable { source: error.into() }
}

/// Nothing is served in an epoch that is not known to be committed, so nothing is lost either.
pub(super) fn uncommitted(error: CommitError) -> RepositoryError {
    match error {
        CommitError::RolledBack(error) | CommitError::Unknown(error) => error.into(),
    }
}
