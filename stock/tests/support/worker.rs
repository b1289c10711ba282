//! A redlock repository in a process of its own, which stops itself (SIGSTOP) at a given moment. The
//! process is the test binary, started again for the test `worker` alone.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redlock::{Redlock, RestartGuard};
use rustix::process::{Pid, Signal, getpid, kill_process};
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, StockRepository, suite};
use stock::request::Change;
use stock::store;
use testkit::RedisServer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Set in the worker's process: the database, the lock nodes, and the bug that is planted, if any.
const DATABASE: &str = "STOCK_WORKER_DATABASE";
const NODES: &str = "STOCK_WORKER_NODES";
const PLANTED: &str = "STOCK_WORKER_PLANTED";

/// What begins the lines that are meant for the test.
const ANSWER: &str = "worker: ";

/// Short, so that a test need not wait long for its end.
pub(crate) const TTL: Duration = Duration::from_secs(2);

/// Locks on these servers, with leases that end soon.
pub(crate) fn short_locks(nodes: &str) -> Redlock {
    let builder = Redlock::builder().nodes(nodes.split(',')).ttl(TTL);
    builder.restart_guard(RestartGuard::Off).build().unwrap()
}

pub(crate) fn urls(nodes: &[RedisServer]) -> String {
    nodes.iter().map(RedisServer::url).collect::<Vec<_>>().join(",")
}

/// A repository as the worker has it.
pub(crate) async fn repository(database: &str, nodes: &str) -> Redlocked {
    let store = store::open_for_leases(&database.parse().unwrap(), TTL).await.unwrap();
    Redlocked::new(store, short_locks(nodes))
}

/// The process as its test sees it; killed when dropped.
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub(crate) async fn start(database: &str, nodes: &str, planted: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker", "--nocapture"]).env(DATABASE, database).env(NODES, nodes);
        planted.iter().for_each(|planted| {
            command.env(PLANTED, planted);
        });
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        let mut worker = Self { child, input, lines };
        assert_eq!(worker.answer().await, "ready");
        worker
    }

    /// Asks it to lock one unit after the other until it was stopped at this moment, but no more than so
    /// many. The answer comes after that.
    pub(crate) async fn lock(&mut self, key: StockKey, at: &str, most: u64) {
        let line = format!("{} {at} {most}\n", key.variant_id);
        self.input.write_all(line.as_bytes()).await.unwrap();
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(&self) {
        let stat = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        let is_stopped = async || {
            let stat = tokio::fs::read_to_string(&stat).await.unwrap();
            stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
        };
        testkit::eventually(Duration::from_secs(20), is_stopped).await;
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// How many units it has locked, all that it was asked for.
    pub(crate) async fn locked(&mut self) -> u64 {
        let answer = tokio::time::timeout(Duration::from_secs(30), self.answer()).await.unwrap();
        answer.parse().unwrap_or_else(|_| panic!("{answer}"))
    }

    async fn answer(&mut self) -> String {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.to_owned();
            }
        }
        panic!("the worker has ended");
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        Pid::from_raw(id).unwrap()
    }
}

/// What the process does, if it is one.
pub(crate) async fn work() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    if let Ok(planted) = std::env::var(PLANTED) {
        fail::cfg(planted, "return").unwrap();
    }
    let repository = repository(&database, &std::env::var(NODES).unwrap()).await;
    println!("{ANSWER}ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<_> = line.split(' ').collect();
        let key = StockKey::new(words[0].parse().unwrap(), 0).unwrap();
        let stopped = stop_once_at(words[1]);
        let (mut locked, most) = (0, words[2].parse::<u64>().unwrap());
        while locked < most && !stopped.load(Ordering::SeqCst) {
            repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
            locked += 1;
        }
        println!("{ANSWER}{locked}");
    }
}

/// Whether it has been stopped at this moment, which happens once.
fn stop_once_at(moment: &str) -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = stopped.clone();
    let stop = move || {
        if !flag.swap(true, Ordering::SeqCst) {
            kill_process(getpid(), Signal::STOP).unwrap();
        }
    };
    fail::cfg_callback(moment, stop).unwrap();
    stopped
}
