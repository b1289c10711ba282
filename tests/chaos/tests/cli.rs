//! The program `chaos` as somebody at a terminal has it: what it says, how it ends, and what it leaves.

#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn chaos(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(args);
    command
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// What a command of the task runner gives to the program.
fn replayed(replay: &str, reports: &Path) -> Output {
    let words = replay.strip_prefix("cargo xtask chaos ").unwrap_or_else(|| panic!("{replay}"));
    let words: Vec<_> = words.split(' ').collect();
    chaos(&["run"]).args(words).arg("--reports").arg(reports).output().unwrap()
}

/// The only report there is.
fn kept(reports: &Path) -> (PathBuf, Value) {
    let folders: Vec<_> = fs::read_dir(reports).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    (folder.clone(), serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap())
}

#[test]
fn the_list_names_every_scenario() {
    let output = chaos(&["list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let listed = said(&output);
    for scenario in chaos::scenarios() {
        assert!(listed.lines().any(|line| line.starts_with(&format!("{} ", scenario.name))), "{listed}");
    }
}

#[test]
fn a_scenario_that_there_is_not_is_told_which_there_are() {
    let output = chaos(&["run", "--scenario", "lock-hanged"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = said(&output);
    assert!(said.contains("no scenario `lock-hanged`"), "{said}");
    assert!(chaos::scenarios().iter().all(|scenario| said.contains(scenario.name)), "{said}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (args, part) in [
        (&["run"][..], "--scenario"),
        (&["run", "--scenario", "lock-hung", "--bug", "lock-hanged"], "validity-from-reply"),
        (&["run", "--scenario", "lock-hung", "--seed", "many"], "--seed"),
    ] {
        let output = chaos(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said(&output).contains(part), "{output:?}");
    }
    let output = chaos(&["run", "--scenario", "lock-hung", "--minutes=-1"]).output().unwrap();
    assert_eq!((output.status.code(), said(&output).contains("-1 minutes cannot be waited for")), (Some(1), true));
}

#[test]
fn a_round_whose_servers_do_not_start_is_kept_and_says_why() {
    let (reports, empty) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut command = chaos(&["run", "--scenario", "lock-hung", "--seed", "5", "--reports"]);
    // Neither servers nor an engine are found there.
    let output = command.arg(reports.path()).env("PATH", empty.path()).env("DOCKER_HOST", "unix:///nowhere").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (folder, report) = kept(reports.path());
    assert!(folder.file_name().unwrap().to_str().unwrap().starts_with("failed-lock-hung-5-"), "{folder:?}");
    assert_eq!((&report["passed"], &report["invariants"][0]["name"]), (&Value::from(false), &"run to its end".into()));
    let replay = report["replay"].as_str().unwrap();
    assert_eq!(replay, "cargo xtask chaos --scenario lock-hung --seed 5");
    assert!(said(&output).contains(replay), "{output:?}");
    assert!(fs::read_to_string(folder.join("report.md")).unwrap().contains(replay));
    assert!(folder.join("timeline.svg").exists() && folder.join("history.txt").exists());
}

#[test]
fn a_round_that_fails_is_kept_and_its_command_does_the_same_again() {
    let (reports, again) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let args = ["run", "--scenario", "stock-nodes", "--seed", "3", "--bug", "redlocked-log-shortened", "--reports"];
    let output = chaos(&args).arg(reports.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (_, report) = kept(reports.path());
    let output = replayed(report["replay"].as_str().unwrap(), again.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (_, other) = kept(again.path());
    let faults = |report: &Value| -> Vec<String> {
        let faults = report["faults"].as_array().unwrap();
        faults.iter().map(|fault| fault["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!faults(&report).is_empty());
    let sorted = |report: &Value| {
        let mut names = faults(report);
        names.sort();
        names
    };
    assert_eq!(sorted(&report), sorted(&other));
}

#[test]
fn a_round_that_passes_says_so() {
    let reports = TempDir::new().unwrap();
    let output = chaos(&["run", "--scenario", "lock-hung", "--seed", "2", "--reports"]).arg(reports.path()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let (folder, report) = kept(reports.path());
    assert_eq!((folder.file_name().unwrap().to_str(), &report["passed"]), (Some("lock-hung-2"), &Value::from(true)));
}
