//! `cargo xtask chaos` hands the suite's program what it was told, and ends as that ends. A script stands in for cargo:
//! what the program does itself is tested where it is.

#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs with a cargo that says what it was told, and ends like this.
fn xtask(args: &[&str], status: u8) -> Output {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let script = folder.join(format!("cargo-{}-{status}", std::process::id()));
    fs::write(&script, format!("#!/bin/sh\necho \"cargo $*\"\nexit {status}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).env("CARGO", &script).output().unwrap();
    fs::remove_file(&script).unwrap();
    output
}

#[test]
fn the_list_is_the_programs() {
    let output = xtask(&["chaos", "--list"], 0);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "cargo run --quiet -p chaos -- list\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn it_ends_as_the_program_ends() {
    for status in [1, 2] {
        assert_eq!(xtask(&["chaos", "--list"], status).status.code(), Some(i32::from(status)));
    }
    assert_eq!(xtask(&["chaos"], 0).status.code(), Some(2));
}
