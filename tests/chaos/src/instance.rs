//! A stock instance as a process: a repository on given nodes and a database, which answers what it is asked, line by
//! line, and can be told to stop itself (SIGSTOP) at a moment that matters.

mod orders;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, raise};
use redlock::{Redlock, RestartGuard};
use stock::error::RepositoryError;
use stock::operation::{Quantity, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository};
use stock::request::{Change, ExpiresIn, OrderId, Request, RequestId};
use stock::store::{self, Access, Writers};
use tokio::io::{AsyncBufReadExt, BufReader};

pub(crate) use self::orders::{Answer, Ask, Kind, Levels, NOBODY, Orders, Outcome, Part, Question};
use crate::child::READY;
use crate::client::plant;

/// The argument that makes this program an instance.
pub const ROLE: &str = "instance";

/// How long leases are waited for; short, so that a buyer hears soon that it is of no use.
const WAIT: Duration = Duration::from_secs(5);

/// Whichever repository it is.
enum Repository {
    Redlocked(Redlocked, Redlock),
    RowLock(RowLock),
}

impl Repository {
    fn face(&self) -> &dyn StockRepository {
        match self {
            Self::Redlocked(repository, _) => repository,
            Self::RowLock(repository) => repository,
        }
    }

    async fn close(&self) {
        if let Self::Redlocked(repository, redlock) = self {
            repository.close().await;
            redlock.close(Duration::from_secs(5)).await;
        }
    }
}

/// Reads orders and questions from standard input until that ends, and writes answers to standard output.
///
/// # Errors
///
/// Orders that cannot be read or carried out.
pub async fn serve() -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let orders: Orders = serde_json::from_str(&lines.next_line().await?.context("no orders")?)?;
    plant(orders.bug.as_deref())?;
    let repository = Arc::new(open(&orders).await?);
    println!("{READY}");
    while let Some(line) = lines.next_line().await? {
        let Ask { number, question } = serde_json::from_str(&line)?;
        tokio::spawn(answer(repository.clone(), number, question));
    }
    repository.close().await;
    Ok(())
}

async fn open(orders: &Orders) -> anyhow::Result<Repository> {
    let ttl = Duration::from_millis(orders.ttl_ms);
    let writers = match orders.kind {
        Kind::Redlock => Writers::HoldLeases,
        Kind::RowLock => Writers::Queue,
    };
    let access = Access { lease: ttl, writers, ..Access::default() };
    let store = store::open_with(&orders.database.parse()?, access).await?;
    if orders.kind == Kind::RowLock {
        return Ok(Repository::RowLock(RowLock::new(store)));
    }
    let guard = if orders.quarantine { RestartGuard::MaxTtl } else { RestartGuard::Off };
    let redlock = Redlock::builder().nodes(&orders.nodes).ttl(ttl).restart_guard(guard).owner(&orders.name).build()?;
    Ok(Repository::Redlocked(Redlocked::new(store, redlock.clone()).wait(WAIT), redlock))
}

async fn answer(repository: Arc<Repository>, number: u64, question: Question) {
    let outcome = match question {
        Question::Change { id, parts } => change(repository.face(), &id, &parts).await,
        Question::Read { variant } => read(repository.face(), variant).await,
        Question::StopAt { moment } => stop_once_at(&moment),
        Question::GoOn { moment } => {
            fail::remove(moment);
            Outcome::Done { records: Vec::new() }
        }
    };
    tell(&Answer { number, outcome });
}

fn tell(answer: &Answer) {
    if let Ok(line) = serde_json::to_string(answer) {
        println!("{line}");
    }
}

async fn change(repository: &dyn StockRepository, id: &str, parts: &[Part]) -> Outcome {
    let request = match request(id, parts) {
        Ok(request) => request,
        Err(error) => return Outcome::Refused { code: error.to_string() },
    };
    match repository.apply(request).await {
        Ok(answer) => Outcome::Done { records: answer.records.iter().map(Levels::of).collect() },
        Err(error @ RepositoryError::OutcomeUnknown { .. }) => Outcome::Unknown { why: error.to_string() },
        Err(error) => Outcome::Refused { code: error.code().to_owned() },
    }
}

fn request(id: &str, parts: &[Part]) -> anyhow::Result<Request> {
    let changes = parts.iter().map(change_of).collect::<Result<Vec<_>, _>>()?;
    Ok(Request::batch(changes).id(RequestId::new(id)?))
}

fn change_of(part: &Part) -> anyhow::Result<Change> {
    let key = StockKey::new(part.variant, 0)?;
    let mut change = Change::new(key, part.operation.parse()?, Quantity::new(part.quantity)?);
    if let Some(order) = &part.order {
        change = change.order(OrderId::new(order.as_str())?);
    }
    if let Some(seconds) = part.expires_in {
        change = change.expires_in(ExpiresIn::seconds(seconds)?);
    }
    Ok(change)
}

async fn read(repository: &dyn StockRepository, variant: u64) -> Outcome {
    let Ok(key) = StockKey::new(variant, 0) else { return Outcome::Refused { code: "invalid".to_owned() } };
    match repository.get(key).await {
        Ok(record) => Outcome::Done { records: vec![Levels::of(&record)] },
        Err(error) => Outcome::Refused { code: error.code().to_owned() },
    }
}

/// Stops this process the next time it comes to the moment of that name; not there, it comes never.
fn stop_once_at(moment: &str) -> Outcome {
    let stopped = AtomicBool::new(false);
    // To this very thread: a signal to the process may find another one, and this one would go on for a while, beyond
    // the moment.
    let stop = move || {
        if !stopped.swap(true, Ordering::SeqCst) {
            let _ = raise(Signal::SIGSTOP);
        }
    };
    match fail::cfg_callback(moment, stop) {
        Ok(()) => Outcome::Done { records: Vec::new() },
        Err(error) => Outcome::Refused { code: error },
    }
}
