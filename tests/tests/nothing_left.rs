//! Nothing is left behind: neither processes nor folders nor containers, however the owner ends.
//!
//! Where the owner ends badly it is a process of its own, `testkit-owner`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use testkit::{RedisServer, SqlServer};

#[tokio::test]
async fn after_a_drop() {
    let redis = RedisServer::start().await.unwrap();
    let paused = RedisServer::start().await.unwrap();
    let sql = SqlServer::start().await.unwrap();
    paused.pause().await.unwrap();
    let left = [redis.port(), paused.port(), sql.port()].map(serving);
    assert!(left.iter().all(Traces::are_there), "{left:?}");
    drop((redis, paused, sql));
    assert!(left.iter().all(Traces::are_gone), "{left:?}");
}

#[test]
fn after_a_panic() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let server = RedisServer::start().await.unwrap();
            sender.send(serving(server.port())).unwrap();
            panic!("meant");
        });
    });
    assert!(panicked.join().is_err());
    assert!(receiver.recv().unwrap().are_gone());
}

#[test]
fn after_the_owner_is_killed() {
    let owner = Owner::start("wait");
    owner.kill();
    owner.leaves_nothing();
}

#[test]
fn after_the_owner_is_interrupted() {
    let owner = Owner::start("wait");
    // As a terminal does it: to everything in the foreground at once.
    kill_process_group(Pid::from_child(&owner.child), Signal::INT).unwrap();
    owner.leaves_nothing();
}

#[test]
fn after_the_owner_aborts() {
    Owner::start("abort").leaves_nothing();
}

#[test]
fn after_the_owner_exits_without_dropping_anything() {
    Owner::start("exit").leaves_nothing();
}

/// The owner may die between starting a server and telling the reaper its id.
#[test]
fn after_the_owner_is_killed_while_it_starts_servers() {
    for delay in (0..40).step_by(4) {
        let owner = Owner::start("storm");
        std::thread::sleep(Duration::from_millis(delay));
        owner.kill();
        owner.leaves_nothing();
    }
}

#[cfg(feature = "containers")]
#[test]
fn container_after_the_owner_is_killed() {
    assert!(testkit::containers_available(), "needs an engine with redis:7 and mysql:9");
    let owner = Owner::start("container");
    let containers = || {
        let mut command = Command::new("docker");
        command.args(["ps", "--all", "--quiet", "--filter", &format!("name=testkit-{}-", owner.child.id())]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(!containers().is_empty());
    owner.kill();
    within_seconds(20, "the container is removed", || containers().is_empty());
}

/// A process that owns servers.
struct Owner {
    child: Child,
    // Where its servers put their folders; nobody else's are in it.
    folder: tempfile::TempDir,
}

impl Owner {
    fn start(ending: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_testkit-owner"))
            .arg(ending)
            .process_group(0)
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap() == "ready"), "the owner did not start");
        Self { child, folder }
    }

    fn kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
    }

    fn leaves_nothing(mut self) {
        self.child.wait().unwrap();
        let folder = self.folder.path().canonicalize().unwrap();
        let left = || {
            let mut left = working_in(&folder);
            left.extend(fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()));
            left
        };
        within_seconds(20, "processes and folders are gone", || left().is_empty());
    }
}

/// What there is to see of a server: its process and its folder.
#[derive(Debug)]
struct Traces {
    process: PathBuf,
    folder: PathBuf,
}

impl Traces {
    fn are_there(&self) -> bool {
        self.process.exists() && self.folder.exists()
    }

    fn are_gone(&self) -> bool {
        !self.process.exists() && !self.folder.exists()
    }
}

/// The traces of the server on this port, which is on its command line.
fn serving(port: u16) -> Traces {
    let (redis, sql) = (format!(":{port}"), format!("--port={port}"));
    let processes = working_in(&std::env::temp_dir().canonicalize().unwrap());
    let ours = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|arg| arg.ends_with(&redis) || arg == sql)
    };
    let process = processes.into_iter().find(ours).expect("a process with this port");
    Traces { folder: fs::read_link(process.join("cwd")).unwrap(), process }
}

/// The processes whose working folder is below this one.
fn working_in(folder: &Path) -> Vec<PathBuf> {
    let works_here = |process: &PathBuf| {
        let works_in = fs::read_link(process.join("cwd")).unwrap_or_default();
        works_in != folder && works_in.starts_with(folder)
    };
    fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(works_here).collect()
}

fn within_seconds(seconds: u64, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
