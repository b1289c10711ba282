//! What happened, in order, and whether it may.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redlock::{FencingToken, Lease, SimCounts};
use tokio::time::Instant;

/// What is known of one seed, or of many.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) history: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) met: Met,
}

/// How often something of interest was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// What a run over all seeds must have met.
const WANTED: [&str; 18] = [
    "acquisition",
    "contention",
    "crash",
    "crash that lost all data",
    "debt paid",
    "dropped request",
    "duplicate",
    "expiry",
    "extension",
    "hand-over",
    "heal",
    "late grant",
    "loss",
    "lost by deadline",
    "lost by max hold",
    "lost by quorum",
    "quarantine",
    "write-back",
];

impl Met {
    pub(crate) fn count(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    pub(crate) fn count_node(&mut self, counts: SimCounts) {
        self.count("crash", counts.crashes);
        self.count("debt paid", counts.debts_paid);
        self.count("duplicate", counts.duplicates);
        self.count("expiry", counts.expiries);
        self.count("heal", counts.heals);
        self.count("late grant", counts.late_grants);
        self.count("loss", counts.losses);
        self.count("write-back", counts.write_backs);
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        WANTED.into_iter().filter(|what| self.counts.get(what).is_none_or(|times| *times == 0)).collect()
    }
}

impl Report {
    /// Takes in the report of one more seed.
    pub(crate) fn add(&mut self, of: Self, seed: u64, bug: Option<&str>) {
        if !of.violations.is_empty() {
            let bug = bug.map(|bug| format!(" --bug {bug}")).unwrap_or_default();
            self.violations.extend(of.violations.iter().map(|violation| format!("seed {seed}: {violation}")));
            self.violations.push(format!("replay it: cargo xtask simulate --seed {seed}{bug}"));
        }
        of.met.counts.into_iter().for_each(|(what, times)| self.met.count(what, times));
    }
}

/// The recorder of one world, and its invariants.
#[derive(Debug)]
pub(crate) struct Record {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    report: Report,
    /// Critical sections under way, by number.
    inside: BTreeMap<u64, Inside>,
    last: u64,
    /// Tokens of completed acquisitions, by key.
    tokens: BTreeMap<&'static str, BTreeSet<FencingToken>>,
    /// The claims that leases were held under.
    claims: BTreeSet<String>,
}

#[derive(Debug)]
struct Inside {
    keys: &'static [&'static str],
    lease: Lease,
}

/// A request that was made when these tokens were complete.
pub(crate) struct Asked {
    who: String,
    keys: &'static [&'static str],
    floor: Option<FencingToken>,
}

/// A critical section; it ends with this value.
pub(crate) struct Section<'a> {
    record: &'a Record,
    number: u64,
    who: String,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), state: Mutex::default() }
    }

    pub(crate) fn note(&self, what: impl fmt::Display) {
        let at = self.start.elapsed();
        self.state().report.history.push(format!("{at:>12.3?} {what}"));
    }

    pub(crate) fn met(&self, what: &'static str) {
        self.state().report.met.count(what, 1);
    }

    pub(crate) fn violated(&self, what: impl fmt::Display) {
        self.note(format!("VIOLATED: {what}"));
        let at = self.start.elapsed();
        self.state().report.violations.push(format!("{at:?}: {what}"));
    }

    pub(crate) fn asks(&self, who: String, keys: &'static [&'static str]) -> Asked {
        self.note(format!("{who} asks for {keys:?}"));
        let state = self.state();
        let largest = |key| state.tokens.get(key).and_then(BTreeSet::last);
        let floor = keys.iter().filter_map(largest).max().copied();
        Asked { who, keys, floor }
    }

    /// Checks tokens and exclusion where they could break: when somebody comes in.
    pub(crate) fn enters(&self, asked: Asked, lease: &Lease) -> Section<'_> {
        let Asked { who, keys, floor } = asked;
        let token = lease.fence();
        self.note(format!("{who} has {keys:?} with {token} for {:?}", lease.validity()));
        self.met("acquisition");
        let mut broken = Vec::new();
        let mut state = self.state();
        if floor.is_some_and(|floor| token <= floor) {
            broken.push(format!("{who} got token {token}, but {floor:?} was complete before it asked"));
        }
        for key in keys {
            if !state.tokens.entry(key).or_default().insert(token) {
                broken.push(format!("{who} got token {token} of {key}, which somebody has"));
            }
        }
        for (number, other) in &state.inside {
            let shares = keys.iter().any(|key| other.keys.contains(key));
            if shares && other.lease.is_valid() && lease.is_valid() {
                broken.push(format!("two guards of {keys:?} are valid at the same time: {who}'s and number {number}"));
            }
        }
        // Nodes are asked for each claim once; who has it again was handed it.
        if !state.claims.insert(claim(lease)) {
            state.report.met.count("hand-over", 1);
        }
        state.last += 1;
        let number = state.last;
        state.inside.insert(number, Inside { keys, lease: lease.clone() });
        drop(state);
        broken.into_iter().for_each(|what| self.violated(what));
        Section { record: self, number, who }
    }

    pub(crate) fn finish(self) -> Report {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).report
    }

    pub(crate) fn count(&self, counts: SimCounts) {
        self.state().report.met.count_node(counts);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value under which nodes hold `lease`, which it shows to whoever looks closely.
fn claim(lease: &Lease) -> String {
    let shown = format!("{lease:?}");
    let value = shown.split_once("value: \"").and_then(|(_, rest)| rest.split_once('"'));
    value.unwrap_or_else(|| panic!("{shown}")).0.to_owned()
}

impl Section<'_> {
    pub(crate) fn note(&self, what: impl fmt::Display) {
        self.record.note(format!("{} {what}", self.who));
    }
}

impl Drop for Section<'_> {
    /// The guard must still be there: what comes after the section is not guarded any more.
    fn drop(&mut self) {
        self.record.note(format!("{} leaves number {}", self.who, self.number));
        self.record.state().inside.remove(&self.number);
    }
}
