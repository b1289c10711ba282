//! Every operation that was answered is in the log exactly once, as it was answered; one that was refused is not there;
//! one whose outcome is unknown is there once or not at all, and wholly; and nothing is there that nobody asked for.

use std::collections::BTreeMap;

use crate::clock::Nanos;
use crate::instance::{Levels, Part};
use crate::record::{Asked, History, Logged, Op, Verdict};

/// How the ids of requests begin that end a hold.
pub(super) const EXPIRY: &str = "expire:";

pub(super) fn check(history: &History) -> Vec<String> {
    check_unless(history, |_, _| false)
}

/// The same where entries may be missing, by when their operation was asked for and when it was answered.
pub(super) fn check_unless(history: &History, may_be_lost: impl Fn(Nanos, Nanos) -> bool) -> Vec<String> {
    let mut log: BTreeMap<&str, Vec<&Logged>> = BTreeMap::new();
    for entry in &history.logged {
        log.entry(&entry.request_id).or_default().push(entry);
    }
    let mut broken = Vec::new();
    for op in &history.ops {
        let Asked::Change { id, parts } = &op.asked else { continue };
        let mut entries = log.remove(id.as_str()).unwrap_or_default();
        entries.sort_by_key(|entry| entry.position);
        if entries.is_empty() && op.told.as_ref().is_some_and(|told| may_be_lost(op.at, told.at)) {
            continue;
        }
        broken.extend(wrong(op, parts, &entries).map(|what| format!("{id}: {what}")));
    }
    // Holds end by themselves; which, and when, is looked at elsewhere.
    let nobodys = log.into_keys().filter(|id| !id.starts_with(EXPIRY));
    broken.extend(nobodys.map(|id| format!("{id} is in the log, and nobody asked for it")));
    broken
}

fn wrong(op: &Op, parts: &[Part], entries: &[&Logged]) -> Option<String> {
    let whole = entries.len() == parts.len() && entries.iter().zip(parts).enumerate().all(is_part);
    match op.told.as_ref().map(|told| &told.verdict) {
        Some(Verdict::Done { .. }) if !whole => {
            Some(format!("answered, and {} of {} parts are in the log", entries.len(), parts.len()))
        }
        Some(Verdict::Done { records })
            if records.len() != entries.len() || !entries.iter().zip(records).all(is_as_told) =>
        {
            Some("answered with other levels than the log has".to_owned())
        }
        Some(Verdict::Refused { code }) if !entries.is_empty() => Some(format!("refused ({code}), and in the log")),
        _ if !entries.is_empty() && !whole => {
            Some(format!("unknown, and {} of {} parts are in the log", entries.len(), parts.len()))
        }
        _ => None,
    }
}

fn is_part((position, (entry, part)): (usize, (&&Logged, &Part))) -> bool {
    entry.position == position
        && entry.variant == part.variant
        && entry.action == part.operation
        && u64::try_from(entry.quantity) == Ok(part.quantity)
}

fn is_as_told((entry, told): (&&Logged, &Levels)) -> bool {
    let levels = [told.available, told.locked, told.reserved];
    entry.version == told.version && entry.after.iter().zip(levels).all(|(had, told)| u64::try_from(*had) == Ok(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Told;

    /// What is wrong with a lock of one unit, in the log, that was answered with these records.
    fn wrong_with(records: Vec<Levels>) -> Option<String> {
        let parts = vec![Part::new(1, "lock", 1)];
        let entry = Logged {
            variant: 1,
            request_id: "a".to_owned(),
            position: 0,
            action: "lock".to_owned(),
            quantity: 1,
            before: [50, 0, 0],
            after: [49, 1, 0],
            fence: None,
            version: 1,
            order: None,
            expires_in: None,
            at: 0,
        };
        let told = Some(Told { at: 1, verdict: Verdict::Done { records } });
        let asked = Asked::Change { id: "a".to_owned(), parts: parts.clone() };
        wrong(&Op { buyer: 0, asked, at: 0, attempts: 1, told }, &parts, &[&entry])
    }

    #[test]
    fn an_answer_has_a_record_for_each_part() {
        let record = Levels { variant: 1, version: 1, available: 49, locked: 1, reserved: 0 };
        assert_eq!(wrong_with(vec![record]), None);
        assert!(wrong_with(Vec::new()).is_some());
        assert!(wrong_with(vec![record, record]).is_some());
    }
}
