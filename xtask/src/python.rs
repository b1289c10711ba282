//! The Python packages that the suites need, in an environment of their own: locks that are held against ours, and what
//! holds the service against its description.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::command::{announce, run, target};

/// Pinned, so that a run tells about our changes and not about theirs.
const PACKAGES: &str =
    concat!(include_str!("../interop-requirements.txt"), include_str!("../schemathesis-requirements.txt"));

/// The environment's interpreter; the environment is made when it is missing or other packages are wanted.
///
/// # Errors
///
/// If it cannot be made.
pub(crate) fn environment() -> anyhow::Result<PathBuf> {
    announce("Python environment");
    let folder = target().join("interop-venv");
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == PACKAGES) {
        eprintln!("  {} is there", folder.display());
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, PACKAGES).context("cannot write into the new environment")?;
    let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(quiet).arg(&wanted))?;
    // Last, so that an environment that was left half done is made again.
    fs::rename(&wanted, &stamp).context("cannot finish the new environment")?;
    Ok(python)
}
