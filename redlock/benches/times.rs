//! Latencies: recorded one by one, read as percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Ten minutes in nanoseconds; what is longer counts as that.
const LONGEST: u64 = 600 * 1_000_000_000;

/// Recorded durations, to three digits.
pub(crate) struct Times {
    nanos: Histogram<u64>,
}

impl Times {
    pub(crate) fn new() -> Self {
        let nanos = Histogram::new_with_bounds(1, LONGEST, 3).expect("a valid range, and three digits are allowed");
        Self { nanos }
    }

    /// Adds one.
    pub(crate) fn record(&mut self, time: Duration) {
        self.nanos.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The `p`th percentile, in seconds.
    pub(crate) fn percentile(&self, p: f64) -> f64 {
        Duration::from_nanos(self.nanos.value_at_percentile(p)).as_secs_f64()
    }

    /// The longest, in seconds.
    pub(crate) fn max(&self) -> f64 {
        Duration::from_nanos(self.nanos.max()).as_secs_f64()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(all: I) -> Self {
        let mut times = Self::new();
        all.into_iter().for_each(|time| times.record(time));
        times
    }
}
