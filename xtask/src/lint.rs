//! Everything that can be found out without running a test.

use anyhow::Context;

use crate::command::{announce, cargo, run};

/// Feature combinations of the lock crate that people use, beside each crate's defaults.
const COMBINATIONS: [&[&str]; 8] = [
    &["--no-default-features"],
    &["--no-default-features", "--features", "sim"],
    &["--no-default-features", "--features", "metrics"],
    &["--no-default-features", "--features", "redis"],
    &["--no-default-features", "--features", "tls"],
    &["--no-default-features", "--features", "redis,sim"],
    &["--no-default-features", "--features", "cli"],
    &["--all-features"],
];

/// Runs every check, the quick ones first, and stops at the first that fails.
///
/// # Errors
///
/// If a check fails.
pub(crate) fn check_all() -> anyhow::Result<()> {
    announce("formatting");
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    announce("clippy");
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))?;
    announce("documentation");
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    for member in members()? {
        // A workspace build unifies features, which hides those that a crate forgot to ask for.
        announce(&format!("{member} on its own"));
        run(&mut cargo(&["clippy", "-p", &member, "--", "-D", "warnings"]))?;
    }
    for combination in COMBINATIONS {
        announce(&format!("redlock with {}", combination.join(" ")));
        run(cargo(&["clippy", "-p", "redlock"]).args(combination).args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// The names of the workspace's crates.
fn members() -> anyhow::Result<Vec<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    Ok(packages.iter().filter_map(|package| package["name"].as_str()).map(str::to_owned).collect())
}
