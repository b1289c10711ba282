//! More buyers than a service takes on at once, each asking again as soon as it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::{Nanos, now};
use crate::instance::{Outcome, Part, Question};
use crate::scenario::stock::Counter;

/// How long an answer is waited for; longer than the service itself waits.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long a sample is.
const TICK: Duration = Duration::from_millis(250);

/// Whoever was refused at once asks again after this.
const REFUSED: Duration = Duration::from_millis(50);

/// A quarter of a second of a rush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Nanos,
    pub(super) done: u64,
    pub(super) unknown: u64,
    /// Refused because too many waited already.
    pub(super) overloaded: u64,
    /// Refused for other reasons.
    pub(super) refused: u64,
}

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    unknown: AtomicU64,
    overloaded: AtomicU64,
    refused: AtomicU64,
    over: AtomicBool,
}

impl Counts {
    fn take(&self) -> Sample {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let (done, unknown) = (take(&self.done), take(&self.unknown));
        let (overloaded, refused) = (take(&self.overloaded), take(&self.refused));
        Sample { at: now(), done, unknown, overloaded, refused }
    }
}

/// Rushes until then, and returns when every buyer has had its last answer. Every sample is told.
pub(super) async fn rush(counter: Counter, seed: u64, buyers: usize, until: Instant, tell: impl Fn(Sample)) {
    let counts = Arc::new(Counts::default());
    let mut running = JoinSet::new();
    for number in 0..buyers {
        running.spawn(buy(counter.clone(), counts.clone(), format!("{seed}-{number}")));
    }
    while Instant::now() < until {
        sleep_until((Instant::now() + TICK).min(until)).await;
        tell(counts.take());
    }
    counts.over.store(true, Ordering::Relaxed);
    while running.join_next().await.is_some() {}
    tell(counts.take());
}

async fn buy(counter: Counter, counts: Arc<Counts>, name: String) {
    let mut asked = 0;
    while !counts.over.load(Ordering::Relaxed) {
        asked += 1;
        let question = Question::Change { id: format!("{name}-{asked}"), parts: vec![Part::new(1, "lock", 1)] };
        let answer = counter.ask(question, PATIENCE).await;
        let count = match answer {
            Ok(Outcome::Done { .. }) => &counts.done,
            Ok(Outcome::Refused { code }) if code == "overloaded" => &counts.overloaded,
            Ok(Outcome::Refused { .. }) => &counts.refused,
            Ok(Outcome::Unknown { .. }) | Err(_) => &counts.unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if !std::ptr::eq(count, &raw const counts.done) {
            sleep(REFUSED).await;
        }
    }
}
