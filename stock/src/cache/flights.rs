//! One reader goes to fetch what is not at hand, and the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::Read;
use crate::error::RepositoryError;
use crate::operation::StockKey;

/// What came of a flight, for those who waited.
#[derive(Debug, Clone, Copy)]
enum Landing {
    Found(Read),
    NotFound,
    /// Something went wrong. Whoever waited goes by itself, and all of them at once: one after another
    /// they would add up their waiting times.
    Failed,
}

type Flight = Arc<OnceCell<Landing>>;

/// Flights under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<StockKey, Flight>>);

impl Flights {
    /// What `fetch` finds, of this call or of one under way; `None` if that one failed.
    pub(super) async fn join<F>(&self, key: StockKey, fetch: F) -> Option<Result<Read, RepositoryError>>
    where
        F: Future<Output = Result<Read, RepositoryError>>,
    {
        let flight = self.flights().entry(key).or_default().clone();
        let mut own = None;
        // A reader that goes away in the middle hands the flight to one of those who wait.
        let land = async {
            let found = fetch.await;
            let landing = match &found {
                Ok(read) => Landing::Found(*read),
                Err(RepositoryError::NotFound { .. }) => Landing::NotFound,
                Err(_) => Landing::Failed,
            };
            own = Some(found);
            landing
        };
        let landing = *flight.get_or_init(|| land).await;
        self.leave(key, &flight);
        if own.is_some() {
            return own;
        }
        match landing {
            Landing::Found(read) => Some(Ok(read)),
            Landing::NotFound => Some(Err(RepositoryError::NotFound { key })),
            Landing::Failed => None,
        }
    }

    /// Whoever comes from now on waits for nothing that began before.
    pub(super) fn cut(&self, key: StockKey) {
        self.flights().remove(&key);
    }

    fn leave(&self, key: StockKey, flight: &Flight) {
        let mut flights = self.flights();
        if flights.get(&key).is_some_and(|now| Arc::ptr_eq(now, flight)) {
            flights.remove(&key);
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<StockKey, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
