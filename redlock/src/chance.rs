//! Where randomness comes from: the system, or a seed that replays.

#[cfg(feature = "sim")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(feature = "sim")]
use rand::SeedableRng;
#[cfg(feature = "sim")]
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// A source of randomness for owner values and pauses.
#[derive(Debug)]
pub(crate) enum Chance {
    /// The thread's generator, seeded by the system.
    System,
    /// One generator for the manager, seeded by a test.
    #[cfg(feature = "sim")]
    Seeded(Box<Mutex<StdRng>>),
}

impl Chance {
    /// Everything drawn follows from `seed`.
    #[cfg(feature = "sim")]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// 20 bytes that nobody else draws.
    pub(crate) fn bytes(&self) -> [u8; 20] {
        self.draw(|rng| rng.random())
    }

    /// A time between `least` and `most`.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        self.draw(|rng| rng.random_range(least..=most))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
        match self {
            Self::System => draw(&mut rand::rng()),
            #[cfg(feature = "sim")]
            Self::Seeded(rng) => draw(&mut *rng.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
