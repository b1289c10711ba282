//! Proves that Redis and the database agree on a record: what the database has, and on top of it what the
//! journal says, is what Redis has.

use std::collections::BTreeMap;

use super::link::Link;
use super::replay::Replay;
use super::residence::unavailable;
use super::wire::{Figures, JournalEntry};
use crate::error::RepositoryError;
use crate::hold::{Held, HoldState};
use crate::operation::StockKey;
use crate::store::{Store, Transaction};

/// What the two sides have of a resident record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// Which record.
    pub key: StockKey,
    /// How many changes wait in the journal.
    pub pending: u64,
    /// Available, locked and reserved units, what open holds cover of locked and reserved, and the version,
    /// by the database and the journal.
    pub expected: [u64; 6],
    /// The same, by Redis.
    pub found: Option<[u64; 6]>,
    /// Orders whose open hold is not the same on both sides, with what it covers by the database and the
    /// journal, and by Redis.
    pub holds: Vec<(String, Held, Held)>,
}

impl Reconciliation {
    /// Whether both sides have the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.found == Some(self.expected) && self.holds.is_empty()
    }
}

/// Looks at both sides, with the row locked, so that nothing is written back meanwhile. `None` where the
/// record is not resident.
pub(super) async fn reconcile(
    store: &dyn Store,
    link: &Link,
    key: StockKey,
) -> Result<Option<Reconciliation>, RepositoryError> {
    let mut transaction = store.begin().await?;
    let outcome = look(transaction.as_mut(), link, key).await;
    transaction.rollback().await;
    outcome
}

async fn look(
    transaction: &mut dyn Transaction,
    link: &Link,
    key: StockKey,
) -> Result<Option<Reconciliation>, RepositoryError> {
    let row = transaction.claim(&[key]).await?.pop().ok_or(RepositoryError::NotFound { key })?;
    let Some(residence) = row.residence else { return Ok(None) };
    let (seen, redis_holds) = link.snapshot(key).await.map_err(unavailable)?;
    if let Some(reason) = seen.diverged {
        return Err(RepositoryError::ResidentDiverged { key, reason });
    }
    let found = seen.figures.filter(|_| seen.epoch == residence.epoch.to_string());
    let mut replay = Replay::new(vec![row]);
    for hold in transaction.open_holds(row.record.id).await? {
        replay.put_hold(hold);
    }
    // What came after the look is not part of it; what was trimmed since has been written back before.
    let last = found.map_or(0, |figures| figures.sequence);
    for entry in pending(link, key, residence.epoch, last).await? {
        // Of the closed holds only those of these orders matter.
        let places = replay.needed_holds(std::iter::once(&entry));
        for hold in transaction.find_holds(&places).await? {
            if !replay.holds().any(|known| (known.stock_id, &known.order_id) == (hold.stock_id, &hold.order_id)) {
                replay.put_hold(hold);
            }
        }
        if replay.is_due(&entry)? {
            replay.take(&entry, &std::collections::HashMap::new())?;
        }
    }
    let Some((now, reached)) = replay.row(key) else { return Ok(None) };
    let figures =
        Figures { levels: now.record.levels, held: now.held, version: now.record.version, sequence: reached.sequence };
    let mut expected_holds = BTreeMap::new();
    for hold in replay.holds().filter(|hold| hold.state == HoldState::Open) {
        expected_holds.insert(hold.order_id.to_string(), hold.held);
    }
    Ok(Some(Reconciliation {
        key,
        pending: reached.sequence - residence.sequence,
        expected: numbers(&figures),
        found: found.as_ref().map(numbers),
        holds: differences(expected_holds, redis_holds),
    }))
}

/// What the journal has of one record up to a sequence, as if it were about nothing else.
async fn pending(link: &Link, key: StockKey, epoch: u64, last: u64) -> Result<Vec<JournalEntry>, RepositoryError> {
    let (mut found, mut from) = (Vec::new(), "-".to_owned());
    loop {
        let page = link.journal(&from, 256).await.map_err(unavailable)?;
        let Some(end) = page.last() else { return Ok(found) };
        from = format!("({}", end.id);
        for entry in page.iter().filter_map(|entry| entry.of((key, epoch))) {
            if entry.before[0].sequence >= last {
                return Ok(found);
            }
            found.push(entry);
        }
    }
}

fn numbers(figures: &Figures) -> [u64; 6] {
    let (levels, held) = (figures.levels, figures.held);
    [levels.available(), levels.locked(), levels.reserved(), held.locked, held.reserved, figures.version]
}

fn differences(
    mut expected: BTreeMap<String, Held>,
    found: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, Held, Held)> {
    let mut differences = Vec::new();
    for (order, packed) in found {
        let mut words = packed.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(u64::MAX);
        let held = Held { locked: number(), reserved: number() };
        let by_database = expected.remove(&order).unwrap_or_default();
        if by_database != held {
            differences.push((order, by_database, held));
        }
    }
    let missing = expected.into_iter().map(|(order, held)| (order, held, Held::default()));
    differences.extend(missing);
    differences
}
