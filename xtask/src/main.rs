//! The project's own commands, run as `cargo xtask …`: what a contributor, and CI, would otherwise have to remember.

mod command;
mod containers;
mod lint;
mod python;
mod setup;
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
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Test(options) => test::run_all(&options),
        Verb::Lint => lint::check_all().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
