//! How long requests took: a histogram that travels as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A minute in microseconds: longer than anything is waited for.
const LONGEST: u64 = 60_000_000;

/// Latencies, to three digits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", from = "Vec<(u64, u64)>")]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are fixed and valid"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST).max(1));
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (micros, count) in other.pairs() {
            self.0.saturating_record_n(micros, count);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// What so many percent of the requests did not exceed, in milliseconds.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        let micros = self.0.value_at_percentile(percent);
        Duration::from_micros(micros).as_secs_f64() * 1e3
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

impl From<Times> for Vec<(u64, u64)> {
    fn from(times: Times) -> Self {
        times.pairs().collect()
    }
}

impl From<Vec<(u64, u64)>> for Times {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut times = Self::new();
        for (micros, count) in pairs {
            times.0.saturating_record_n(micros, count);
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_journey() {
        let mut times = Times::new();
        for millis in 1..=1_000 {
            times.record(Duration::from_millis(millis));
        }
        let text = serde_json::to_string(&times).unwrap();
        let mut twice: Times = serde_json::from_str(&text).unwrap();
        twice.add(&times);
        assert_eq!(twice.count(), 2_000);
        for percent in [50.0, 99.0, 100.0] {
            let (there, here) = (twice.percentile(percent), times.percentile(percent));
            assert!((there / here - 1.0).abs() < 0.01, "{percent} %: {there} and {here}");
        }
    }
}
