//! Tokens of one key are never given twice, and whoever asks after somebody has come in gets a larger one.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::History;
use crate::record::locks::Section;

pub(super) fn check(history: &History) -> Vec<String> {
    let mut of_key: BTreeMap<&str, Vec<(&Section, u64)>> = BTreeMap::new();
    for section in &history.locks.sections {
        for key in &section.keys {
            of_key.entry(key).or_default().extend(section.token.map(|token| (section, token)));
        }
    }
    of_key.into_iter().flat_map(|(key, holders)| check_key(key, &holders)).collect()
}

/// `holders` are in the order in which they came in.
fn check_key(key: &str, holders: &[(&Section, u64)]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut given = BTreeSet::new();
    for (section, token) in holders {
        if !given.insert(token) {
            broken.push(format!("{} got token {token} of {key}, which somebody has", section.name()));
        }
    }
    let mut asking = holders.to_vec();
    asking.sort_by_key(|(section, _)| section.asked);
    let mut came_in = holders.iter().peekable();
    let mut largest: Option<&(&Section, u64)> = None;
    for (section, token) in asking {
        while let Some(before) = came_in.next_if(|(before, _)| before.entered < section.asked) {
            largest = largest.filter(|largest| largest.1 > before.1).or(Some(before));
        }
        if let Some((before, larger)) = largest.filter(|(_, larger)| *larger >= token) {
            let (late, early) = (section.name(), before.name());
            broken.push(format!("{late} got token {token} of {key} after {early} had come in with {larger}"));
        }
    }
    broken
}
