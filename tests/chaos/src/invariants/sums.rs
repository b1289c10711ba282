//! The levels of a record are what was put in and what its log did to that: one entry for each version, each beginning
//! where the one before it ended and doing what its operation does, the last one ending at the levels there are. What is
//! on hand is what was put in and added, without what was deducted.

use std::collections::BTreeMap;

use super::levels::apply;
use crate::record::{History, Logged, Stored};

pub(super) fn check(history: &History) -> Vec<String> {
    let mut of_record: BTreeMap<u64, Vec<&Logged>> = BTreeMap::new();
    for entry in &history.logged {
        of_record.entry(entry.variant).or_default().push(entry);
    }
    let entries = |stored: &Stored| of_record.remove(&stored.variant).unwrap_or_default();
    let mut entries = entries;
    let mut broken: Vec<_> = history.stored.iter().flat_map(|stored| check_record(stored, &entries(stored))).collect();
    broken.extend(of_record.into_keys().map(|variant| format!("{variant} has a log and no record")));
    broken
}

fn check_record(stored: &Stored, entries: &[&Logged]) -> Vec<String> {
    let variant = stored.variant;
    let mut broken = Vec::new();
    let (mut version, mut levels) = (0, [stored.opening, 0, 0]);
    for entry in entries {
        if entry.version != version + 1 {
            broken.push(format!("the log of {variant} goes from version {version} to {}", entry.version));
        }
        if entry.before != levels {
            let Logged { version, before, .. } = entry;
            broken
                .push(format!("version {version} of {variant} began with {before:?}, the one before left {levels:?}"));
        }
        if entry.after != apply(entry.before, entry) {
            let Logged { version, action, quantity, before, after, .. } = entry;
            broken.push(format!("version {version} of {variant}, {action} {quantity}, makes {after:?} of {before:?}"));
        }
        (version, levels) = (entry.version, entry.after);
    }
    if (stored.version, stored.levels) != (version, levels) {
        let Stored { version: at, levels: has, .. } = stored;
        broken.push(format!("{variant} is at version {at} with {has:?}, its log at {version} with {levels:?}"));
    }
    let (has, due) = (stored.levels.iter().sum::<i64>(), on_hand(stored.opening, entries));
    if has != due {
        broken.push(format!("{variant} has {has} units on hand, and by its log {due} are due"));
    }
    broken
}

/// What is on hand after `entries`, whatever became of the levels between them.
fn on_hand(opening: i64, entries: &[&Logged]) -> i64 {
    entries.iter().fold(opening, |stock, entry| match entry.action.as_str() {
        "add" => stock + entry.quantity,
        "deduct" => stock - entry.quantity,
        "reset" => entry.quantity,
        _ => stock,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u64, action: &str, quantity: i64, before: [i64; 3], after: [i64; 3]) -> Logged {
        let (action, request_id) = (action.to_owned(), String::new());
        Logged {
            variant: 1,
            request_id,
            position: 0,
            action,
            quantity,
            before,
            after,
            fence: None,
            version,
            order: None,
            expires_in: None,
            at: 0,
        }
    }

    fn broken(entries: &[Logged]) -> Vec<String> {
        let (version, levels) = entries.last().map_or((0, [50, 0, 0]), |last| (last.version, last.after));
        check_record(&Stored { variant: 1, version, opening: 50, levels }, &entries.iter().collect::<Vec<_>>())
    }

    #[test]
    fn entries_that_do_what_they_say_hold() {
        let entries = [entry(1, "lock", 2, [50, 0, 0], [48, 2, 0]), entry(2, "add", 3, [48, 2, 0], [51, 2, 0])];
        assert_eq!(broken(&entries), [""; 0]);
    }

    #[test]
    fn a_lock_of_one_that_moves_two_is_broken() {
        assert_eq!(
            broken(&[entry(1, "lock", 1, [50, 0, 0], [48, 2, 0])]),
            ["version 1 of 1, lock 1, makes [48, 2, 0] of [50, 0, 0]"]
        );
    }

    #[test]
    fn units_that_nobody_put_in_are_broken() {
        let told = broken(&[entry(1, "add", 1, [50, 0, 0], [53, 0, 0])]);
        assert!(told.contains(&"1 has 53 units on hand, and by its log 51 are due".to_owned()), "{told:?}");
    }
}
