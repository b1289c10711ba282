//! A buyer: asks, and asks again under the same id where it was not told, wherever somebody answers.

mod order;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use self::order::Order;
use super::{Counter, StockStage, Work};
use crate::clock::now;
use crate::instance::{Outcome, Part, Question};
use crate::record::{Asked, Op, Record, Told, Verdict};

/// How long a buyer waits for one answer.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long a buyer goes on to ask for an answer that it was not given.
const PERSISTENCE: Duration = Duration::from_secs(20);

/// Operations of an order's life, each as often as it stands here.
const OPERATIONS: [&str; 12] =
    ["lock", "lock", "lock", "lock", "lock", "unlock", "reserve", "reserve", "release", "deduct", "add", "add"];

/// Refusals that another instance, or a moment later, may not repeat; nothing was done.
const PASSING: [&str; 7] = [
    "lock_contended",
    "locks_unavailable",
    "lease_lost",
    "stale_fence",
    "overloaded",
    "store_unavailable",
    "store_conflict",
];

/// A buyer.
pub(super) struct Buyer {
    number: u64,
    work: Work,
    records: u64,
    counters: Arc<[Counter]>,
    record: Arc<Record>,
    over: Arc<AtomicBool>,
    rng: StdRng,
    /// What it is at, where it works on orders.
    order: Option<Order>,
    asked: u64,
    seed: u64,
}

impl Buyer {
    pub(super) fn new(
        number: u64,
        stage: &StockStage,
        seed: u64,
        counters: Arc<[Counter]>,
        record: Arc<Record>,
        over: Arc<AtomicBool>,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(10_000).wrapping_add(number));
        Self {
            number,
            work: stage.work,
            records: stage.records,
            counters,
            record,
            over,
            rng,
            order: None,
            asked: 0,
            seed,
        }
    }

    pub(super) async fn rush(mut self) {
        while !self.over.load(Ordering::Relaxed) {
            let asked = self.choose();
            let op = self.carry_through(asked).await;
            if self.work == Work::Orders {
                self.goes_on(&op).await;
            }
            self.record.takes(op);
            sleep(Duration::from_millis(self.rng.random_range(0..6))).await;
        }
    }

    fn choose(&mut self) -> Question {
        self.asked += 1;
        let id = format!("{}-{}-{}", self.seed, self.number, self.asked);
        if self.work == Work::Lock {
            return Question::Change { id, parts: vec![Part::new(1, "lock", 1)] };
        }
        let variant = self.rng.random_range(1..=self.records);
        if self.work == Work::Orders {
            let order = self.order.get_or_insert_with(|| Order::new(&id, variant, self.rng.random_range(1..=3)));
            return Question::Change { id, parts: vec![order.step()] };
        }
        match self.rng.random_range(0..10) {
            0 if self.work == Work::Everything => Question::Read { variant },
            1 if self.records > 1 => {
                let other = variant % self.records + 1;
                let quantity = self.rng.random_range(1..=3);
                Question::Change { id, parts: vec![Part::new(variant, "lock", quantity), Part::new(other, "lock", 1)] }
            }
            _ => {
                let operation = OPERATIONS[self.rng.random_range(0..OPERATIONS.len())];
                let quantity = self.rng.random_range(1..=3);
                Question::Change { id, parts: vec![Part::new(variant, operation, quantity)] }
            }
        }
    }

    /// What is done next with the order, and when: some are paid in time, some too late or never.
    async fn goes_on(&mut self, op: &Op) {
        let is_done = op.told.as_ref().is_some_and(|told| matches!(told.verdict, Verdict::Done { .. }));
        let order = self.order.take().filter(|_| is_done);
        self.order = order.and_then(|order| order.next(&mut self.rng));
        if let Some(order) = &self.order {
            sleep(order.pause(&mut self.rng)).await;
        }
    }

    /// Asks until there is an answer, or no point in asking.
    async fn carry_through(&mut self, question: Question) -> Op {
        let at = now();
        let until = Instant::now() + PERSISTENCE;
        let mut attempts = 0;
        let verdict = loop {
            attempts += 1;
            let counter = &self.counters[self.rng.random_range(0..self.counters.len())];
            let answer = counter.ask(question.clone(), PATIENCE).await;
            match answer {
                Ok(Outcome::Done { records }) => break Some(Verdict::Done { records }),
                Ok(Outcome::Refused { code }) if attempts == 1 => break Some(Verdict::Refused { code }),
                // An earlier attempt may lie in the queue of somebody who sleeps.
                Ok(Outcome::Refused { code }) if !PASSING.contains(&code.as_str()) => break Some(Verdict::Unknown),
                _ if Instant::now() > until => break Some(Verdict::Unknown),
                _ => {}
            }
            sleep(Duration::from_millis(self.rng.random_range(20..150))).await;
        };
        let told = verdict.map(|verdict| Told { at: now(), verdict });
        let asked = match question {
            Question::Change { id, parts } => Asked::Change { id, parts },
            _ => Asked::Read,
        };
        Op { buyer: self.number, asked, at, attempts, told }
    }
}
