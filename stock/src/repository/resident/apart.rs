//! What does not follow from the database is set apart, record by record, so that everything else is written back.
//!
//! A journal entry is one call of the script and may be about many records. Those that do not follow are taken out
//! of it: their sales end, what the entry says of them is kept until somebody decides, and the rest is written back
//! as if they had never been in it. Of a request over several records, that is the part which concerns the others.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::flush::Flusher;
use super::replay::Replay;
use super::residence::unavailable;
use super::wire::{JournalEntry, Life, kept_key};
use crate::error::RepositoryError;
use crate::operation::StockKey;
use crate::store::Transaction;

/// The lives that do not follow from the database.
#[derive(Debug)]
pub(super) struct Apart(HashSet<Life>);

impl Apart {
    /// What the entries say of all others.
    pub(super) fn rest<'a>(&self, entries: &'a [JournalEntry]) -> Cow<'a, [JournalEntry]> {
        if !entries.iter().any(|entry| entry.records.iter().any(|life| self.0.contains(life))) {
            return Cow::Borrowed(entries);
        }
        entries.iter().map(|entry| entry.only(|life| !self.0.contains(life))).collect()
    }

    /// Where the parts of an entry have to be kept that are not among the rest.
    pub(super) fn places(&self, entry: &JournalEntry) -> Vec<String> {
        entry.moved().filter(|life| self.0.contains(life)).map(|(key, _)| kept_key(key)).collect()
    }
}

impl Flusher {
    /// The lives that are known not to follow.
    pub(super) async fn apart(&self) -> Result<Apart, RepositoryError> {
        let known = self.link().diverged().await.map_err(unavailable)?;
        Ok(Apart(known.into_keys().collect()))
    }

    /// Sets apart what keeps these entries from being written back. `first` is the record that was noticed, and why.
    pub(super) async fn set_apart(
        &self,
        entries: &[JournalEntry],
        first: (StockKey, String),
        apart: &mut Apart,
    ) -> Result<(), RepositoryError> {
        let mut transaction = self.store().begin().await?;
        let alone = do_not_follow(transaction.as_mut(), entries).await;
        transaction.rollback().await;
        let Alone { mut found, passed } = alone?;
        found.extend(self.unlogged(&passed).await?);
        if found.is_empty() {
            // Each by itself follows; together they do not.
            let (key, reason) = first;
            let lives = entries.iter().flat_map(JournalEntry::moved);
            let lives: BTreeSet<_> = lives.filter(|life| life.0 == key).collect();
            if lives.is_empty() {
                return Err(RepositoryError::ResidentDiverged { key, reason });
            }
            found.extend(lives.into_iter().map(|life| (life, reason.clone())));
        }
        self.mark(found, apart).await
    }

    /// Sets apart what these entries have done and the log knows nothing of, although the rows are said to be past
    /// them.
    pub(super) async fn set_apart_unlogged(
        &self,
        passed: &[JournalEntry],
        apart: &mut Apart,
    ) -> Result<(), RepositoryError> {
        let found = self.unlogged(passed).await?;
        self.mark(found, apart).await
    }

    async fn unlogged(&self, passed: &[JournalEntry]) -> Result<Vec<(Life, String)>, RepositoryError> {
        let logged = self.logged(passed.iter().flat_map(|entry| &entry.requests)).await?;
        let mut found = BTreeMap::new();
        for entry in passed {
            for life in entry.moved() {
                let own = entry.of(life).map(|own| own.requests).unwrap_or_default();
                let missing = own.iter().find(|request| !logged.contains(&(request.id().clone(), life.0)));
                if let Some(request) = missing {
                    let reason = format!("request {} of entry {} is not in the log", request.id(), entry.id);
                    found.entry(life).or_insert(reason);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    async fn mark(&self, found: Vec<(Life, String)>, apart: &mut Apart) -> Result<(), RepositoryError> {
        for (life, reason) in found {
            let (key, epoch) = life;
            tracing::error!(
                %key, epoch, reason,
                "does not follow from the database: it is not sold any more, and what was sold is kept; see `stock residents list`"
            );
            self.link().diverge(life, &reason).await.map_err(unavailable)?;
            self.meters().diverged();
            apart.0.insert(life);
        }
        Ok(())
    }
}

/// What was found out about lives that were looked at one by one.
#[derive(Default)]
struct Alone {
    /// Those that do not follow from the database, and why.
    found: Vec<(Life, String)>,
    /// What the rows of the others are said to be past.
    passed: Vec<JournalEntry>,
}

/// Looks at lives one by one, as if there were no others.
async fn do_not_follow(transaction: &mut dyn Transaction, entries: &[JournalEntry]) -> Result<Alone, RepositoryError> {
    let lives: BTreeSet<Life> = entries.iter().flat_map(JournalEntry::moved).collect();
    let keys: BTreeSet<StockKey> = lives.iter().map(|(key, _)| *key).collect();
    let rows = transaction.claim(&keys.into_iter().collect::<Vec<_>>()).await?;
    let mut alone = Alone::default();
    for life in lives {
        let row = rows.iter().find(|row| row.record.key == life.0).copied();
        let mut replay = Replay::new(row.into_iter().collect());
        let own: Vec<_> = entries.iter().filter_map(|entry| entry.of(life)).collect();
        let places = replay.needed_holds(own.iter());
        transaction.find_holds(&places).await?.into_iter().for_each(|hold| replay.put_hold(hold));
        for entry in own {
            match replay.follow(&entry) {
                Ok(true) => {}
                Ok(false) => alone.passed.push(entry),
                Err(RepositoryError::ResidentDiverged { reason, .. }) => {
                    alone.found.push((life, reason));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(alone)
}
