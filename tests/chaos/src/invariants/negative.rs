//! No level was ever below zero. The log is done again with arithmetic of its own, because the levels that the program
//! writes cannot be negative even where they are wrong.

use std::collections::BTreeMap;

use super::levels::{Levels, apply};
use crate::record::{History, Logged, Stored};

pub(super) fn check(history: &History) -> Vec<String> {
    let mut of_record: BTreeMap<u64, Vec<&Logged>> = BTreeMap::new();
    for entry in &history.logged {
        of_record.entry(entry.variant).or_default().push(entry);
    }
    let entries = |stored: &Stored| of_record.get(&stored.variant).cloned().unwrap_or_default();
    history.stored.iter().flat_map(|stored| check_record(stored, &entries(stored))).collect()
}

fn check_record(stored: &Stored, entries: &[&Logged]) -> Option<String> {
    let mut levels = [stored.opening, 0, 0];
    let below = |levels: Levels| levels.iter().any(|level| *level < 0);
    for entry in entries {
        levels = apply(levels, entry);
        if below(levels) || below(entry.after) {
            let Logged { variant, version, action, quantity, .. } = entry;
            return Some(format!("version {version} of {variant}, {action} {quantity}, leaves {levels:?}"));
        }
    }
    below(stored.levels).then(|| format!("{} is left with {:?}", stored.variant, stored.levels))
}
