//! Requests of many callers in one call of the script: while calls are under way, what comes in gathers,
//! and goes out together with the next. Ids that callers have chosen are looked for in the log first, all of a call in
//! one query; while one call's ids are looked for, another call is in Redis.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use redis::{RedisError, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::link::{JOURNAL, Link, REQUESTS, STATE};
use super::refusal;
use super::wire::{Figures, Packing, hash_key};
use crate::contention::Meters;
use crate::hold::Refusal;
use crate::log::LogEntry;
use crate::operation::{Id, StockKey};
use crate::record::StockRecord;
use crate::request::{Identified, RequestId};
use crate::store::{Store, StoreError};

/// How many requests may wait. Past that they are turned away.
const WAITING: usize = 16_384;

/// Most requests in one call.
const REQUESTS_A_CALL: usize = 256;

/// After so many changes a call takes no more requests.
const CHANGES_A_CALL: usize = 1_024;

/// Calls under way at once: one that the server works on, one that is being written or read, or looked for.
const CALLS: usize = 2;

/// A resident record, as of the epoch that an instance knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: StockKey,
    pub(super) epoch: u64,
    pub(super) id: u64,
    pub(super) product_id: Id,
}

/// A request, and what was found out before it can be sent.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) request: Arc<Identified>,
    pub(super) places: Vec<Place>,
    /// The generation of request ids in which its id was not in the database; `None` to have it looked for.
    pub(super) looked: Option<u64>,
    /// The sequence as of which an expired hold was listed; less than any where it has changed since.
    pub(super) ended: Option<i64>,
}

/// What a call has come to for one of its requests.
#[derive(Debug)]
pub(super) enum Reply {
    /// Carried out: the record after each change.
    Done(Vec<StockRecord>),
    /// The change of this number is refused.
    Refused(usize, Refusal),
    /// An entry of the journal says what was done under this id.
    Seen(String),
    /// It was carried out before: what the log says of its id.
    Logged(Vec<LogEntry>),
    /// Whether it was carried out before could not be found out.
    Unlooked(StoreError),
    /// Request ids have been forgotten since it was looked for in the database.
    LookAgain,
    /// A record is not there in the epoch it was expected in.
    Unusable(StockKey),
    /// A record does not follow from the database, and why.
    Diverged(StockKey, String),
    /// Nothing is wrong with it; others were in the way.
    Again,
    /// Too much waits to be written back.
    Full,
    /// Nothing was sent.
    Unsent(Arc<RedisError>),
    /// The answer is missing.
    Lost(Arc<RedisError>),
}

/// Where requests wait to be sent.
#[derive(Debug)]
pub(super) struct Queue {
    items: mpsc::Sender<Waiting>,
    generation: Arc<AtomicU64>,
}

impl Queue {
    /// A queue to this server, of which at most `backlog` changes may wait to be written back.
    pub(super) fn new(store: Arc<dyn Store>, link: Arc<Link>, backlog: u64, meters: Meters) -> Self {
        let (items, waiting) = mpsc::channel(WAITING);
        let generation = Arc::new(AtomicU64::new(0));
        tokio::spawn(drive(waiting, Caller { store, link, backlog, generation: generation.clone(), meters }));
        Self { items, generation }
    }

    /// The generation of request ids, as far as is known here. One that is over does no harm.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Sends a request with the next call. It is carried out even if nobody waits for the reply.
    pub(super) async fn ask(&self, item: Item) -> Reply {
        let (sender, reply) = oneshot::channel();
        if self.items.try_send((item, sender, Instant::now())).is_err() {
            return Reply::Full;
        }
        // A call that ends without a reply has panicked.
        reply.await.unwrap_or_else(|_| Reply::Lost(Arc::new(std::io::Error::other("the call was cut short").into())))
    }
}

/// A request, where its reply goes, and since when it waits.
type Waiting = (Item, oneshot::Sender<Reply>, Instant);

/// Sends calls until nobody can ask any more.
async fn drive(mut waiting: mpsc::Receiver<Waiting>, caller: Caller) {
    let calls = Arc::new(Semaphore::new(CALLS));
    let mut ready = Vec::new();
    while let Ok(permit) = calls.clone().acquire_owned().await {
        if ready.is_empty() && waiting.recv_many(&mut ready, REQUESTS_A_CALL).await == 0 {
            return;
        }
        let call = take_call(&mut ready);
        tokio::spawn(caller.clone().call(call, permit));
    }
}

/// As many as fit in a call, each id once: the script looks ids up before it begins.
fn take_call(ready: &mut Vec<Waiting>) -> Vec<Waiting> {
    let (mut ids, mut changes) = (HashSet::new(), 0);
    let fits = ready.iter().take_while(|(item, ..)| {
        let is_first = changes == 0;
        changes += item.request.changes().len();
        (is_first || changes <= CHANGES_A_CALL) && ids.insert(item.request.id().clone())
    });
    let count = fits.count();
    let rest = ready.split_off(count);
    std::mem::replace(ready, rest)
}

#[derive(Clone)]
struct Caller {
    store: Arc<dyn Store>,
    link: Arc<Link>,
    backlog: u64,
    generation: Arc<AtomicU64>,
    meters: Meters,
}

impl Caller {
    async fn call(self, items: Vec<Waiting>, permit: OwnedSemaphorePermit) {
        let items = self.look(items).await;
        if items.is_empty() {
            return;
        }
        let mut packing = Packing::default();
        self.meters.batch(items.len());
        for (item, _, since) in &items {
            self.meters.waited(since.elapsed());
            let epochs = item.places.iter().map(|place| (place.key, place.epoch));
            packing.put(&item.request, epochs, item.looked.unwrap_or_default(), item.ended);
        }
        let replies = self.send(&packing, &items).await;
        // The next call need not wait for this one's callers.
        drop(permit);
        let records = packing.records().to_vec();
        drop(packing);
        let replies = match replies {
            Ok(value) => self.read(value, &records, &items),
            Err(reply) => items.iter().map(|_| reply()).collect(),
        };
        for ((_, sender, _), reply) in items.into_iter().zip(replies) {
            // Whoever does not wait any more has gone.
            let _ = sender.send(reply);
        }
    }

    /// Looks for ids in the log; those that are not found there are left. Whose records they are was known before, and
    /// nobody but us changes these: what is not in the log now can only get there through Redis.
    async fn look(&self, items: Vec<Waiting>) -> Vec<Waiting> {
        let generation = self.generation.load(Ordering::Acquire);
        let unlooked = items.iter().filter(|(item, ..)| item.looked.is_none());
        let ids: Vec<_> = unlooked.map(|(item, ..)| item.request.id().clone()).collect();
        if ids.is_empty() {
            return items;
        }
        let mut found = self.store.find_requests(&ids).await.map(by_request);
        let mut left = Vec::with_capacity(items.len());
        for (mut item, sender, since) in items {
            let reply = match (item.looked, &mut found) {
                (Some(_), _) => None,
                (None, Err(error)) => Some(Reply::Unlooked(error.repeat())),
                (None, Ok(found)) => found.remove(item.request.id()).map(Reply::Logged),
            };
            match reply {
                // Whoever does not wait any more has gone.
                Some(reply) => drop(sender.send(reply)),
                None => {
                    item.looked.get_or_insert(generation);
                    left.push((item, sender, since));
                }
            }
        }
        left
    }

    async fn send(
        &self,
        packing: &Packing<'_>,
        items: &[Waiting],
    ) -> Result<Vec<Value>, Box<dyn Fn() -> Reply + Send>> {
        debug_assert!(!items.is_empty());
        let mut connected = match self.link.get().await {
            Ok(connected) => connected,
            Err(error) => {
                let error = Arc::new(error);
                return Err(Box::new(move || Reply::Unsent(error.clone())));
            }
        };
        let (records, requests) = packing.json();
        let mut call = self.link.scripts.apply.key(JOURNAL);
        call.key(STATE);
        for (key, _) in packing.records() {
            call.key(hash_key(*key));
        }
        call.arg(&*connected.run_id).arg(self.backlog).arg(records).arg(requests).arg(REQUESTS);
        match call.invoke_async(&mut connected.connection).await {
            Ok(value) => Ok(value),
            Err(error) => {
                self.link.give_up(&connected, &error).await;
                let error = Arc::new(error);
                // A server that says why has done nothing: the script writes only at its end, the journal
                // first.
                let is_told = error.kind() != redis::ErrorKind::Io && error.code().is_some();
                Err(if is_told {
                    Box::new(move || Reply::Unsent(error.clone()))
                } else {
                    Box::new(move || Reply::Lost(error.clone()))
                })
            }
        }
    }

    fn read(&self, value: Vec<Value>, records: &[(StockKey, u64)], items: &[Waiting]) -> Vec<Reply> {
        let mut value = value.into_iter();
        match next_text(&mut value).as_str() {
            "full" => items.iter().map(|_| Reply::Full).collect(),
            what @ ("unusable" | "diverged") => {
                let number: usize =
                    value.next().and_then(|value| redis::from_redis_value(value).ok()).unwrap_or_default();
                let bad = records[number.min(records.len() - 1)];
                let why = (what == "diverged").then(|| next_text(&mut value));
                let is_bad = |place: &Place| (place.key, place.epoch) == bad;
                let reply = |(item, ..): &Waiting| match (&why, item.places.iter().any(is_bad)) {
                    (_, false) => Reply::Again,
                    (None, true) => Reply::Unusable(bad.0),
                    (Some(why), true) => Reply::Diverged(bad.0, why.clone()),
                };
                items.iter().map(reply).collect()
            }
            _ => self.read_done(value, records, items).unwrap_or_else(|| {
                let error =
                    Arc::new(RedisError::from((redis::ErrorKind::UnexpectedReturnType, "not what the script says")));
                items.iter().map(|_| Reply::Lost(error.clone())).collect()
            }),
        }
    }

    fn read_done(
        &self,
        mut value: impl Iterator<Item = Value>,
        records: &[(StockKey, u64)],
        items: &[Waiting],
    ) -> Option<Vec<Reply>> {
        self.generation.store(next_text(&mut value).parse().ok()?, Ordering::Release);
        let (verdicts, before) = (next_text(&mut value), next_text(&mut value));
        let notes: Vec<String> = redis::from_redis_value(value.next()?).ok()?;
        let mut notes = notes.into_iter();
        let before = Figures::parse_all(&before)?;
        let mut now: HashMap<StockKey, Figures> = records.iter().map(|(key, _)| *key).zip(before).collect();
        let mut reply = |((item, ..), verdict): (&Waiting, u8)| {
            Some(match verdict {
                b'y' => Reply::Done(after(item, &mut now)?),
                b's' => Reply::Seen(notes.next()?),
                b'l' => {
                    notes.next()?;
                    Reply::LookAgain
                }
                _ => {
                    let (number, refusal) = refusal::parse(&notes.next()?, &item.request)?;
                    Reply::Refused(number, refusal)
                }
            })
        };
        items.iter().zip(verdicts.bytes()).map(&mut reply).collect()
    }
}

fn by_request(entries: Vec<LogEntry>) -> HashMap<RequestId, Vec<LogEntry>> {
    let mut requests: HashMap<_, Vec<_>> = HashMap::new();
    for entry in entries {
        requests.entry(entry.request_id.clone()).or_default().push(entry);
    }
    requests
}

/// The records after each change of a request that was carried out: the script has checked the holds, and
/// the levels follow from the rules.
fn after(item: &Item, now: &mut HashMap<StockKey, Figures>) -> Option<Vec<StockRecord>> {
    let changes = item.request.changes().iter();
    let record = |change: &crate::request::Change| {
        let figures = now.get_mut(&change.key)?;
        figures.levels = figures.levels.apply(change.operation, change.quantity).ok()?;
        figures.version += 1;
        let place = item.places.iter().find(|place| place.key == change.key)?;
        let (levels, version) = (figures.levels, figures.version);
        Some(StockRecord { id: place.id, product_id: place.product_id, key: place.key, levels, version })
    };
    changes.map(record).collect()
}

fn next_text(values: &mut impl Iterator<Item = Value>) -> String {
    values.next().and_then(|value| redis::from_redis_value(value).ok()).unwrap_or_default()
}
