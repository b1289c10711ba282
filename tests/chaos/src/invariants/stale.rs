//! No write under an older token comes after one under a newer one: not in the ledger that the locks protect, and not
//! in the log of a stock record. And none that was accepted is lost: each begins where the one before it ended.

use std::collections::BTreeMap;

use crate::ledger::Accepted;
use crate::record::History;

pub(super) fn check(history: &History) -> Vec<String> {
    let mut broken = of_ledger(history);
    broken.extend(unlisted(history));
    let mut largest: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in &history.logged {
        let Some(fence) = entry.fence else { continue };
        let largest = largest.entry(entry.variant).or_default();
        if fence < *largest {
            let (variant, version) = (entry.variant, entry.version);
            broken.push(format!("version {version} of {variant} was written with {fence}, after {largest}"));
        }
        *largest = fence.max(*largest);
    }
    broken
}

fn of_ledger(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    let mut last: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for Accepted { key, writer, token, value } in &history.writes {
        let (largest, before) = last.get(key.as_str()).copied().unwrap_or_default();
        let token = token.unwrap_or(largest);
        if token < largest {
            broken.push(format!("{writer} wrote {key} with {token}, after {largest}"));
        }
        if *value != before + 1 {
            broken.push(format!("{writer} wrote {value} to {key}, after {before}"));
        }
        last.insert(key, (token.max(largest), *value));
    }
    broken
}

/// A write that was told to be accepted is in the ledger's list.
fn unlisted(history: &History) -> Vec<String> {
    let mut listed: BTreeMap<&str, u64> = BTreeMap::new();
    for write in &history.writes {
        *listed.entry(&write.writer).or_default() += 1;
    }
    let missing = |section: &&crate::record::locks::Section| {
        section.accepted > listed.get(section.name().as_str()).copied().unwrap_or(0)
    };
    let sections = history.locks.sections.iter().filter(missing);
    sections.map(|section| format!("a write of {} was accepted and is not in the ledger", section.name())).collect()
}
