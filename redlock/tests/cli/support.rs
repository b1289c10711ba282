//! Starting the command, and looking at what it does.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use redlock::{Redlock, RestartGuard};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{RedisServer, eventually};
use tokio::process::{Child, Command};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The command over `servers`, which were started a moment ago and hold nothing.
pub(crate) fn redlock(servers: &[RedisServer], args: &[&str]) -> Command {
    // Patient with nodes, because tests share their cores.
    let (verb, rest) = args.split_at(1);
    let mut command = bare(&[verb, &["--node-timeout", "2s"], rest].concat());
    let urls: Vec<_> = servers.iter().map(RedisServer::url).collect();
    command.env("REDLOCK_NODES", urls.join(",")).env("REDLOCK_RESTART_GUARD", "off");
    command
}

/// The command with nothing set.
pub(crate) fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    command.args(args).env_remove("REDLOCK_NODES").env_remove("REDLOCK_RESTART_GUARD");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// `redlock run` of a shell script under the lock on `job`.
pub(crate) fn script(servers: &[RedisServer], options: &[&str], script: &str) -> Command {
    let mut args = vec!["run", "--resource", "job"];
    args.extend(options);
    args.extend(["--", "sh", "-c", script]);
    redlock(servers, &args)
}

pub(crate) async fn output(mut command: Command) -> Output {
    tokio::time::timeout(60 * SECOND, command.output()).await.expect("it ends within a minute").unwrap()
}

pub(crate) async fn ended(child: Child) -> Output {
    tokio::time::timeout(60 * SECOND, child.wait_with_output()).await.expect("it ends within a minute").unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The status, which must be this one; else everything it printed is told.
#[track_caller]
pub(crate) fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}{}", stdout(output), stderr(output));
}

/// A lock manager of the test's own over the same servers.
pub(crate) fn manager(servers: &[RedisServer]) -> Redlock {
    let builder = Redlock::builder().nodes(servers.iter().map(RedisServer::url));
    builder.node_timeout(2 * SECOND).restart_guard(RestartGuard::Off).build().unwrap()
}

pub(crate) async fn lock_keys(servers: &[RedisServer]) -> Vec<String> {
    let mut keys = Vec::new();
    for server in servers {
        keys.extend(server.keys("*").await);
    }
    keys.retain(|key| !key.starts_with("redlock:fence:"));
    keys
}

/// A folder in which a script leaves notes for the test.
pub(crate) struct Notes(tempfile::TempDir);

impl Notes {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// How a script names a note.
    pub(crate) fn quoted(&self, name: &str) -> String {
        format!("'{}'", self.path(name).display())
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until the note has so many lines.
    pub(crate) async fn lines(&self, name: &str, count: usize) -> Vec<String> {
        eventually(30 * SECOND, || async { self.read(name).lines().count() >= count }).await;
        self.read(name).lines().map(str::to_owned).collect()
    }
}

/// The state letter of a process, as `/proc` has it; nothing if it is gone or a zombie.
pub(crate) fn state(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
    (state != 'Z').then_some(state)
}

/// Sends a signal to a child of ours.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}
