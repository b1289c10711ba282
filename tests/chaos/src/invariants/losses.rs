//! What a Redis that forgets its levels takes with it: what had been answered a moment before and was not written back,
//! and nothing else. What is in the log is there once and as it was answered, and what was answered earlier or later is.

use std::time::Duration;

use super::once;
use crate::clock::nanos;
use crate::faults::node::FORGOTTEN;
use crate::record::History;

/// How far behind the database may be while nothing is wrong with it.
const BEHIND: Duration = Duration::from_secs(2);

pub(super) fn check(history: &History) -> Vec<String> {
    let forgotten: Vec<_> = history.faults.iter().filter(|fault| fault.name.ends_with(FORGOTTEN)).collect();
    if forgotten.is_empty() {
        return vec!["nothing was forgotten, so nothing was shown".to_owned()];
    }
    once::check_unless(history, |at| {
        forgotten.iter().any(|fault| (fault.from.saturating_sub(nanos(BEHIND))..=fault.to).contains(&at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::instance::Part;
    use crate::record::{Asked, Op, Record, Span, Told, Verdict};

    /// A lock that was answered so long before Redis forgot everything, and is not in the log.
    fn lost(before: Duration) -> usize {
        let (record, from) = (Record::new(), now());
        let told = Some(Told { at: from - nanos(before), verdict: Verdict::Done { records: Vec::new() } });
        let asked = Asked::Change { id: "a".to_owned(), parts: vec![Part::new(1, "lock", 1)] };
        record.takes(Op { buyer: 0, asked, at: 0, attempts: 1, told });
        record.fault(Span { name: format!("Redis {FORGOTTEN}"), from, to: from + 1 });
        check(&record.finish()).len()
    }

    #[test]
    fn only_what_was_answered_a_moment_before_may_be_lost() {
        assert_eq!((lost(Duration::from_millis(100)), lost(Duration::from_secs(3))), (0, 1));
    }
}
