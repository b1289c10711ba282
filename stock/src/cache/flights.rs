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

/// A reader on a flight; it may go away in the middle.
struct Aboard<'a> {
    flights: &'a Flights,
    key: StockKey,
    flight: Flight,
}

impl Drop for Aboard<'_> {
    fn drop(&mut self) {
        self.flights.abandon(self.key, &self.flight);
    }
}

/// Flights under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<StockKey, Flight>>);

impl Flights {
    /// What `fetch` finds, of this call or of one under way; `None` if that one failed.
    pub(super) async fn join<F>(&self, key: StockKey, fetch: F) -> Option<Result<Read, RepositoryError>>
    where
        F: Future<Output = Result<Read, RepositoryError>>,
    {
        let aboard = Aboard { flights: self, key, flight: self.flights().entry(key).or_default().clone() };
        let flight = &aboard.flight;
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
        self.leave(key, flight);
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

    /// Forgets a flight that its last reader leaves.
    fn abandon(&self, key: StockKey, flight: &Flight) {
        let mut flights = self.flights();
        let is_it = flights.get(&key).is_some_and(|now| Arc::ptr_eq(now, flight));
        // The map's own, and the one of who leaves.
        if is_it && Arc::strong_count(flight) == 2 {
            flights.remove(&key);
        }
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_goes_away_in_the_middle_leaves_nothing_behind() {
        let (flights, key) = (Flights::default(), StockKey::new(1, 0).unwrap());
        let fetch = || std::future::pending::<Result<Read, RepositoryError>>();
        let mut first = Box::pin(flights.join(key, fetch()));
        let mut second = Box::pin(flights.join(key, fetch()));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(first);
        assert_eq!(flights.flights().len(), 1, "the other one still waits");
        drop(second);
        assert_eq!(flights.flights().len(), 0);
    }
}
