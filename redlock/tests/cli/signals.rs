//! Signals: those for the command, those for a process that still waits, and the terminal's.

use std::process::Stdio;

use rustix::process::Signal;
use testkit::{RedisServer, eventually};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{Notes, SECOND, assert_status, bare, ended, lock_keys, manager, script, send, state};

#[tokio::test]
async fn signals_are_passed_on_to_the_command() {
    let servers = RedisServer::fleet(1).await.unwrap();
    for (name, signal) in [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("TERM", Signal::TERM),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let notes = Notes::new();
        let work = format!("trap 'exit 7' {name}; echo up > {}; while :; do sleep 0.02; done", notes.quoted("up"));
        let child = script(&servers, &[], &work).spawn().unwrap();
        notes.lines("up", 1).await;
        send(&child, signal);
        assert_status(&ended(child).await, 7);
        assert_eq!(lock_keys(&servers).await, [""; 0], "after {name}");
    }
}

#[tokio::test]
async fn a_command_ended_by_a_signal_is_128_and_its_number() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    let work = format!("echo up > {}; exec sleep 300", notes.quoted("up"));
    let child = script(&servers, &[], &work).spawn().unwrap();
    notes.lines("up", 1).await;
    send(&child, Signal::TERM);
    assert_status(&ended(child).await, 143);
    let child = script(&servers, &[], "kill -KILL $$").spawn().unwrap();
    assert_status(&ended(child).await, 137);
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_a_lock_and_leaves_nothing() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let held = manager(&servers).lock("job").await.unwrap();
    let child = script(&servers, &["--wait", "forever"], "true").spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    eventually(10 * SECOND, || async { listens_for(&pid, Signal::TERM) }).await;
    send(&child, Signal::TERM);
    assert_status(&ended(child).await, 143);
    held.release().await.unwrap();
    assert_eq!(lock_keys(&servers).await, [""; 0]);
}

#[tokio::test]
async fn what_is_ignored_stays_ignored() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    let (up, end) = (notes.quoted("up"), notes.quoted("end"));
    let work = format!("echo up > {up}; while [ ! -e {end} ]; do sleep 0.02; done; exit 4");
    let redlock = script(&servers, &[], &work);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(redlock.as_std().get_program());
    command.args(redlock.as_std().get_args()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.envs(redlock.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = command.spawn().unwrap();
    notes.lines("up", 1).await;
    send(&child, Signal::HUP);
    std::fs::write(notes.path("end"), "").unwrap();
    assert_status(&ended(child).await, 4);
}

#[tokio::test]
async fn both_stop_and_both_go_on() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    // No loop of short commands: a shell that is stopped while it starts one does not show it.
    let work = format!("echo $$ > {}; exec sleep 300", notes.quoted("pid"));
    let child = script(&servers, &["--ttl", "60s"], &work).spawn().unwrap();
    let command = notes.lines("pid", 1).await.remove(0);
    let own = child.id().unwrap().to_string();
    send(&child, Signal::TSTP);
    eventually(10 * SECOND, || async { state(&own) == Some('T') && state(&command) == Some('T') }).await;
    send(&child, Signal::CONT);
    eventually(10 * SECOND, || async { state(&own) != Some('T') && state(&command) != Some('T') }).await;
    send(&child, Signal::TERM);
    assert_status(&ended(child).await, 143);
}

/// `script` gives the command a terminal of its own, in whose foreground it runs.
#[tokio::test]
async fn in_a_terminal_the_command_can_be_typed_to_and_gets_one_interrupt() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    let log = notes.quoted("log");
    let work = format!(
        "trap 'echo interrupted >> {log}' INT; read line; echo \"$line\" >> {log}; \
         while [ ! -e {} ]; do sleep 0.02; done; exit 6",
        notes.quoted("end")
    );
    std::fs::write(notes.path("work.sh"), work).unwrap();
    let program = env!("CARGO_BIN_EXE_redlock");
    let redlock = format!("exec '{program}' run -r job -- sh {}", notes.quoted("work.sh"));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &redlock, "/dev/null"]).kill_on_drop(true);
    command.env("REDLOCK_NODES", servers[0].url()).env("REDLOCK_RESTART_GUARD", "off");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(b"typed\n").await.unwrap();
    assert_eq!(notes.lines("log", 1).await, ["typed"]);
    keyboard.write_all(b"\x03").await.unwrap();
    notes.lines("log", 2).await;
    std::fs::write(notes.path("end"), "").unwrap();
    assert_status(&ended(child).await, 6);
    assert_eq!(notes.lines("log", 2).await, ["typed", "interrupted"]);
    drop(keyboard);
}

#[tokio::test]
async fn the_wait_for_nodes_that_are_down_can_be_ended_too() {
    let mut command = bare(&["run", "-r", "job", "--wait", "forever", "--", "true"]);
    let child = command.env("REDLOCK_NODES", "redis://127.0.0.1:1").spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    eventually(10 * SECOND, || async { listens_for(&pid, Signal::INT) }).await;
    send(&child, Signal::INT);
    assert_status(&ended(child).await, 130);
}

/// Whether a process has a handler for `signal`.
fn listens_for(pid: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    caught & (1 << (signal.as_raw() - 1)) != 0
}
