//! Scenarios by name: who works, what goes wrong, and what must hold all the same.

mod catalogue;
mod interop;
mod load;
mod locks;
pub(crate) mod stock;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::invariants::Invariant;
use crate::record::Record;
use crate::report::Report;

pub use self::catalogue::scenarios;
use self::interop::InteropStage;
use self::load::LoadStage;
use self::locks::LockStage;
use self::stock::StockStage;

/// A scenario.
pub struct Scenario {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// How long it takes unless somebody says otherwise.
    pub(crate) length: Duration,
    pub(crate) holds: &'static [Invariant],
    pub(crate) stage: Stage,
    /// `Err` with the reason where it cannot run.
    pub(crate) needs: fn() -> Result<(), String>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Who works.
pub(crate) enum Stage {
    Locks(LockStage),
    Stock(StockStage),
    Interop(InteropStage),
    Load(LoadStage),
}

impl Scenario {
    /// Whether it can run here.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn available(&self) -> Result<(), String> {
        (self.needs)()
    }

    /// How long a round is where so much time is left: a minute, which is long enough for a dozen faults and short
    /// enough to keep its record in memory; never less than the scenario needs. Of load all that is left, for a leak
    /// takes time to show, and nothing is recorded but sums. In whole seconds, so that it can be said again.
    #[must_use]
    pub fn round(&self, left: Duration) -> Duration {
        let left = Duration::from_secs((left + Duration::from_millis(500)).as_secs());
        let most = match self.stage {
            Stage::Load(_) => left,
            _ => Duration::from_secs(60),
        };
        left.clamp(self.length, self.length.max(most))
    }
}

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the plan of faults, and what clients do, follows from.
    pub seed: u64,
    /// How long; the scenario's own length unless set.
    pub length: Option<Duration>,
    /// Bugs that are planted in clients and instances: names of failpoints, with commas between them.
    pub bug: Option<String>,
    /// The program `chaos`, which children are.
    pub program: PathBuf,
    /// The folder of reports.
    pub reports: PathBuf,
}

impl Settings {
    /// The seed, the program `chaos` and the folder of reports; no bug, and the scenario's own length.
    #[must_use]
    pub fn new(seed: u64, program: PathBuf, reports: PathBuf) -> Self {
        Self { seed, length: None, bug: None, program, reports }
    }

    /// The command `stock`, built beside the program with bugs that can be planted.
    pub(crate) fn service(&self) -> PathBuf {
        self.program.with_file_name("stock-under-fire")
    }

    /// The command that does the same again.
    #[must_use]
    pub fn replay(&self, scenario: &Scenario) -> String {
        let minutes = self.length.map(|length| format!(" --minutes {:.4}", length.as_secs_f64() / 60.0));
        let bug = self.bug.as_deref().map(|bug| format!(" --bug {bug}"));
        let (minutes, bug) = (minutes.unwrap_or_default(), bug.unwrap_or_default());
        format!("cargo xtask chaos --scenario {} --seed {}{minutes}{bug}", scenario.name, self.seed)
    }
}

/// The scenario of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    scenarios().iter().find(|scenario| scenario.name == name)
}

/// Runs a scenario, checks what must hold, and writes a report. One that cannot be run to its end (a server that does
/// not start, a fault that cannot be done) has a report too, which says why.
///
/// # Errors
///
/// If the report cannot be written.
pub async fn run(scenario: &Scenario, settings: &Settings) -> anyhow::Result<Report> {
    let record = Arc::new(Record::new());
    let length = settings.length.unwrap_or(scenario.length);
    let ran = match &scenario.stage {
        Stage::Locks(stage) => locks::run(stage, settings, length, &record).await,
        Stage::Stock(stage) => stock::run(stage, settings, length, &record).await,
        Stage::Interop(stage) => interop::run(stage, settings, length, &record).await,
        Stage::Load(stage) => load::run(stage, settings, length, &record).await,
    };
    let (report, history) = match ran {
        Ok(history) => (Report::new(scenario, settings, &history), history),
        Err(error) => {
            let history = record.finish();
            (Report::unfinished(scenario, settings, &history, &error), history)
        }
    };
    report.write(&settings.reports, &history)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_a_minute_at_most_but_of_load() {
        let round = |name: &str, left| find(name).unwrap().round(Duration::from_secs(left)).as_secs();
        assert_eq!((round("lock-hung", 600), round("lock-hung", 30), round("lock-hung", 1)), (60, 30, 8));
        assert_eq!((round("load", 600), round("load", 1)), (600, 16));
    }
}
