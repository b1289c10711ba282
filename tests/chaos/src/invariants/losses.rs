//! What a Redis that forgets its levels takes with it: what had been answered a moment before and was not written back,
//! and nothing else. What is in the log is there once and as it was answered, and what was answered earlier or asked
//! for later is.

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
    // An answer is given at some moment between the two: it may be read long after that.
    once::check_unless(history, |asked, told| {
        forgotten.iter().any(|fault| asked <= fault.to && told >= fault.from.saturating_sub(nanos(BEHIND)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::instance::Part;
    use crate::record::{Asked, Op, Record, Span, Told, Verdict};

    /// How long Redis is away, in milliseconds.
    const AWAY: i64 = 400;

    /// A lock that is not in the log, and was asked for and answered so many milliseconds after Redis died.
    fn lost(asked_for: i64, answered: i64) -> usize {
        let (record, from) = (Record::new(), now());
        let after = |millis: i64| from.saturating_add_signed(millis * 1_000_000);
        let told = Some(Told { at: after(answered), verdict: Verdict::Done { records: Vec::new() } });
        let asked = Asked::Change { id: "a".to_owned(), parts: vec![Part::new(1, "lock", 1)] };
        record.takes(Op { buyer: 0, asked, at: after(asked_for), attempts: 1, told });
        record.fault(Span { name: format!("Redis {FORGOTTEN}"), from, to: after(AWAY) });
        check(&record.finish()).len()
    }

    #[test]
    fn only_what_was_answered_a_moment_before_may_be_lost() {
        assert_eq!((lost(-110, -100), lost(-3_010, -3_000)), (0, 1));
    }

    #[test]
    fn an_answer_may_be_read_when_redis_is_back() {
        assert_eq!(lost(-10, AWAY + 10), 0);
        assert_eq!(lost(AWAY + 10, AWAY + 20), 1, "it was asked for when all was forgotten already");
    }
}
