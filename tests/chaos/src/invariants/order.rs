//! What was answered before something else was asked for comes before it in the version order of every record they
//! share; and a look at a record is never older than what had been answered, or seen, before it.

use std::collections::BTreeMap;

use crate::clock::Nanos;
use crate::record::{Asked, History, Verdict};

/// An operation on one record.
struct Step {
    name: String,
    asked: Nanos,
    /// `None` where nobody was told, though the log has it.
    answered: Option<Nanos>,
    version: u64,
    /// A look may see what another one has seen; a change has a version of its own.
    looks: bool,
}

pub(super) fn check(history: &History) -> Vec<String> {
    steps(history).into_iter().flat_map(|(variant, steps)| check_record(variant, steps)).collect()
}

fn steps(history: &History) -> BTreeMap<u64, Vec<Step>> {
    let mut log: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for entry in &history.logged {
        log.entry(&entry.request_id).or_default().push((entry.variant, entry.version));
    }
    let mut steps: BTreeMap<u64, Vec<Step>> = BTreeMap::new();
    for (number, op) in history.ops.iter().enumerate() {
        let done = op.told.as_ref().filter(|told| matches!(told.verdict, Verdict::Done { .. }));
        let answered = done.map(|told| told.at);
        let (name, versions, looks) = match &op.asked {
            Asked::Change { id, .. } => (id.clone(), log.get(id.as_str()).cloned().unwrap_or_default(), false),
            Asked::Read => (format!("look {number}"), seen(done.map(|told| &told.verdict)), true),
        };
        for (variant, version) in versions {
            let step = Step { name: name.clone(), asked: op.at, answered, version, looks };
            steps.entry(variant).or_default().push(step);
        }
    }
    steps
}

fn seen(verdict: Option<&Verdict>) -> Vec<(u64, u64)> {
    match verdict {
        Some(Verdict::Done { records }) => records.iter().map(|levels| (levels.variant, levels.version)).collect(),
        _ => Vec::new(),
    }
}

fn check_record(variant: u64, mut steps: Vec<Step>) -> Option<String> {
    let mut answers: Vec<_> =
        steps.iter().filter_map(|step| Some((step.answered?, step.version, step.name.clone()))).collect();
    answers.sort();
    steps.sort_by_key(|step| step.asked);
    let mut answers = answers.into_iter().peekable();
    let mut newest: Option<(u64, String)> = None;
    for step in steps {
        while let Some((_, version, name)) = answers.next_if(|(at, ..)| *at < step.asked) {
            if newest.as_ref().is_none_or(|(newest, _)| *newest < version) {
                newest = Some((version, name));
            }
        }
        let late = |newest: u64| if step.looks { step.version < newest } else { step.version <= newest };
        if let Some((version, name)) = newest.as_ref().filter(|(newest, _)| late(*newest)) {
            let Step { name: other, version: older, .. } = step;
            return Some(format!(
                "{other} was asked for after {name} had been answered with version {version} of {variant}, and has {older}"
            ));
        }
    }
    None
}
