//! The life of an order: units are locked for a second, paid or not, and shipped or given back.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::instance::Part;

/// How long an order may take to be paid, in seconds.
const TO_PAY: u64 = 1;

/// What is done with it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Lock,
    Pay,
    Ship,
    Refund,
}

/// An order.
#[derive(Debug, Clone)]
pub(super) struct Order {
    name: String,
    variant: u64,
    quantity: u64,
    step: Step,
}

impl Order {
    pub(super) fn new(id: &str, variant: u64, quantity: u64) -> Self {
        Self { name: format!("order-{id}"), variant, quantity, step: Step::Lock }
    }

    /// The change that it is at.
    pub(super) fn step(&self) -> Part {
        let operation = match self.step {
            Step::Lock => "lock",
            Step::Pay => "reserve",
            Step::Ship => "deduct",
            Step::Refund => "release",
        };
        let expires_in = (self.step == Step::Lock).then_some(TO_PAY);
        Part { order: Some(self.name.clone()), expires_in, ..Part::new(self.variant, operation, self.quantity) }
    }

    /// What comes after that, if anything: a third is never paid.
    pub(super) fn next(self, rng: &mut StdRng) -> Option<Self> {
        let step = match self.step {
            Step::Lock if rng.random_ratio(2, 3) => Step::Pay,
            // Most is given back, so that there is something to order.
            Step::Pay => {
                if rng.random_ratio(1, 8) {
                    Step::Ship
                } else {
                    Step::Refund
                }
            }
            _ => return None,
        };
        Some(Self { step, ..self })
    }

    /// How long it takes until then: to pay, about as long as there is time.
    pub(super) fn pause(&self, rng: &mut StdRng) -> Duration {
        let most = if self.step == Step::Pay { TO_PAY * 1_500 } else { 100 };
        Duration::from_millis(rng.random_range(0..most))
    }
}
