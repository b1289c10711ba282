//! What locks are used for, in all the ways that the crate offers.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use redlock::{Guard, LockError, LockRequest, LossReason, Redlock, RunError};
use tokio::time::{Instant, sleep, timeout};

use crate::plan::{Plan, millis};
use crate::record::{Record, Section};

/// What can be locked; some share a key.
const RESOURCES: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &["b", "c"]];

/// One task of one manager.
pub(crate) struct Client<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) record: &'a Record,
    pub(crate) redlock: &'a Redlock,
    pub(crate) who: String,
    pub(crate) rng: StdRng,
}

impl Client<'_> {
    /// Uses locks until `end`.
    pub(crate) async fn work(mut self, end: Instant) {
        while Instant::now() < end {
            sleep(millis(self.rng.random_range(1..40))).await;
            // Most want the same.
            let resource = if self.rng.random_bool(0.6) { 0 } else { self.rng.random_range(0..RESOURCES.len()) };
            let once = self.once(RESOURCES[resource]);
            let limit = Duration::from_secs(20);
            if timeout(limit, once).await.is_err() {
                self.record.violated(format!("{} hangs", self.who));
            }
        }
    }

    async fn once(&mut self, keys: &'static [&'static str]) {
        let ttl = self.plan.ttl;
        let most = if self.rng.random_bool(0.5) { 0.1 } else { 1.3 };
        let hold = ttl.mul_f64(self.rng.random_range(0.01..most));
        let wait = ttl.mul_f64(self.rng.random_range(0.1..2.0));
        match self.rng.random_range(0..10) {
            0 => self.hold(keys, self.redlock.try_lock(keys), hold).await,
            1..4 => self.hold(keys, self.redlock.lock(keys).wait(wait), hold).await,
            4..6 => self.hold(keys, self.redlock.lock(keys).wait(wait).renew(false), hold).await,
            6 => self.hold(keys, self.redlock.lock(keys).wait(wait).max_hold(hold / 2), hold).await,
            7 => self.lose_interest(keys, wait, hold).await,
            8 => self.run(keys, wait, hold).await,
            _ => self.extend(keys, wait, hold).await,
        }
    }

    /// Acquires, works for `hold` or until the lease is lost, and lets go in one way or another.
    async fn hold(&mut self, keys: &'static [&'static str], request: LockRequest, hold: Duration) {
        let asked = self.record.asks(self.who.clone(), keys);
        match request.await {
            Ok(guard) => {
                let section = self.record.enters(asked, guard.lease());
                self.inside(&guard, &section, hold).await;
                self.leave(guard, section).await;
            }
            Err(error) => self.refused(&error),
        }
    }

    async fn inside(&self, guard: &Guard, section: &Section<'_>, hold: Duration) {
        if let Ok(reason) = timeout(hold, guard.lost()).await {
            section.note(format!("lost it: {reason}"));
            self.record.met(match reason {
                LossReason::Deadline => "lost by deadline",
                LossReason::Quorum => "lost by quorum",
                LossReason::MaxHold => "lost by max hold",
                _ => "lost by other",
            });
        }
    }

    async fn leave(&mut self, guard: Guard, section: Section<'_>) {
        drop(section);
        match self.rng.random_range(0..3) {
            0 => drop(guard),
            1 => drop(timeout(millis(self.rng.random_range(0..20)), guard.release()).await),
            _ => {
                let released = guard.release().await;
                self.record.note(format!("{} released: {released:?}", self.who));
            }
        }
    }

    /// Drops a request that is under way.
    async fn lose_interest(&mut self, keys: &'static [&'static str], wait: Duration, hold: Duration) {
        let asked = self.record.asks(self.who.clone(), keys);
        let patience = millis(self.rng.random_range(0..80));
        match timeout(patience, self.redlock.lock(keys).wait(wait)).await {
            Ok(Ok(guard)) => {
                let section = self.record.enters(asked, guard.lease());
                self.inside(&guard, &section, hold).await;
                self.leave(guard, section).await;
            }
            Ok(Err(error)) => self.refused(&error),
            Err(_) => {
                self.record.met("dropped request");
                self.record.note(format!("{} lost interest", self.who));
            }
        }
    }

    /// Work under a lock, dropped on loss.
    async fn run(&mut self, keys: &'static [&'static str], wait: Duration, hold: Duration) {
        let record = self.record;
        let asked = record.asks(self.who.clone(), keys);
        let done = self.redlock.lock(keys).wait(wait).run(async |lease| {
            let _section = record.enters(asked, lease);
            sleep(hold).await;
            lease.is_valid()
        });
        match done.await {
            Ok(true) => record.note(format!("{} has run", self.who)),
            Ok(false) => record.violated(format!("{} ran to its end without a lease", self.who)),
            Err(RunError::Lock(error)) => self.refused(&error),
            Err(error) => record.note(format!("{}: {error}", self.who)),
        }
    }

    /// Extends by hand, and works on.
    async fn extend(&mut self, keys: &'static [&'static str], wait: Duration, hold: Duration) {
        let asked = self.record.asks(self.who.clone(), keys);
        let guard = match self.redlock.lock(keys).wait(wait).renew(false).await {
            Ok(guard) => guard,
            Err(error) => return self.refused(&error),
        };
        let section = self.record.enters(asked, guard.lease());
        for part in [0.4, 0.4, 0.2] {
            self.inside(&guard, &section, hold.mul_f64(part)).await;
            let patience = millis(self.rng.random_range(1..300));
            match timeout(patience, guard.extend(self.plan.ttl)).await {
                Ok(Ok(())) => {
                    self.record.met("extension");
                    section.note(format!("extended to {:?}", guard.validity()));
                }
                Ok(Err(error)) => section.note(error),
                Err(_) => section.note("gave up an extension"),
            }
        }
        self.leave(guard, section).await;
    }

    fn refused(&self, error: &LockError) {
        let text = error.to_string();
        self.record.note(format!("{}: {text}", self.who));
        if text.contains("restarted lately") {
            self.record.met("quarantine");
        }
        let last = match error {
            LockError::TimedOut { last, .. } => last,
            other => other,
        };
        if matches!(last, LockError::Contended { .. }) {
            self.record.met("contention");
        }
    }
}
