//! `chaos run`, `chaos list`, and the children that a run starts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use chaos::{BUGS, Scenario, Settings, client, instance};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "chaos", about = "Faults on real processes, and the invariants that must hold under them")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a scenario, or `all` of them in turn.
    Run(Run),
    /// Say which scenarios there are.
    List,
    #[command(name = client::ROLE, hide = true)]
    Client,
    #[command(name = client::RSLOCK_ROLE, hide = true)]
    ClientRslock,
    #[command(name = instance::ROLE, hide = true)]
    Instance,
}

#[derive(clap::Args)]
struct Run {
    /// A scenario's name, or `all`.
    #[arg(long)]
    scenario: String,
    /// What the plan of faults follows from; raised by one for each round.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long, round after round, each a minute or less, and none shorter than its scenario. Default: one round.
    #[arg(long)]
    minutes: Option<f64>,
    /// Bugs to plant in clients and instances: names of failpoints, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(BUGS))]
    bug: Vec<String>,
    /// Where reports go.
    #[arg(long, default_value = "target/chaos")]
    reports: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    carry_out().await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn carry_out() -> anyhow::Result<ExitCode> {
    match Arguments::parse().verb {
        Verb::Run(run) => return rounds(&run).await,
        Verb::List => {
            chaos::scenarios().iter().for_each(|scenario| println!("{:<18} {}", scenario.name, scenario.about));
        }
        Verb::Client => client::serve().await?,
        Verb::ClientRslock => client::serve_rslock().await?,
        Verb::Instance => instance::serve().await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// After a round that could not be run to its end: whatever is missing must not be asked for without a pause.
const BREATH: Duration = Duration::from_secs(1);

/// Round after round until the time is over; every round is one line, and a failed one its whole summary. To run none is
/// a failure too.
async fn rounds(run: &Run) -> anyhow::Result<ExitCode> {
    let mut chosen = chosen(&run.scenario)?;
    chosen.retain(|scenario| match scenario.available() {
        Ok(()) => true,
        Err(reason) => {
            println!("NOT RUN {}: {reason}", scenario.name);
            false
        }
    });
    let began = Instant::now();
    let until = run.minutes.map(|minutes| end(began, minutes)).transpose()?;
    let (mut failed, mut number) = (0, 0);
    for (round, scenario) in (0..).zip(chosen.iter().cycle()) {
        if until.map_or(number >= chosen.len(), |until| Instant::now() >= until) {
            break;
        }
        number += 1;
        let mut settings = Settings::new(run.seed + round, std::env::current_exe()?, run.reports.clone());
        settings.bug = (!run.bug.is_empty()).then(|| run.bug.join(","));
        settings.length = until.map(|until| scenario.round(until.saturating_duration_since(Instant::now())));
        failed += u32::from(!passes(scenario, &settings).await?);
    }
    println!("{number} rounds in {:.0} s, {failed} failed", began.elapsed().as_secs_f64());
    if number == 0 {
        println!("FAILED: nothing was run, so nothing was shown");
    }
    Ok(if number > 0 && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn end(began: Instant, minutes: f64) -> anyhow::Result<Instant> {
    let length = Duration::try_from_secs_f64(minutes * 60.0).ok();
    length
        .and_then(|length| began.checked_add(length))
        .with_context(|| format!("{minutes} minutes cannot be waited for"))
}

/// One round; one that cannot be run to its end has failed, and those after it are run all the same.
async fn passes(scenario: &Scenario, settings: &Settings) -> anyhow::Result<bool> {
    let report = chaos::run(scenario, settings).await?;
    println!("{report}");
    if !report.is_finished() {
        tokio::time::sleep(BREATH).await;
    }
    Ok(report.passed())
}

fn chosen(name: &str) -> anyhow::Result<Vec<&'static Scenario>> {
    if name == "all" {
        return Ok(chaos::scenarios().iter().collect());
    }
    let known = || chaos::scenarios().iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let found = chaos::find(name);
    Ok(vec![found.ok_or_else(|| anyhow::anyhow!("no scenario `{name}`; there are: all, {}", known()))?])
}
