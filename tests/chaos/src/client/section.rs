//! One critical section, from asking for the lock to leaving.

use std::future::IntoFuture;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use redlock::{Guard, LockError};
use tokio::time::{Instant, sleep, timeout};

use super::{Event, Work, standing_until};
use crate::clock::now;

/// How long a lock is waited for.
const WAIT: Duration = Duration::from_secs(3);

/// How often a lease is looked at that is held for long.
const LOOK: Duration = Duration::from_millis(100);

/// Why there was no lease, where nobody waited for one any more.
const DROPPED: &str = "dropped";

/// What somebody does with a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Short,
    Long,
    ToTheEnd,
    Dropped,
}

/// A critical section.
pub(super) struct Section<'a> {
    work: &'a Work,
    number: u64,
    habit: Habit,
    keys: Vec<String>,
    /// How long it is held, or waited for where the future is dropped.
    time: Duration,
    /// Whether the guard is dropped instead of released.
    drops_guard: bool,
}

impl<'a> Section<'a> {
    pub(super) fn new(work: &'a Work, number: u64, rng: &mut StdRng) -> Self {
        let habits = work.orders.habits;
        let habit = match rng.random_range(0..1_000) {
            n if n < habits.long => Habit::Long,
            n if n < habits.long + habits.to_the_end => Habit::ToTheEnd,
            n if n < habits.long + habits.to_the_end + habits.dropped => Habit::Dropped,
            _ => Habit::Short,
        };
        let all = &work.orders.keys;
        let keys = match rng.random_ratio(habits.several, 1_000) {
            true => all.clone(),
            false => vec![all[rng.random_range(0..all.len())].clone()],
        };
        let time = match habit {
            Habit::Short => rng.random_range(0..8),
            Habit::Long => rng.random_range(work.orders.ttl_ms..work.orders.ttl_ms * 2),
            Habit::ToTheEnd => work.orders.ttl_ms * 2,
            Habit::Dropped => rng.random_range(0..20),
        };
        Self { work, number, habit, keys, time: Duration::from_millis(time), drops_guard: rng.random_bool(0.3) }
    }

    pub(super) async fn run(self) {
        self.tell(Event::Asked { at: now(), section: self.number, keys: self.keys.clone() });
        match self.acquire().await {
            Ok(guard) => self.inside(guard).await,
            Err(why) => self.tell(Event::Refused { at: now(), section: self.number, why }),
        }
    }

    async fn acquire(&self) -> Result<Guard, String> {
        let request = self.work.redlock.lock(self.keys.clone()).wait(WAIT).renew(self.habit != Habit::ToTheEnd);
        if self.habit == Habit::Dropped {
            let outcome = timeout(self.time, request.into_future()).await;
            return outcome.map_err(|_| DROPPED.to_owned())?.map_err(|error| code(&error));
        }
        tokio::select! {
            outcome = request.into_future() => outcome.map_err(|error| code(&error)),
            () = self.work.dropping.notified() => Err(DROPPED.to_owned()),
        }
    }

    async fn inside(&self, guard: Guard) {
        let (at, until) = standing_until(|| guard.validity());
        let token = guard.fence().get();
        self.tell(Event::Entered { at, section: self.number, token: Some(token), until });
        let mut read = Vec::new();
        for key in &self.keys {
            read.push((key, self.work.ledger.claim(key, token).await.ok().flatten()));
        }
        self.hold(&guard).await;
        for (key, value) in read {
            if let Some(value) = value {
                self.write(key, token, value).await;
            }
        }
        self.tell(Event::Left { at: now(), section: self.number });
        if self.drops_guard {
            drop(guard);
        } else {
            let _ = guard.release().await;
        }
    }

    async fn hold(&self, guard: &Guard) {
        let until = Instant::now() + self.time;
        while Instant::now() < until && guard.is_valid() {
            sleep(LOOK.min(until - Instant::now())).await;
            let (at, standing) = standing_until(|| guard.validity());
            if self.time > LOOK && standing > at {
                self.tell(Event::Still { at, section: self.number, until: standing });
            }
        }
    }

    /// Whether or not the lease still stands: the token is to tell.
    async fn write(&self, key: &str, token: u64, read: u64) {
        let writer = format!("{}/{}", self.work.orders.name, self.number);
        if let Ok(accepted) = self.work.ledger.write(key, Some(token), read, &writer).await {
            self.tell(Event::Wrote { at: now(), section: self.number, accepted });
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "an event is told once")]
    fn tell(&self, event: Event) {
        self.work.tell(&event);
    }
}

/// Why there was no lease, in a word.
fn code(error: &LockError) -> String {
    match error {
        LockError::Contended { .. } => "contended".to_owned(),
        LockError::Unavailable { .. } => "unavailable".to_owned(),
        LockError::TimedOut { last, .. } => format!("timed out: {}", code(last)),
        other => other.to_string(),
    }
}
