//! A batch, until it is known what has become of each of its parts.
//!
//! What fails takes nobody else with it: parts whose lease is stale or lost are taken out, parts whose
//! row somebody has locked are carried out alone later, and so are all of them where nobody can tell
//! which one it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Trouble;
use super::counters::{Counters, count};
use super::lanes::all_failed;
use super::part::{Fate, Part};
use crate::error::RepositoryError;
use crate::store::{Store, StoreError};

/// How often somebody may be in the way of a part that is carried out alone.
const ATTEMPTS: u32 = 5;

/// How often, of a batch; after that each part is on its own.
const ATTEMPTS_TOGETHER: u32 = 2;

/// The longest pause before the second attempt; it grows with each.
const PAUSE_MS: u64 = 10;

/// Parts that go into one transaction.
pub(super) struct Run {
    pub(super) store: Arc<dyn Store>,
    pub(super) counters: Arc<Counters>,
    pub(super) parts: Vec<Part>,
    /// Those that are no longer in it.
    pub(super) fates: Vec<(Part, Fate)>,
    /// Whether rows that others have locked are waited for.
    pub(super) alone: bool,
    /// Whether the log is searched for the requests before they are applied.
    pub(super) look_first: bool,
}

impl Run {
    pub(super) fn new(store: Arc<dyn Store>, counters: Arc<Counters>, parts: Vec<Part>, alone: bool) -> Self {
        // A single request is tried first: almost all are new, and the log refuses those that are not.
        let look_first = parts.iter().map(|part| part.jobs.len()).sum::<usize>() > 1;
        Self { store, counters, parts, fates: Vec::new(), alone, look_first }
    }

    /// Carries it out.
    pub(super) async fn finish(mut self) -> Vec<(Part, Fate)> {
        let jobs = self.parts.iter().flat_map(|part| &part.jobs);
        jobs.for_each(|job| self.counters.waits.add_time(job.age()));
        let mut conflicts = 0;
        while !self.parts.is_empty() {
            let began = Instant::now();
            let trouble = match self.attempt().await {
                Ok(done) => {
                    self.counters.commits.add_time(began.elapsed());
                    self.counters.records.add(self.parts.iter().map(|part| part.keys.len()).sum());
                    self.counters.requests.add(self.parts.iter().map(|part| part.jobs.len()).sum());
                    self.done(done);
                    break;
                }
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::TakenOut => {}
                Trouble::Conflict(error) => {
                    count(&self.counters.conflicts);
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

    /// Prepares another attempt, or gives up.
    async fn again(&mut self, conflicts: u32, error: &StoreError) {
        // Whatever was known of the rows may be what was wrong.
        self.parts.iter_mut().for_each(|part| part.rows.clear());
        self.look_first = true;
        match self.alone {
            false if conflicts >= ATTEMPTS_TOGETHER => self.part_ways(),
            true if conflicts >= ATTEMPTS => self.fail_all(error),
            _ => pause(conflicts).await,
        }
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
        if of_one && !self.alone { self.part_ways() } else { self.fail_all(error) }
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
    let pause = rand::random_range(0..=PAUSE_MS * u64::from(attempt));
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
