//! The project's own commands, run as `cargo xtask …`: what a contributor, and CI, would otherwise have to remember.

mod chaos;
mod command;
mod containers;
mod lint;
mod python;
mod setup;
mod simulate;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the suites need, then run doc tests and all tests.
    Test(test::Options),
    /// Formatting, clippy, documentation, and every crate and feature combination on its own.
    Lint,
    /// Hurt real processes, by scenario and seed, and check what must hold.
    Chaos(chaos::Options),
    /// Replay seeds of the simulation, with or without a planted bug.
    Simulate(simulate::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Test(options) => test::run_all(&options),
        Verb::Chaos(options) => chaos::run(&options),
        Verb::Simulate(options) => simulate::replay(&options),
        Verb::Lint => lint::check_all().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
