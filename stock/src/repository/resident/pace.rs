//! When the journal is written back: at once; or, where the database may be behind, when what is in it has waited long
//! enough, is much, or is asked for.

use std::time::{Duration, Instant};

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

    /// Whether it is time to write back the changes that wait, of which there are so many.
    pub(super) fn is_due(&mut self, changes: u64, is_asked: bool, now: Instant) -> bool {
        if changes == 0 {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        is_asked || changes >= self.most || now.duration_since(since) >= self.lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_or_much_or_asked_for_is_due() {
        let (lag, began) = (Duration::from_secs(5), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut pace = Pace::new(lag, 100);
        assert!(!pace.is_due(0, true, began));
        assert!(!pace.is_due(49, false, after(1)));
        assert!(pace.is_due(49, true, after(2)));
        assert!(pace.is_due(50, false, after(2)));
        assert!(!pace.is_due(1, false, after(5)));
        assert!(pace.is_due(1, false, after(6)));
        assert!(pace.is_due(1, false, after(7)), "it goes on until nothing waits");
        assert!(!pace.is_due(0, false, after(8)));
        assert!(!pace.is_due(1, false, after(9)));
        assert!(pace.is_due(1, false, after(14)));
    }

    #[test]
    fn without_a_lag_nothing_waits() {
        let mut pace = Pace::new(Duration::ZERO, 100);
        assert!(pace.is_immediate());
        assert!(pace.is_due(1, false, Instant::now()));
    }
}
