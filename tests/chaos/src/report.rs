//! What came of a run: for people (Markdown and a picture) and for programs (JSON).

mod markdown;
mod svg;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use crate::clock::seconds;
use crate::record::{History, Span};
use crate::scenario::{Scenario, Settings};

/// Violations of one invariant that are shown; the others are counted.
const SHOWN: usize = 10;

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    scenario: String,
    about: String,
    seed: u64,
    /// The bug that was planted.
    bug: Option<String>,
    replay: String,
    passed: bool,
    seconds: f64,
    done: u64,
    per_second: f64,
    faults: Vec<Fault>,
    invariants: Vec<Checked>,
    notes: Vec<String>,
}

/// A fault, in seconds from the beginning.
#[derive(Debug, Clone, Serialize)]
struct Fault {
    name: String,
    from: f64,
    to: f64,
}

/// An invariant, and what of it is broken.
#[derive(Debug, Clone, Serialize)]
struct Checked {
    name: &'static str,
    broken: Vec<String>,
}

/// What is called broken where something was seen, while it ran, that must not be.
const ODD: &str = "nothing odd was seen";

/// What is called broken where a run does not come to its end.
const TO_ITS_END: &str = "run to its end";

impl Report {
    /// Of a run that came to its end.
    pub(crate) fn new(scenario: &Scenario, settings: &Settings, history: &History) -> Self {
        let checked = scenario.holds.iter().map(|one| Checked { name: one.name(), broken: one.check(history) });
        let mut invariants: Vec<_> = checked.collect();
        invariants.push(Checked { name: ODD, broken: history.broken.clone() });
        let unhurt = history.faults.is_empty().then(|| "there was none, so nothing was shown".to_owned());
        invariants.push(Checked { name: "faults were done", broken: unhurt.into_iter().collect() });
        Self::of(scenario, settings, history, invariants)
    }

    /// Of a run that did not, and why; what must hold was not checked, for half of a record shows nothing.
    pub(crate) fn unfinished(
        scenario: &Scenario,
        settings: &Settings,
        history: &History,
        error: &anyhow::Error,
    ) -> Self {
        // A process that has ended by itself is why the next fault of it cannot be done.
        let odd = Checked { name: ODD, broken: history.broken.clone() };
        let end = Checked { name: TO_ITS_END, broken: vec![format!("{error:#}")] };
        Self::of(scenario, settings, history, vec![end, odd])
    }

    fn of(scenario: &Scenario, settings: &Settings, history: &History, invariants: Vec<Checked>) -> Self {
        let at = |moment| seconds(history.started, moment);
        let fault = |Span { name, from, to }: &Span| Fault { name: name.clone(), from: at(*from), to: at(*to) };
        let mut faults: Vec<_> = history.faults.iter().map(fault).collect();
        faults.sort_by(|one, other| one.from.total_cmp(&other.from));
        let (seconds, done) = (at(history.ended), history.total());
        Self {
            scenario: scenario.name.to_owned(),
            about: scenario.about.to_owned(),
            seed: settings.seed,
            bug: settings.bug.clone(),
            replay: settings.replay(scenario),
            passed: invariants.iter().all(|invariant| invariant.broken.is_empty()),
            seconds,
            done,
            per_second: u32::try_from(done).map_or(f64::MAX, f64::from) / seconds.max(0.001),
            faults,
            invariants,
            notes: history.notes.clone(),
        }
    }

    /// Whether everything held that must.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Whether it came to its end; what must hold was not checked where it did not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.invariants.iter().all(|invariant| invariant.name != TO_ITS_END)
    }

    /// What was broken, each with the name of its invariant.
    pub fn violations(&self) -> impl Iterator<Item = String> + '_ {
        let broken = |checked: &'_ Checked| {
            let name = checked.name;
            let more = checked.broken.len().saturating_sub(SHOWN);
            let shown = checked.broken.iter().take(SHOWN).map(move |what| format!("{name}: {what}"));
            let rest = (more > 0).then(|| format!("{name}: and {more} more"));
            shown.chain(rest).collect::<Vec<_>>()
        };
        self.invariants.iter().flat_map(broken)
    }

    /// Writes it, as Markdown, JSON and a picture, into a folder of its own. Those of runs that failed are kept; those
    /// of others make room for the next run of the same seed.
    pub(crate) fn write(&self, reports: &Path, history: &History) -> anyhow::Result<()> {
        let folder = self.folder(reports);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        fs::write(folder.join("report.md"), markdown::write(self))?;
        fs::write(folder.join("report.json"), serde_json::to_string_pretty(self)?)?;
        fs::write(folder.join("timeline.svg"), svg::draw(self, history))?;
        if !self.passed() {
            fs::write(folder.join("history.txt"), format!("{history:#?}"))?;
        }
        Ok(())
    }

    fn folder(&self, reports: &Path) -> PathBuf {
        let bug = self.bug.as_deref().map(|bug| format!("-{bug}")).unwrap_or_default();
        let name = format!("{}-{}{bug}", self.scenario, self.seed);
        if self.passed() {
            return reports.join(name);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        reports.join(format!("failed-{name}-{}", since.as_secs()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, seed, seconds, done, per_second, faults, .. } = self;
        let word = if self.passed() { "ok    " } else { "FAILED" };
        let faults = faults.len();
        write!(
            f,
            "{word} {scenario} --seed {seed}: {done} done in {seconds:.1} s ({per_second:.0}/s), {faults} faults"
        )?;
        for note in &self.notes {
            write!(f, "\n         {note}")?;
        }
        for violation in self.violations() {
            write!(f, "\n  BROKEN {violation}")?;
        }
        if !self.passed() {
            write!(f, "\n  again: {}", self.replay)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn a_run_without_a_fault_is_broken() {
        let scenario = crate::find("stock-nodes").unwrap();
        let settings = Settings::new(1, PathBuf::new(), PathBuf::new());
        let record = Record::new();
        record.counts(crate::clock::now(), 1);
        let told =
            |record: &Record| Report::new(scenario, &settings, &record.finish()).violations().collect::<Vec<_>>();
        assert_eq!(told(&record), ["faults were done: there was none, so nothing was shown"]);
        let now = crate::clock::now();
        record.counts(now, 1);
        record.fault(Span { name: "a fault".to_owned(), from: now, to: now });
        assert_eq!(told(&record), [""; 0]);
    }

    #[test]
    fn a_run_that_does_not_come_to_its_end_has_a_report_that_is_kept() {
        let scenario = crate::find("stock-nodes").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(7, PathBuf::new(), folder.path().to_owned());
        let record = Record::new();
        record.broke("client 1 has ended by itself");
        let history = record.finish();
        let report = Report::unfinished(scenario, &settings, &history, &anyhow::anyhow!("a server does not start"));
        report.write(folder.path(), &history).unwrap();
        assert!(!report.passed() && !report.is_finished());
        let kept = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        assert!(kept.file_name().unwrap().to_str().unwrap().starts_with("failed-stock-nodes-7-"), "{kept:?}");
        let page = fs::read_to_string(kept.join("report.md")).unwrap();
        for part in ["a server does not start", "client 1 has ended by itself", &settings.replay(scenario)] {
            assert!(page.contains(part), "{page}");
        }
        let json: serde_json::Value = serde_json::from_slice(&fs::read(kept.join("report.json")).unwrap()).unwrap();
        assert_eq!(json["replay"], settings.replay(scenario));
        assert!(fs::read_to_string(kept.join("timeline.svg")).unwrap().contains("FAILED"));
    }
}
