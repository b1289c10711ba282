//! Work goes on: something was done, and within five seconds after the last fault something is done again. How much, is
//! for the scenarios that measure it.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::{nanos, now, seconds};
use crate::record::{History, Record};

/// How soon after the last fault.
const SOON: Duration = Duration::from_secs(5);

/// How often it is looked at whether something is done again.
const LOOK: Duration = Duration::from_millis(20);

/// Lets everybody work until then; and where nothing has been done since the last fault, until something is, or five
/// seconds are over: a run that ended before that could not tell.
pub(crate) async fn work_until(until: Instant, record: &Record) {
    sleep_until(until).await;
    while record.waits_for_work() && now() <= record.hurt_until() + nanos(SOON) {
        sleep(LOOK).await;
    }
}

pub(super) fn check(history: &History) -> Vec<String> {
    if history.total() == 0 {
        return vec!["nothing was done at all".to_owned()];
    }
    let last = history.faults.iter().map(|fault| fault.to).max().unwrap_or(history.started);
    let soon = last..=last + nanos(SOON);
    if history.done.iter().any(|(at, done)| *done > 0 && soon.contains(at)) {
        return Vec::new();
    }
    vec![format!("nothing was done in the {SOON:?} after the last fault, at {:.1} s", seconds(history.started, last))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Span;

    /// Something is done before a fault and, unless it is `None`, so long after it.
    fn record(again: Option<Duration>) -> Record {
        let record = Record::new();
        let to = now();
        record.counts(to - 1, 1);
        record.fault(Span { name: "a fault".to_owned(), from: to - 1, to });
        again.into_iter().for_each(|after| record.counts(to + nanos(after), 1));
        record
    }

    #[test]
    fn work_that_is_back_in_time_goes_on() {
        assert_eq!(check(&record(Some(Duration::from_secs(4))).finish()), [""; 0]);
    }

    #[test]
    fn a_short_run_in_which_nothing_comes_back_is_broken() {
        assert_eq!(check(&record(None).finish()).len(), 1);
        assert_eq!(check(&record(Some(Duration::from_secs(6))).finish()).len(), 1);
    }
}
