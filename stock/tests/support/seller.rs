//! An instance of the resident repository in a process of its own, which sells one record until it is told to stop and
//! says what it was answered. The process is the test binary, started again for the test `seller_process` alone.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::raise;
use redlock::{Redlock, RestartGuard};
use rustix::process::{Pid, Signal, kill_process};
use stock::operation::{Operation, StockKey};
use stock::repository::resident::ResidentConfig;
use stock::repository::{Resident, StockRepository, suite};
use stock::request::{Change, Request, RequestId};
use stock::store;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

/// Set in the process: the database and the Redis.
const DATABASE: &str = "STOCK_SELLER_DATABASE";
const REDIS: &str = "STOCK_SELLER_REDIS";

/// What begins the lines that are meant for the test: it is ready, or a request has been answered.
const READY: &str = "seller: ready";
const ANSWERED: &str = "seller: answered ";

/// Short, so that a test need not wait long for its end.
pub(crate) const TTL: Duration = Duration::from_secs(2);

/// How many requests are under way at once.
pub(crate) const CLIENTS: usize = 8;

/// Where instances are: on one database and one Redis, which is the lock node too.
pub(crate) struct Place {
    pub(crate) database: String,
    pub(crate) redis: String,
}

impl Place {
    pub(crate) async fn open(&self) -> Resident {
        let store = store::open_for_leases(&self.database.parse().unwrap(), TTL).await.unwrap();
        let locks = Redlock::builder().nodes([&*self.redis]).ttl(TTL).restart_guard(RestartGuard::Off);
        Resident::open(store, locks.build().unwrap(), ResidentConfig::new(&*self.redis)).await.unwrap()
    }
}

/// What happens to a process at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Killed,
    Stopped,
}

/// The process as its test sees it; killed when dropped.
pub(crate) struct Seller {
    child: Child,
    input: ChildStdin,
    answered: Arc<Mutex<Vec<RequestId>>>,
    reading: JoinHandle<()>,
    fate: Option<Fate>,
}

impl Seller {
    pub(crate) async fn start(place: &Place) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "seller_process", "--nocapture"]);
        command.env(DATABASE, &place.database).env(REDIS, &place.redis);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        while !lines.next_line().await.unwrap().expect("the process has ended").contains(READY) {}
        let answered = Arc::new(Mutex::new(Vec::new()));
        let told = answered.clone();
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(id) = line.strip_prefix(ANSWERED) {
                    told.lock().unwrap().push(RequestId::new(id).unwrap());
                }
            }
        });
        Self { child, input, answered, reading, fate: None }
    }

    /// Has it sell one unit after the other.
    pub(crate) async fn sell(&mut self, key: StockKey) {
        self.say(&format!("sell {}", key.variant_id)).await;
    }

    /// Has it meet its fate when it next comes to this moment.
    pub(crate) async fn meet(&mut self, moment: &str, fate: Fate) {
        self.say(&format!("{fate:?} {moment}")).await;
        self.fate = Some(fate);
    }

    /// Waits until it has.
    pub(crate) async fn has_met(&mut self) {
        let wanted = if self.fate == Some(Fate::Killed) { ['Z', 'X'] } else { ['T', 't'] };
        let stat = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        let is_so = async || match tokio::fs::read_to_string(&stat).await {
            Ok(stat) => stat.rsplit(')').next().unwrap().trim_start().starts_with(wanted),
            Err(_) => true,
        };
        testkit::eventually(Duration::from_secs(20), is_so).await;
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Has it stop selling, if it can, and tells which requests were answered.
    pub(crate) async fn end(&mut self) -> Vec<RequestId> {
        if self.fate != Some(Fate::Killed) {
            self.say("end").await;
        }
        tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.unwrap().unwrap();
        (&mut self.reading).await.unwrap();
        std::mem::take(&mut self.answered.lock().unwrap())
    }

    async fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id().expect("nobody has waited for it")).unwrap();
        Pid::from_raw(id).unwrap()
    }
}

/// What the process does, if it is one.
pub(crate) async fn work() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let place = Place { database, redis: std::env::var(REDIS).unwrap() };
    let resident = Arc::new(place.open().await);
    println!("{READY}");
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        match line.split_once(' ') {
            Some(("sell", variant)) => {
                let key = StockKey::new(variant.parse().unwrap(), 0).unwrap();
                (0..CLIENTS).for_each(|_| drop(clients.spawn(buy(resident.clone(), key, is_over.clone()))));
            }
            Some(("Killed", moment)) => once(moment, nix::sys::signal::SIGKILL),
            Some(("Stopped", moment)) => once(moment, nix::sys::signal::SIGSTOP),
            _ => break,
        }
    }
    is_over.store(true, Ordering::SeqCst);
    clients.join_all().await;
    resident.finish(Duration::from_secs(30)).await.unwrap();
}

async fn buy(resident: Arc<Resident>, key: StockKey, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::SeqCst) {
        let id = RequestId::make();
        let request = Request::one(Change::new(key, Operation::Lock, suite::quantity(1))).id(id.clone());
        // The database ends the connections of a process that was stopped; whoever was not told asks again.
        while resident.apply(request.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        println!("{ANSWERED}{id}");
        // A sale that lasts, not a race: the test reads every line.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Sends this process a signal when it first comes to a moment; to the very thread, which must not go on for a while.
fn once(moment: &str, signal: nix::sys::signal::Signal) {
    let done = AtomicBool::new(false);
    let send = move || {
        if !done.swap(true, Ordering::SeqCst) {
            raise(signal).unwrap();
        }
    };
    fail::cfg_callback(moment, send).unwrap();
}
