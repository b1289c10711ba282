//! `cargo xtask test`: everything that can run here, and a clear word about what cannot.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::command::{announce, cargo, run};
use crate::{containers, python, setup};

/// What to run, and what must not be left out.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fail where this cannot run, instead of saying so.
    #[arg(long, value_enum)]
    require: Vec<Requirement>,
    /// For the runner, such as a part of a test's name.
    #[arg(last = true)]
    runner: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Requirement {
    /// The suites that run servers in containers.
    Containers,
}

/// Installs what is needed and runs everything; the runner comes last, so that its summary closes the output.
///
/// # Errors
///
/// If something cannot be installed, or doc tests fail. Failed tests are no error but the exit code.
pub(crate) fn run_all(options: &Options) -> anyhow::Result<ExitCode> {
    announce("containers");
    let containers = containers::check();
    match &containers {
        Ok(()) => eprintln!("  an engine answers and has the images"),
        Err(reason) if options.require.contains(&Requirement::Containers) => {
            bail!("the container suites are required and cannot run: {reason}")
        }
        Err(reason) => eprintln!("  the container suites will not run: {reason}"),
    }
    setup::packages(containers.is_ok())?;
    setup::nextest()?;
    let python = python::environment()?;

    announce("doc tests");
    run(&mut cargo(&["test", "--workspace", "--doc", "--all-features"]))?;
    announce("tests");
    let status = match containers {
        Ok(()) => runner(&python, "default", &options.runner).status()?,
        Err(reason) => without_containers(&python, options, &reason)?,
    };
    // Told by a signal, the runner has no code; that is a failure too.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn runner(python: &Path, profile: &str, extra: &[String]) -> Command {
    let mut command = cargo(&["nextest", "run", "--workspace", "--all-features", "--profile", profile]);
    command.args(extra).env("TESTKIT_PYTHON", python);
    command
}

/// Runs the rest, and puts what did not run where it is read: right above the runner's summary.
fn without_containers(python: &Path, options: &Options, reason: &str) -> anyhow::Result<ExitStatus> {
    let left_out = container_tests()?;
    let mut command = runner(python, "without-containers", &[]);
    if std::io::stderr().is_terminal() {
        command.arg("--color=always");
    }
    let mut child = command.args(&options.runner).stderr(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stderr.take().context("the runner's output")?).lines();
    for line in lines {
        let line = line?;
        if line.contains("Summary [") {
            for test in &left_out {
                eprintln!("     NOT RUN {test}: {reason}");
            }
        }
        eprintln!("{line}");
    }
    Ok(child.wait()?)
}

/// The tests that need containers, by their names.
fn container_tests() -> anyhow::Result<Vec<String>> {
    let mut command = cargo(&["nextest", "list", "--workspace", "--all-features", "--message-format", "oneline"]);
    let output = command.args(["-E", "test(/(^|::)container_/)"]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the tests cannot be listed");
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
