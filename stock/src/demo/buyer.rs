//! One buyer: puts units into the basket, sometimes puts them back, mostly pays and gets them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::tally::{Outcome, Tally};
use crate::operation::{Operation, Quantity, StockKey};
use crate::repository::StockRepository;
use crate::request::Change;

/// One in so many baskets is put back.
const CHANGES_MIND: u32 = 8;

/// Most units in one basket.
const BASKET: u64 = 3;

/// Pause after a refusal: somebody may put units back.
const AFTER_REFUSAL: Duration = Duration::from_millis(3);

/// Pause after a failure, so that an outage is not met with a storm.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// A buyer, and everything it shares with the others.
#[derive(Debug, Clone)]
pub(super) struct Buyer {
    pub(super) repository: Arc<dyn StockRepository>,
    pub(super) key: StockKey,
    pub(super) tally: Arc<Tally>,
    /// Turns true when the shop closes.
    pub(super) closed: watch::Receiver<bool>,
    /// Told when the last unit has left the shelf.
    pub(super) sold_out: Arc<tokio::sync::Notify>,
}

impl Buyer {
    /// Buys until the shop closes.
    pub(super) async fn rush(self) {
        while !self.is_closed() {
            let units = rand::random_range(1..=BASKET);
            match self.ask(Operation::Lock, units).await {
                Outcome::Done => self.finish(units).await,
                Outcome::Refused => tokio::time::sleep(AFTER_REFUSAL).await,
                _ => tokio::time::sleep(AFTER_FAILURE).await,
            }
        }
    }

    async fn finish(&self, units: u64) {
        if rand::random_ratio(1, CHANGES_MIND) {
            self.insist(Operation::Unlock, units).await;
        } else if self.insist(Operation::Reserve, units).await {
            self.insist(Operation::Deduct, units).await;
        }
    }

    /// Asks again after a failure: the units are this buyer's. Not where the outcome is unknown,
    /// since a step done twice would be another one.
    async fn insist(&self, operation: Operation, units: u64) -> bool {
        loop {
            match self.ask(operation, units).await {
                Outcome::Done => return true,
                Outcome::Refused | Outcome::Unknown(_) => return false,
                Outcome::Failed(_) if self.is_closed() => return false,
                Outcome::Failed(_) => tokio::time::sleep(AFTER_FAILURE).await,
            }
        }
    }

    async fn ask(&self, operation: Operation, units: u64) -> Outcome {
        let Ok(quantity) = Quantity::new(units) else {
            return Outcome::Refused;
        };
        self.tally.asked(operation, units);
        let started = Instant::now();
        let answer = self.repository.change(Change::new(self.key, operation, quantity)).await;
        let outcome = match &answer {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::from(error),
        };
        self.tally.answered(operation, units, outcome, started.elapsed());
        match answer {
            Ok(record) if record.levels.stock() == 0 => self.sold_out.notify_one(),
            Err(error) if !matches!(outcome, Outcome::Refused) => {
                tracing::info!(%error, %operation, "a buyer was turned away");
            }
            _ => {}
        }
        outcome
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}
