//! What becomes of a record that does not follow from the database: somebody decides, and is told what it costs.

use super::link::{DIVERGED, RECORDS, REQUESTS, STATE};
use super::replay::Replay;
use super::residence::{Residences, name, unavailable, uncommitted};
use super::wire::{JournalEntry, Life, hash_key, holds_key, json, kept_key, life_name};
use crate::error::RepositoryError;
use crate::operation::StockKey;
use crate::record::{RowWrite, StockRow};
use crate::request::{Change, RequestId};
use crate::store::{StoreError, Transaction};
use crate::workbench::Writes;

/// A record of which not everything that was done to it in Redis can be written back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diverged {
    /// Which record.
    pub key: StockKey,
    /// In which life in Redis. One that is over does not keep the record from being sold.
    pub epoch: u64,
    /// What does not agree.
    pub reason: String,
    /// What was answered, is not in the log, and has been kept, oldest first.
    pub kept: Vec<KeptChange>,
}

/// A change that was answered and is not in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptChange {
    /// The request it belongs to.
    pub request_id: RequestId,
    /// What was done.
    pub change: Change,
}

/// What a [`reload`](super::Resident::reload) has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// How many changes were written back that had been kept.
    pub written: u64,
    /// What was thrown away.
    pub lost: Vec<KeptChange>,
}

/// A kept entry, with the id of its copy.
type Kept = (String, JournalEntry);

impl Residences {
    /// Every life that does not follow from the database.
    pub(super) async fn diverged(&self) -> Result<Vec<Diverged>, RepositoryError> {
        let mut all = Vec::new();
        for (life, reason) in self.link.diverged().await.map_err(unavailable)? {
            let kept = self.link.kept(life.0).await.map_err(unavailable)?;
            let kept = self.unlogged(kept.iter().filter_map(|(_, entry)| entry.of(life))).await?;
            all.push(Diverged { key: life.0, epoch: life.1, reason, kept });
        }
        all.sort_unstable_by_key(|diverged| (diverged.key, diverged.epoch));
        Ok(all)
    }

    /// Gives a record back to the database: writes what was kept of it, or throws away what does not follow.
    pub(super) async fn reload(&self, key: StockKey, discard: bool) -> Result<Reloaded, RepositoryError> {
        let row = self.store.read(key).await?.ok_or(RepositoryError::NotFound { key })?;
        let epoch = row.residence.map(|residence| residence.epoch);
        let mut last = None;
        if let Some(epoch) = epoch {
            last = self.close(key, epoch, "close").await?;
            self.forget(key, epoch);
        }
        self.flusher.settle_record(key).await?;
        let kept = self.link.kept(key).await.map_err(unavailable)?;
        let mut transaction = self.store.begin().await?;
        let decided = self.decide((key, epoch), last, &kept, discard, transaction.as_mut()).await;
        match &decided {
            Ok(_) => transaction.commit().await.map_err(uncommitted)?,
            Err(_) => transaction.rollback().await,
        }
        if decided.is_ok() {
            self.remove(key, epoch, &kept).await?;
        }
        decided
    }

    async fn decide(
        &self,
        (key, epoch): (StockKey, Option<u64>),
        last: Option<u64>,
        kept: &[Kept],
        discard: bool,
        transaction: &mut dyn Transaction,
    ) -> Result<Reloaded, RepositoryError> {
        let row = transaction.claim(&[key]).await?.pop().ok_or(RepositoryError::NotFound { key })?;
        if row.residence.map(|residence| residence.epoch) != epoch {
            // Somebody else was at it.
            return Err(StoreError::Conflict(None).into());
        }
        let is_of = |life: &Life| life.0 == key && Some(life.1) == epoch;
        let own: Vec<_> = kept.iter().map(|(_, entry)| entry.only(is_of)).collect();
        let others = kept.iter().map(|(_, entry)| entry.only(|life| life.0 == key && !is_of(life)));
        let mut lost = self.unlogged(others).await?;
        let (mut writes, left) = match self.follow(row, &own, last, transaction).await {
            Ok((writes, passed)) => (writes, passed),
            Err(RepositoryError::ResidentDiverged { .. }) if discard => (Writes::default(), own),
            Err(error) => return Err(error),
        };
        lost.extend(self.unlogged(left.into_iter()).await?);
        if !lost.is_empty() && !discard {
            let reason = format!("{} changes that were sold are not in the log", lost.len());
            return Err(RepositoryError::ResidentDiverged { key, reason });
        }
        if writes.rows.is_empty() {
            writes.rows.push(RowWrite::new(&row, row));
        }
        writes.rows.iter_mut().for_each(|write| write.row.residence = None);
        transaction.put(&writes).await?;
        Ok(Reloaded { written: writes.entries.len() as u64, lost })
    }

    /// What was kept, done to the row, and what of it the row is said to be past. It must come to the last change that
    /// was sold.
    async fn follow(
        &self,
        row: StockRow,
        own: &[JournalEntry],
        last: Option<u64>,
        transaction: &mut dyn Transaction,
    ) -> Result<(Writes, Vec<JournalEntry>), RepositoryError> {
        let key = row.record.key;
        let mut replay = Replay::new(vec![row]);
        let places = replay.needed_holds(own.iter());
        transaction.find_holds(&places).await?.into_iter().for_each(|hold| replay.put_hold(hold));
        // The part of a request that concerned others is in the log under its id.
        let renamed = self.flusher.rename(own).await?;
        let mut passed = Vec::new();
        for entry in own {
            match replay.is_due(entry)? {
                true => replay.take(entry, &renamed)?,
                false => passed.push(entry.clone()),
            }
        }
        let reached = replay.row(key).map(|(_, residence)| residence.sequence);
        if last.is_some() && reached != last {
            let reason = format!("written back up to {reached:?}, sold up to {last:?}");
            return Err(RepositoryError::ResidentDiverged { key, reason });
        }
        Ok((replay.into_writes(), passed))
    }

    /// Those changes that the log knows nothing of.
    async fn unlogged(&self, entries: impl Iterator<Item = JournalEntry>) -> Result<Vec<KeptChange>, RepositoryError> {
        let requests: Vec<_> = entries.flat_map(|entry| entry.requests).collect();
        let logged = self.flusher.logged(requests.iter()).await?;
        let changes = requests.iter().flat_map(|request| request.changes().iter().map(|change| (request.id(), change)));
        let unlogged = changes.filter(|(id, change)| !logged.contains(&((*id).clone(), change.key)));
        Ok(unlogged.map(|(id, change)| KeptChange { request_id: id.clone(), change: change.clone() }).collect())
    }

    async fn remove(&self, key: StockKey, epoch: Option<u64>, kept: &[Kept]) -> Result<(), RepositoryError> {
        let known = self.link.diverged().await.map_err(unavailable)?;
        let lives: Vec<_> = known.into_keys().filter(|life| life.0 == key).map(life_name).collect();
        let ids = |entry: &JournalEntry| -> Vec<String> {
            let of_it = entry.only(|life| life.0 == key).requests;
            of_it.iter().map(|request| request.id().to_string()).collect()
        };
        let entries: Vec<_> = kept.iter().map(|(copy, entry)| (&entry.id, copy, ids(entry))).collect();
        let removed = self.link.with(async |connection, _| {
            let mut call = self.link.scripts.discard.key(hash_key(key));
            call.key(holds_key(key)).key(RECORDS).key(DIVERGED).key(kept_key(key)).key(STATE);
            call.arg(epoch.map_or_else(String::new, |epoch| epoch.to_string())).arg(name(key)).arg(REQUESTS);
            call.arg(lives.len()).arg(&lives).arg(json(&entries));
            call.invoke_async::<i64>(connection).await
        });
        removed.await.map(drop).map_err(unavailable)
    }
}
