//! One instance: a process that opens a repository, and whose clients rush it when told to.

use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::seq::IndexedRandom;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::orders::{Orders, Record};
use super::times::Times;
use crate::operation::{Operation, Quantity, StockKey};
use crate::repository::StockRepository;
use crate::request::{Change, Request, RequestId};

/// What an instance says when it could begin.
pub(super) const READY: &str = "ready";

/// How long what is resident may take to arrive in the database.
pub(super) const DRAIN: Duration = Duration::from_secs(120);

/// Reads orders from standard input, carries them out, and writes what came of it to standard output.
/// The process ends when its standard input does, so that no instance outlives whoever started it.
///
/// # Errors
///
/// Orders that cannot be read or carried out.
pub async fn serve() -> anyhow::Result<()> {
    let mut lines = listen();
    let orders = lines.recv().await.context("no orders")?;
    let orders: Orders = serde_json::from_str(&orders)?;
    let opened = orders.contender.open(&orders).await?;
    let repository = opened.repository();
    let keys: Result<Vec<_>, _> = orders.variants.iter().map(|&variant| StockKey::new(variant, 0)).collect();
    let keys: Arc<[StockKey]> = keys?.into();
    println!("{READY}");
    lines.recv().await.context("nobody says when to begin")?;
    let mut record = rush(&repository, &keys, &orders).await?;
    let since = Instant::now();
    opened.close(DRAIN).await?;
    record.drained_ms = u64::try_from(since.elapsed().as_millis())?;
    repository.store().close().await;
    println!("{}", serde_json::to_string(&record)?);
    Ok(())
}

/// Lines of the standard input. A thread reads them, since such a read cannot be given up, and ends the
/// process with them.
fn listen() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
        std::process::exit(1);
    });
    receiver
}

async fn rush(
    repository: &Arc<dyn StockRepository>,
    keys: &Arc<[StockKey]>,
    orders: &Orders,
) -> anyhow::Result<Record> {
    let from = Instant::now() + Duration::from_millis(orders.warm_up_ms);
    let until = from + Duration::from_millis(orders.measured_ms);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..orders.clients {
        let client = Client {
            repository: repository.clone(),
            keys: keys.clone(),
            stop: stop.clone(),
            no_ids: orders.no_ids,
            from,
            until,
        };
        clients.spawn(client.rush());
    }
    tokio::time::sleep_until(until.into()).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Record { times: Times::new(), done: 0, unknown: 0, failed: 0, drained_ms: 0, error: None };
    while let Some(one) = clients.join_next().await {
        let one = one?;
        all.times.add(&one.times);
        all.done += one.done;
        all.unknown += one.unknown;
        all.failed += one.failed;
        all.error = all.error.or(one.error);
    }
    Ok(all)
}

/// Asks again as soon as it is answered.
struct Client {
    repository: Arc<dyn StockRepository>,
    keys: Arc<[StockKey]>,
    stop: Arc<AtomicBool>,
    no_ids: bool,
    from: Instant,
    until: Instant,
}

impl Client {
    async fn rush(self) -> Record {
        let mut record = Record { times: Times::new(), done: 0, unknown: 0, failed: 0, drained_ms: 0, error: None };
        let one = Quantity::new(1).expect("small");
        while !self.stop.load(Ordering::Relaxed) {
            let Some(&key) = self.keys.choose(&mut rand::rng()) else { break };
            let request = Request::one(Change::new(key, Operation::Lock, one));
            let request = if self.no_ids { request } else { request.id(RequestId::make()) };
            let asked = Instant::now();
            let answer = self.repository.apply(request).await;
            let answered = Instant::now();
            match answer {
                Ok(_) => {
                    record.done += 1;
                    if (self.from..self.until).contains(&answered) {
                        record.times.record(answered - asked);
                    }
                }
                Err(error) => {
                    record.unknown += u64::from(error.code() == "outcome_unknown");
                    record.failed += 1;
                    record.error.get_or_insert_with(|| format!("{:#}", anyhow::Error::from(error)));
                    // Whoever is refused at once must not ask a million times a second.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        record
    }
}
