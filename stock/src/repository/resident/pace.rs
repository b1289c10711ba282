//! When the journal is written back: at once; or, where the database may be behind, when what is in it has waited long
//! enough, is much, or is asked for.

use std::time::{Duration, Instant};

use super::link::{Waiting, is_at_most};

/// When one flusher goes to work.
#[derive(Debug)]
pub(super) struct Pace {
    lag: Duration,
    /// How many changes are too many to wait.
    most: u64,
    /// Since when something has been waiting, as far as was seen here.
    since: Option<Instant>,
}

impl Pace {
    /// Changes wait for so long, unless half of those have gathered that may wait at all.
    pub(super) fn new(lag: Duration, backlog: u64) -> Self {
        Self { lag, most: backlog / 2, since: None }
    }

    /// Whether nothing ever waits.
    pub(super) fn is_immediate(&self) -> bool {
        self.lag.is_zero()
    }

    /// Whether it is time to write back what waits.
    pub(super) fn is_due(&mut self, waiting: Option<&Waiting>, now: Instant) -> bool {
        let Some(Waiting { first, changes, wanted }) = waiting else {
            self.since = None;
            return false;
        };
        let since = *self.since.get_or_insert(now);
        let is_wanted = wanted.as_ref().is_some_and(|wanted| is_at_most(first, wanted));
        is_wanted || *changes >= self.most || now.duration_since(since) >= self.lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(first: &str, changes: u64, wanted: Option<&str>) -> Waiting {
        Waiting { first: first.to_owned(), changes, wanted: wanted.map(str::to_owned) }
    }

    #[test]
    fn what_is_old_or_much_or_wanted_is_due() {
        let (lag, began) = (Duration::from_secs(5), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut pace = Pace::new(lag, 100);
        assert!(!pace.is_due(None, began));
        assert!(!pace.is_due(Some(&waiting("7-0", 49, None)), after(1)));
        assert!(!pace.is_due(Some(&waiting("7-0", 49, Some("6-9"))), after(2)), "that has been written back");
        assert!(pace.is_due(Some(&waiting("7-0", 49, Some("7-0"))), after(2)));
        assert!(pace.is_due(Some(&waiting("7-0", 50, None)), after(2)));
        assert!(pace.is_due(Some(&waiting("7-0", 1, None)), after(6)));
        assert!(pace.is_due(Some(&waiting("8-0", 1, None)), after(7)), "it goes on until nothing waits");
        assert!(!pace.is_due(None, after(8)));
        assert!(!pace.is_due(Some(&waiting("9-0", 1, None)), after(9)));
        assert!(pace.is_due(Some(&waiting("9-0", 1, None)), after(14)));
    }

    #[test]
    fn without_a_lag_nothing_waits() {
        let mut pace = Pace::new(Duration::ZERO, 100);
        assert!(pace.is_immediate());
        assert!(pace.is_due(Some(&waiting("7-0", 1, None)), Instant::now()));
    }
}
