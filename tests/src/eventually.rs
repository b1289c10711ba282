//! Waiting for a condition instead of sleeping and hoping.

use std::panic::Location;
use std::time::{Duration, Instant};

/// How long to wait between two looks; short enough not to show in a test's time.
const PAUSE: Duration = Duration::from_millis(5);

/// Polls `condition` until it holds.
///
/// # Panics
///
/// If it does not hold within the given time; the message names the caller's line.
#[track_caller]
pub fn eventually<C, F>(within: Duration, mut condition: C) -> impl Future<Output = ()>
where
    C: FnMut() -> F,
    F: Future<Output = bool>,
{
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        while !condition().await {
            assert!(started.elapsed() < within, "the condition at {caller} did not come true within {within:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
