//! A batch, until it is known what has become of each of its parts.
//!
//! What fails takes nobody else with it: parts whose lease is stale or lost are taken out, parts whose
//! row somebody has locked are carried out alone later, and so are all of them where nobody can tell
//! which one it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::attempt::{Prepared, Trouble};
use super::counters::Counters;
use super::failpoint;
use super::lanes::all_failed;
use super::part::{Fate, Part};
use crate::error::RepositoryError;
use crate::store::{Store, StoreError};

/// How often at least a part is tried that is carried out alone; and for as long as its requests would have waited for
/// a lease. The server ends the transaction of a process that was stopped within that time.
const ATTEMPTS: u32 = 5;

/// How often, of a batch; after that each part is on its own.
const ATTEMPTS_TOGETHER: u32 = 2;

/// The longest pause before the second attempt; it grows with each.
const PAUSE_MS: u64 = 10;

/// Places for parts that are carried out alone, one for each transaction.
#[derive(Debug)]
pub(super) struct Places {
    /// For those who wait for nobody.
    quick: Semaphore,
    /// For those whose row somebody has: each may wait for a second, and then has to make room for others.
    patient: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self { quick: Semaphore::new(8), patient: Semaphore::new(12) }
    }
}

/// Parts that go into one transaction.
pub(super) struct Run {
    pub(super) store: Arc<dyn Store>,
    pub(super) counters: Arc<Counters>,
    pub(super) parts: Vec<Part>,
    /// Those that are no longer in it.
    pub(super) fates: Vec<(Part, Fate)>,
    /// Where it is a part that is carried out alone.
    places: Option<Arc<Places>>,
    /// Whether rows that others have locked are waited for; alone, after a first look.
    pub(super) waits: bool,
    /// Whether the log is searched for the requests before they are applied.
    pub(super) look_first: bool,
}

impl Run {
    pub(super) fn new(
        store: Arc<dyn Store>,
        counters: Arc<Counters>,
        mut parts: Vec<Part>,
        places: Option<Arc<Places>>,
    ) -> Self {
        parts.iter_mut().flat_map(|part| &mut part.jobs).for_each(|job| job.begun = true);
        parts.iter().filter(|part| part.is_claimed()).for_each(|_| counters.handed_over());
        if counters.neighbours.are_expected() {
            parts.iter_mut().for_each(|part| part.rows.clear());
        }
        let look_first = counters.repeats.are_expected();
        Self { store, counters, parts, fates: Vec::new(), places, waits: false, look_first }
    }

    /// Whether it is a part that is carried out alone, so that nobody else waits for it.
    pub(super) fn is_alone(&self) -> bool {
        self.places.is_some()
    }

    /// Carries it out.
    pub(super) async fn finish(mut self) -> Vec<(Part, Fate)> {
        let mut conflicts = 0;
        while !self.parts.is_empty() {
            failpoint::sulk().await;
            let began = Instant::now();
            let attempted = self.attempt_in_turn().await;
            failpoint::offend(began.elapsed());
            let trouble = match attempted {
                Ok(done) => {
                    self.done(done);
                    break;
                }
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::TakenOut => {}
                Trouble::Conflict(error) => {
                    self.counters.conflicted();
                    conflicts += 1;
                    tracing::debug!(%error, conflicts, parts = self.parts.len(), "trying again");
                    self.again(conflicts, &error).await;
                }
                Trouble::Store(error) => self.fail(&error),
                Trouble::Lost { source, prepared } => self.settle(source, prepared).await,
            }
        }
        self.fates
    }

    async fn attempt_in_turn(&mut self) -> Result<Prepared, Trouble> {
        let places = self.places.clone();
        let _place = match &places {
            None => None,
            // Never closed.
            Some(places) if self.waits => places.patient.acquire().await.ok(),
            Some(places) => places.quick.acquire().await.ok(),
        };
        self.attempt().await
    }

    /// Prepares another attempt, or gives up.
    async fn again(&mut self, conflicts: u32, error: &StoreError) {
        match error {
            StoreError::DuplicateRequest(_) => self.counters.repeats.seen(),
            StoreError::Conflict(_) => self.counters.neighbours.seen(),
            _ => {}
        }
        // Whatever was known of the rows may be what was wrong.
        self.parts.iter_mut().for_each(|part| part.rows.clear());
        self.look_first = true;
        self.waits = self.is_alone();
        match self.is_alone() {
            false if conflicts >= ATTEMPTS_TOGETHER => self.part_ways(),
            true if conflicts >= ATTEMPTS && Instant::now() >= self.until() => self.fail_all(error),
            _ => pause(conflicts).await,
        }
    }

    /// How long the most patient of its requests waits for others.
    fn until(&self) -> Instant {
        let jobs = self.parts.iter().flat_map(|part| &part.jobs);
        jobs.map(|job| job.until).max().unwrap_or_else(Instant::now)
    }

    /// Everybody on its own.
    fn part_ways(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        self.fates.extend(parts.into_iter().map(|mut part| {
            part.rows.clear();
            (part, Fate::Alone)
        }));
    }

    /// The database does not do it; where that may be for the sake of one part, the others go on.
    fn fail(&mut self, error: &StoreError) {
        let of_one = matches!(error, StoreError::Other(_) | StoreError::Damaged { .. });
        if of_one && !self.is_alone() { self.part_ways() } else { self.fail_all(error) }
    }

    fn fail_all(&mut self, error: &StoreError) {
        let parts = std::mem::take(&mut self.parts);
        let failed = parts.into_iter().map(|part| {
            let fate = all_failed(&part, |_| RepositoryError::Store(error.repeat()));
            (part, fate)
        });
        self.fates.extend(failed);
    }
}

pub(super) async fn pause(attempt: u32) {
    let pause = rand::random_range(0..=PAUSE_MS * u64::from(attempt.min(10)));
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
