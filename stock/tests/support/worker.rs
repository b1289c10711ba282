//! A repository in a process of its own, which stops itself (SIGSTOP) at a given moment. The process is
//! the test binary, started again for the test `worker` alone.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::raise;
use redlock::{Redlock, RestartGuard};
use rustix::process::{Pid, Signal, kill_process};
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository, suite};
use stock::request::{Change, Request};
use stock::store;
use testkit::RedisServer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Set in the worker's process: the database, the lock nodes (none for row locks), and the bug that is planted, if any.
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

/// A redlock repository as the worker has it.
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
    /// With row locks, and what sessions have in production.
    pub(crate) async fn with_row_locks(database: &str) -> Self {
        Self::start(database, "", None).await
    }

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

    /// Asks it to lock one unit of each of these records after the other until it was stopped at this
    /// moment, but no more than so many. The answer comes after that.
    pub(crate) async fn lock(&mut self, keys: &[StockKey], at: &str, most: u64) {
        let variants: Vec<_> = keys.iter().map(|key| key.variant_id.to_string()).collect();
        let line = format!("{} {at} {most}\n", variants.join(","));
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

    /// How many units of each it has locked, all that it was asked for.
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
    let nodes = std::env::var(NODES).unwrap();
    let repository: Arc<dyn StockRepository> = match &*nodes {
        "" => Arc::new(RowLock::new(store::open(&database.parse().unwrap()).await.unwrap())),
        nodes => Arc::new(repository(&database, nodes).await),
    };
    println!("{ANSWER}ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<_> = line.split(' ').collect();
        let keys = words[0].split(',').map(|variant| StockKey::new(variant.parse().unwrap(), 0).unwrap());
        let changes: Vec<_> = keys.map(|key| Change::new(key, Operation::Lock, suite::quantity(1))).collect();
        let stopped = stop_once_at(words[1]);
        let (mut locked, most) = (0, words[2].parse::<u64>().unwrap());
        while locked < most && !stopped.load(Ordering::SeqCst) {
            repository.apply(Request::batch(changes.clone())).await.unwrap();
            locked += 1;
        }
        println!("{ANSWER}{locked}");
    }
}

/// Whether it has been stopped at this moment, which happens once.
fn stop_once_at(moment: &str) -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = stopped.clone();
    // Sent to the process, the signal may find another thread, and this one would go on for a while: beyond
    // the moment, into a transaction.
    let stop = move || {
        if !flag.swap(true, Ordering::SeqCst) {
            raise(nix::sys::signal::SIGSTOP).unwrap();
        }
    };
    fail::cfg_callback(moment, stop).unwrap();
    stopped
}
