//! `cargo xtask chaos`: scenarios on real processes, by name and seed, once or for an hour.

use std::process::ExitCode;

use anyhow::Context;

use crate::command::{cargo, run as run_to_its_end, target};
use crate::{containers, python, setup};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Say which scenarios there are, and run none.
    #[arg(long)]
    list: bool,
    /// A scenario's name, or `all` of them in turn.
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    scenario: Option<String>,
    /// What the plan of faults follows from; raised by one for each round.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// For how long, round after round; one round of each unless set.
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Bugs to plant in clients and instances: names of failpoints, separated by commas.
    #[arg(long, value_name = "NAMES")]
    bug: Option<String>,
}

/// Installs what is missing and runs the suite's own program.
///
/// # Errors
///
/// If something cannot be installed or built. A broken invariant is no error but the exit code.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut command = cargo(&["run", "--quiet", "-p", "chaos", "--"]);
    command.args(options.arguments());
    if !options.list {
        setup::packages(containers::check().is_ok())?;
        command.env("TESTKIT_PYTHON", python::environment()?).arg("--reports").arg(target().join("chaos"));
        // Beside the program, what it starts: the command `stock` with the bugs that can be planted.
        run_to_its_end(&mut cargo(&["build", "--quiet", "-p", "chaos", "--bins"]))?;
    }
    let status = command.status().context("cargo cannot be started")?;
    // Ended by a signal, it has no code; that is a failure too.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

impl Options {
    /// What the suite's own program is told.
    fn arguments(&self) -> Vec<String> {
        let Some(scenario) = self.scenario.as_ref().filter(|_| !self.list) else { return vec!["list".to_owned()] };
        let mut arguments: Vec<_> = ["run", "--scenario", scenario, "--seed"].map(str::to_owned).into();
        arguments.push(self.seed.to_string());
        arguments.extend(self.minutes.map(|minutes| format!("--minutes={minutes}")));
        arguments.extend(self.bug.as_ref().map(|bug| format!("--bug={bug}")));
        arguments
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn arguments(line: &str) -> Result<Vec<String>, clap::error::ErrorKind> {
        let parsed = Line::try_parse_from(line.split(' '));
        parsed.map(|line| line.options.arguments()).map_err(|error| error.kind())
    }

    #[test]
    fn what_a_report_says_is_what_the_program_is_told() {
        let said = arguments("chaos --scenario lock-slow --seed 7 --minutes 0.5 --bug validity-from-reply").unwrap();
        let told = ["run", "--scenario", "lock-slow", "--seed", "7", "--minutes=0.5", "--bug=validity-from-reply"];
        assert_eq!(said, told);
        assert_eq!(arguments("chaos --scenario load").unwrap(), ["run", "--scenario", "load", "--seed", "1"]);
        assert_eq!(arguments("chaos --list").unwrap(), ["list"]);
        assert_eq!(arguments("chaos --list --scenario load").unwrap(), ["list"]);
    }

    #[test]
    fn to_say_nothing_is_an_error() {
        assert_eq!(arguments("chaos"), Err(clap::error::ErrorKind::MissingRequiredArgument));
        assert_eq!(arguments("chaos --scenario load --seed many"), Err(clap::error::ErrorKind::ValueValidation));
    }
}
