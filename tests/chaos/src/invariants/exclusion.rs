//! No two guards of one key are valid at the same time. A guard counts as valid up to what its lease last said, also
//! while its process is stopped or dead, unless it was given back before.

use std::collections::BTreeSet;

use crate::clock::seconds;
use crate::record::History;
use crate::record::locks::Section;

/// Pairs of sections of one key that stood at the same time, of those that are chosen: the earlier one first.
pub(crate) fn overlaps(history: &History, chosen: fn(&Section) -> bool) -> Vec<(&Section, &Section)> {
    let sections: Vec<_> = history.locks.sections.iter().filter(|section| chosen(section)).collect();
    let keys: BTreeSet<_> = sections.iter().flat_map(|section| &section.keys).collect();
    let mut found = Vec::new();
    for key in keys {
        // They come in the order in which they were entered, so it is enough to know who stands the longest.
        let mut longest: Option<&Section> = None;
        for &section in sections.iter().filter(|section| section.keys.contains(key)) {
            if let Some(earlier) = longest
                && section.entered < earlier.until
                && section.entered < section.until
            {
                found.push((earlier, section));
            }
            if longest.is_none_or(|earlier| earlier.until < section.until) {
                longest = Some(section);
            }
        }
    }
    found
}

pub(super) fn check(history: &History) -> Vec<String> {
    let tell = |(earlier, later): (&Section, &Section)| {
        let (from, to) = (later.entered, earlier.until.min(later.until));
        format!(
            "{} and {} both hold {:?} at {:.3} s, for {:.3} s",
            earlier.name(),
            later.name(),
            later.keys,
            seconds(history.started, from),
            seconds(from, to)
        )
    };
    // What others' libraries do among themselves is theirs.
    overlaps(history, |section| section.ours).into_iter().map(tell).collect()
}
