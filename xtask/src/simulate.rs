//! `cargo xtask simulate`: a seed of the simulation again, with its whole history.

use std::process::ExitCode;

use anyhow::Context;

use crate::command::cargo;

/// What to replay.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The seed, or a range of them (`0..2000`), of which only what was broken is shown.
    #[arg(long, value_name = "N")]
    seed: String,
    /// A bug to plant first: `quorum-over-granted`, `validity-from-reply`, `heal-before-quorum`,
    /// `late-grants-kept`, `hand-over-repeats-token` or `restart-guard-off`.
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

/// Runs the seeds in a process of their own.
///
/// # Errors
///
/// If cargo cannot be started. A broken invariant is no error but the exit code.
pub(crate) fn replay(options: &Options) -> anyhow::Result<ExitCode> {
    let mut command = cargo(&["test", "--quiet", "-p", "testkit", "--no-default-features", "--test", "simulation"]);
    command.args(["--", "replay", "--exact", "--ignored", "--nocapture"]);
    command.env("SIMULATION_SEEDS", &options.seed).env("SIMULATION_BUG", options.bug.as_deref().unwrap_or_default());
    let status = command.status().context("cargo cannot be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
