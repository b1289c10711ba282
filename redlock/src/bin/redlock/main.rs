//! The command `redlock`: locks for shells and cron, and a look at the nodes from outside.
//!
//! It is a user of the library like any other and has nothing of its own but what a process needs:
//! options, exit statuses, a child and its signals.

mod child;
mod family;
mod inspect;
mod options;
mod output;
mod preflight;
mod release;
mod run;
mod settings;
mod signals;
mod status;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::options::{Cli, Command};
use crate::output::Output;
use crate::status::{Failure, OK, USAGE};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let output = Output::new(cli.command.json());
    let status = execute(&cli.command, output).unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.status
    });
    ExitCode::from(status)
}

/// One thread: the process that started the child must be there for as long as the child is, and
/// nothing here needs two.
fn execute(command: &Command, output: Output) -> Result<u8, Failure> {
    if let Command::Completions { shell } = command {
        clap_complete::generate(*shell, &mut Cli::command(), "redlock", &mut output.stdout());
        return Ok(OK);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::system("the process cannot be set up", &error))?;
    runtime.block_on(async {
        match command {
            Command::Run(options) => run::run(options, output).await,
            Command::Inspect(options) => inspect::inspect(options, output).await,
            Command::Release(options) => release::release(options, output).await,
            Command::Preflight(options) => preflight::preflight(options, output).await,
            Command::Completions { .. } => Ok(OK),
        }
    })
}

/// Help and version are no errors; anything else is `EX_USAGE`, not clap's 2, which a command run
/// under the lock may well answer itself.
fn misused(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // What comes after `--` belongs to the command that would have been run.
    let mut ours = std::env::args_os().take_while(|word| word != "--");
    if ours.any(|word| word == "--json") {
        let message = error.to_string();
        Output::new(true).failure(&Failure::usage(message.trim_start_matches("error: ").trim_end()));
    } else {
        let _ = error.print();
    }
    ExitCode::from(USAGE)
}
