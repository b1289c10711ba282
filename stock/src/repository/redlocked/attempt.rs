//! One transaction over the rows of many records.
//!
//! New leases claim their rows in it. Of the others the rows are known, and are written over exactly
//! what is known, changed or not: so a refusal, too, is decided on what the database holds.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::failpoint;
use super::part::{Fate, Part};
use super::run::Run;
use crate::hold::Hold;
use crate::log::LogEntry;
use crate::operation::StockKey;
use crate::record::{RowWrite, StockRow};
use crate::request::RequestId;
use crate::store::{CommitError, StoreError, Transaction};
use crate::workbench::{Answer, Rejection, Workbench, Writes};

/// Everything that is known when all is written and nothing committed.
#[derive(Debug)]
pub(super) struct Prepared {
    /// For each part, for each job.
    pub(super) answers: Vec<Vec<Result<Answer, Rejection>>>,
    /// The rows after it.
    pub(super) rows: HashMap<StockKey, StockRow>,
    /// What the log gets; empty where nothing has changed.
    pub(super) entries: Vec<LogEntry>,
    /// Whether there is anything to commit.
    commits: bool,
    /// When the transaction began.
    pub(super) began: Instant,
}

impl Prepared {
    /// Whether the rows are as they are here, and with the leases' tokens.
    pub(super) fn is_written(&self) -> bool {
        self.commits
    }
}

/// Why a transaction has come to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Parts had to be taken out; nothing was written.
    TakenOut,
    /// Somebody was in the way; nothing was written.
    Conflict(StoreError),
    /// Nothing was written, and nothing will be.
    Store(StoreError),
    /// The answer to the commit was lost.
    Lost { source: StoreError, prepared: Prepared },
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) | StoreError::DuplicateRequest(_) => Self::Conflict(error),
            error => Self::Store(error),
        }
    }
}

/// What was read for the requests.
#[derive(Default)]
struct Found {
    holds: Vec<Hold>,
    known: Vec<LogEntry>,
}

impl Run {
    /// Carries all parts out, or none of them.
    pub(super) async fn attempt(&mut self) -> Result<Prepared, Trouble> {
        failpoint::reached(if self.parts.iter().all(Part::is_claimed) {
            "redlocked-next-batch"
        } else {
            "redlocked-before-claim"
        });
        let began = Instant::now();
        let mut transaction = self.store.begin().await?;
        match self.prepare(transaction.as_mut(), began).await {
            Ok(prepared) if prepared.commits => self.commit(transaction, prepared).await,
            Ok(prepared) => {
                transaction.rollback().await;
                Ok(prepared)
            }
            Err(trouble) => {
                transaction.rollback().await;
                Err(trouble)
            }
        }
    }

    async fn commit(&self, transaction: Box<dyn Transaction>, prepared: Prepared) -> Result<Prepared, Trouble> {
        let asked = Instant::now();
        let committed = transaction.commit().await;
        self.counters.committed(asked.elapsed());
        match committed {
            Ok(()) => Ok(prepared),
            Err(CommitError::RolledBack(error)) => Err(error.into()),
            Err(CommitError::Unknown(_)) if failpoint::planted("redlocked-lost-commit-answered") => Ok(prepared),
            // Nothing has changed but tokens: once more.
            Err(CommitError::Unknown(source)) if prepared.entries.is_empty() => Err(Trouble::Conflict(source)),
            Err(CommitError::Unknown(source)) => Err(Trouble::Lost { source, prepared }),
        }
    }

    async fn prepare(&mut self, transaction: &mut dyn Transaction, began: Instant) -> Result<Prepared, Trouble> {
        let claimed = self.claim(transaction).await?;
        if self.parts.is_empty() {
            return Err(Trouble::TakenOut);
        }
        failpoint::reached("redlocked-claimed");
        let (bench, answers) = self.apply(transaction, &claimed).await?;
        let mut rows = HashMap::new();
        let mut touched = Vec::new();
        for part in &self.parts {
            for before in rows_of(part, &claimed) {
                let mut after = bench.row(before.record.key).copied().unwrap_or(*before);
                if after == *before && (part.is_claimed() || before.residence.is_none()) {
                    after.fence = part.fence();
                    touched.push((RowWrite::new(before, after), part.is_claimed()));
                }
                rows.insert(before.record.key, after);
            }
        }
        let Writes { rows: mut writes, entries, holds } = bench.into_writes();
        // What somebody else has committed may be seen a moment before it is on the disk. Whoever answers by it
        // commits a change of its own, which comes to the disk after it.
        let is_replayed = |answer: &Result<Answer, _>| answer.as_ref().is_ok_and(|answer| answer.replayed);
        let commits = !entries.is_empty() || answers.iter().flatten().any(is_replayed);
        // Where nothing is committed, only what is not locked has to be looked at.
        let needed = touched.into_iter().filter(|(_, is_known)| *is_known || commits);
        writes.extend(needed.map(|(write, _)| write));
        writes.sort_unstable_by_key(|write| write.row.record.key);
        let writes = Writes { rows: writes, entries, holds };
        let prepared = Prepared { answers, rows, entries: Vec::new(), commits, began };
        self.write(transaction, writes, prepared).await
    }

    async fn write(
        &mut self,
        transaction: &mut dyn Transaction,
        mut writes: Writes,
        prepared: Prepared,
    ) -> Result<Prepared, Trouble> {
        let careless = failpoint::compares_at_write_time_only();
        if careless {
            failpoint::forget_versions(transaction, &mut writes.rows, &mut writes.entries).await?;
        }
        failpoint::shorten(&mut writes.entries);
        transaction.put(&writes).await?;
        failpoint::reached("redlocked-written");
        // A lease that has run out may be somebody else's by now.
        if !careless && self.take_out(|part| (!part.lease.is_valid()).then_some(Fate::Lost)) {
            return Err(Trouble::TakenOut);
        }
        failpoint::reached("redlocked-before-commit");
        Ok(Prepared { entries: writes.entries, ..prepared })
    }

    /// Locks the rows of new leases. Parts of which not all rows could be had, or whose token is not
    /// the largest, are taken out.
    async fn claim(&mut self, transaction: &mut dyn Transaction) -> Result<HashMap<StockKey, StockRow>, Trouble> {
        let new = self.parts.iter().filter(|part| !part.is_claimed());
        let mut keys: Vec<_> = new.flat_map(|part| part.keys.iter().copied()).collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        keys.sort_unstable();
        let found = if failpoint::compares_at_write_time_only() {
            self.store.read_many(&keys).await?
        } else if self.waits {
            transaction.claim(&keys).await?
        } else {
            transaction.claim_free(&keys).await?
        };
        let claimed: HashMap<_, _> = found.into_iter().map(|row| (row.record.key, row)).collect();
        let locked = self.locked(transaction, &keys, &claimed).await?;
        if self.is_alone() && !locked.is_empty() {
            return Err(Trouble::Conflict(StoreError::Conflict(None)));
        }
        self.take_out(|part| {
            if part.is_claimed() {
                return None;
            }
            if part.keys.iter().any(|key| locked.contains(key)) {
                return Some(Fate::Alone);
            }
            let stale = part.keys.iter().filter_map(|key| claimed.get(key)).find(|row| row.fence > part.fence());
            stale.map(|row| Fate::Stale { key: row.record.key, stored: row.fence })
        });
        Ok(claimed)
    }

    /// Those of these rows that are there and were not claimed: somebody else has them.
    async fn locked(
        &self,
        transaction: &mut dyn Transaction,
        keys: &[StockKey],
        claimed: &HashMap<StockKey, StockRow>,
    ) -> Result<HashSet<StockKey>, StoreError> {
        let missing: Vec<_> = keys.iter().filter(|key| !claimed.contains_key(key)).copied().collect();
        if self.waits || missing.is_empty() {
            return Ok(HashSet::new());
        }
        let there = transaction.peek(&missing).await?;
        if !there.is_empty() {
            self.counters.neighbours.seen();
        }
        Ok(there.into_iter().map(|row| row.record.key).collect())
    }

    /// Takes out the parts that have met their fate; whether there were any.
    fn take_out(&mut self, fate: impl Fn(&Part) -> Option<Fate>) -> bool {
        let before = self.fates.len();
        for part in std::mem::take(&mut self.parts) {
            match fate(&part) {
                Some(fate) => self.fates.push((part, fate)),
                None => self.parts.push(part),
            }
        }
        self.fates.len() > before
    }

    /// Applies all requests to the rows, in memory.
    async fn apply(
        &self,
        transaction: &mut dyn Transaction,
        claimed: &HashMap<StockKey, StockRow>,
    ) -> Result<(Workbench, Vec<Vec<Result<Answer, Rejection>>>), Trouble> {
        let mut found = Found::default();
        if self.look_first {
            found.known = self.look(transaction).await?;
            if !found.known.is_empty() {
                self.counters.repeats.seen();
            }
        }
        let places = self.bench(claimed, &Found::default()).needed_holds(self.requests());
        if !places.is_empty() {
            found.holds = transaction.find_holds(&places).await?;
        }
        let (bench, answers) = self.apply_to(self.bench(claimed, &found));
        let is_refused = |answer: &Result<_, _>| !matches!(answer, Ok(_) | Err(Rejection::Conflict { .. }));
        if self.look_first || !answers.iter().flatten().any(is_refused) {
            return Ok((bench, answers));
        }
        // What was carried out before may not be possible now.
        found.known = self.look(transaction).await?;
        Ok(self.apply_to(self.bench(claimed, &found)))
    }

    fn apply_to(&self, mut bench: Workbench) -> (Workbench, Vec<Vec<Result<Answer, Rejection>>>) {
        let answers = self.parts.iter().map(|part| part.jobs.iter().map(|job| bench.apply(&job.request)).collect());
        let answers = answers.collect();
        (bench, answers)
    }

    fn bench(&self, claimed: &HashMap<StockKey, StockRow>, found: &Found) -> Workbench {
        let mut bench = Workbench::new();
        for part in &self.parts {
            rows_of(part, claimed).for_each(|row| bench.put_row(*row, Some(part.fence())));
        }
        found.holds.iter().for_each(|hold| bench.put_hold(hold.clone()));
        bench.put_known(found.known.clone());
        bench
    }

    /// What the log knows of the requests that somebody may have sent before.
    async fn look(&self, transaction: &mut dyn Transaction) -> Result<Vec<LogEntry>, StoreError> {
        let given = self.requests().filter(|request| !request.is_new() || self.is_alone());
        let mut ids: Vec<RequestId> = given.map(|request| request.id().clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() { Ok(Vec::new()) } else { transaction.find_requests(&ids).await }
    }

    fn requests(&self) -> impl Iterator<Item = &crate::request::Identified> {
        self.parts.iter().flat_map(|part| &part.jobs).map(|job| &job.request)
    }
}

/// The rows of a part, from wherever they are known.
fn rows_of<'a>(part: &'a Part, claimed: &'a HashMap<StockKey, StockRow>) -> impl Iterator<Item = &'a StockRow> {
    let new = if part.is_claimed() { &[][..] } else { &part.keys[..] };
    part.rows.iter().chain(new.iter().filter_map(|key| claimed.get(key)))
}
