//! The connection to the one Redis that resident levels live in, and everything that is said to it.
//!
//! A connection is never mended: the server on the other side of a new one may be another, with another
//! memory. Every connection knows the `run_id` of its server, which a restart changes, and every record
//! remembers the one under which it was loaded.
//!
//! A connection that is given up may have something on its way to the server still. Before anything else is said
//! on the next one, the server is told to end the old one: from then on, what has not been done on it never will be,
//! and a later answer can be relied on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError,
    Script,
};
use tokio::sync::Mutex;

use super::wire::{Figures, JournalEntry, Life, hash_key, holds_key, kept_key, life_name, parse_life};
use crate::operation::StockKey;

#[cfg(test)]
mod tests;

/// Where everything that was done is written down.
pub(super) const JOURNAL: &str = "product_stock:resident:journal";

/// How many changes wait to be written back, and the generation of request ids.
pub(super) const STATE: &str = "product_stock:resident:state";

/// Which records are resident.
pub(super) const RECORDS: &str = "product_stock:resident:records";

/// Which lives of records do not follow from the database, and why.
pub(super) const DIVERGED: &str = "product_stock:resident:diverged";

/// What the keys of request ids begin with; a generation follows.
pub(super) const REQUESTS: &str = "product_stock:resident:requests:";

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// A server that keeps resident levels, by its URL.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    slot: Mutex<Slot>,
    pub(super) scripts: Scripts,
}

/// The scripts, one a file.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) apply: Script,
    pub(super) load: Script,
    pub(super) close: Script,
    pub(super) trim: Script,
    pub(super) diverge: Script,
    pub(super) discard: Script,
}

/// The connection in use, and those that were given up: the `run_id` of their server, and its number for them.
#[derive(Debug, Default)]
struct Slot {
    current: Option<Connected>,
    given_up: Vec<(Arc<str>, i64)>,
}

/// A connection and the server behind it.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    pub(super) run_id: Arc<str>,
    /// What the server calls it.
    number: i64,
    /// Set when it has ended; nothing is sent on it from then on.
    is_over: Arc<AtomicBool>,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

impl Slot {
    fn give_up(&mut self) {
        self.given_up.extend(self.current.take().map(|connected| (connected.run_id, connected.number)));
    }
}

impl Connected {
    /// Has the server end other connections. One that has gone, or was to another run of the server, does nothing
    /// any more.
    async fn end(&mut self, others: &[(Arc<str>, i64)]) -> Result<(), RedisError> {
        for (_, number) in others.iter().filter(|(run_id, _)| *run_id == self.run_id) {
            let mut kill = redis::cmd("CLIENT");
            kill.arg("KILL").arg("ID").arg(number);
            match kill.query_async::<i64>(&mut self.connection).await {
                Err(error) if error.code().is_none() => return Err(error),
                Err(error) => {
                    let why = "an old connection to Redis is not ended; what is on its way there may still be done";
                    tracing::warn!(%error, "{why}");
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

/// What Redis has of a record.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The epoch in which it was loaded; empty where there is nothing.
    pub(super) epoch: String,
    /// Whether it is served: by this very server, not about to leave, and following from the database.
    pub(super) is_open: bool,
    /// Its numbers, where they can be read.
    pub(super) figures: Option<Figures>,
    /// Why it does not follow from the database, if it does not.
    pub(super) diverged: Option<String>,
}

/// What is looked at of a record.
const FIELDS: [&str; 11] = [
    "available_stock",
    "locked_stock",
    "reserved_stock",
    "held_locked",
    "held_reserved",
    "version",
    "sequence",
    "epoch",
    "run_id",
    "closing",
    "diverged",
];

impl Seen {
    fn read(found: &[Option<String>], run_id: &str) -> Self {
        let text = |n: usize| found.get(n).and_then(Option::as_deref);
        let numbers: Vec<u64> = (0..7).filter_map(|n| text(n)?.parse().ok()).collect();
        Self {
            epoch: text(7).unwrap_or_default().to_owned(),
            is_open: text(8) == Some(run_id) && text(9).is_none() && text(10).is_none(),
            figures: numbers.try_into().ok().and_then(Figures::from_numbers),
            diverged: text(10).map(str::to_owned),
        }
    }
}

impl Link {
    /// A link to this server; nothing is said yet.
    pub(super) fn new(url: &str) -> Result<Self, RedisError> {
        let scripts = Scripts {
            apply: Script::new(include_str!("apply.lua")),
            load: Script::new(include_str!("load.lua")),
            close: Script::new(include_str!("close.lua")),
            trim: Script::new(include_str!("trim.lua")),
            diverge: Script::new(include_str!("diverge.lua")),
            discard: Script::new(include_str!("discard.lua")),
        };
        let info = url.into_connection_info()?;
        // The only protocol in which the client says that a connection has ended.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        Ok(Self { client, slot: Mutex::default(), scripts })
    }

    /// A connection, made if there is none.
    pub(super) async fn get(&self) -> Result<Connected, RedisError> {
        let mut slot = self.slot.lock().await;
        if let Some(connected) = &slot.current {
            if !connected.is_over.load(Ordering::Acquire) {
                return Ok(connected.clone());
            }
            slot.give_up();
        }
        let mut connected = self.connect().await?;
        connected.end(&slot.given_up).await?;
        slot.given_up.clear();
        slot.current = Some(connected.clone());
        Ok(connected)
    }

    async fn connect(&self) -> Result<Connected, RedisError> {
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = is_over.clone();
        let told = move |push: PushInfo| {
            flag.fetch_or(push.kind == PushKind::Disconnection, Ordering::AcqRel);
            Ok::<(), Infallible>(())
        };
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER));
        let config = config.set_response_timeout(Some(ANSWER)).set_push_sender(told);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut hello = redis::pipe();
        hello.cmd("INFO").cmd("CLIENT").arg("ID");
        let (info, number): (String, i64) = hello.query_async(&mut connection).await?;
        Ok(Connected { connection, run_id: fit(&info)?.into(), number, is_over })
    }

    /// Gives a connection up after an error that is not about what was asked.
    pub(super) async fn give_up(&self, broken: &Connected, error: &RedisError) {
        if !(error.is_io_error() || error.is_timeout() || error.is_connection_dropped()) {
            return;
        }
        let mut slot = self.slot.lock().await;
        // Somebody else may have done so before.
        if slot.current.as_ref().is_some_and(|connected| Arc::ptr_eq(&connected.is_over, &broken.is_over)) {
            slot.give_up();
        }
    }

    /// Runs commands on a connection, which is given up if it is broken.
    pub(super) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection, &str) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let mut connected = self.get().await?;
        let run_id = connected.run_id.clone();
        let outcome = work(&mut connected.connection, &run_id).await;
        if let Err(error) = &outcome {
            self.give_up(&connected, error).await;
        }
        outcome
    }

    /// What is there of a record.
    pub(super) async fn look(&self, key: StockKey) -> Result<Seen, RedisError> {
        self.with(async |connection, run_id| {
            let command = redis::cmd("HMGET").arg(hash_key(key)).arg(&FIELDS).to_owned();
            Ok(Seen::read(&command.query_async::<Vec<_>>(connection).await?, run_id))
        })
        .await
    }

    /// What is there of a record and of its holds, packed as the script packs them, at one moment.
    pub(super) async fn snapshot(&self, key: StockKey) -> Result<(Seen, HashMap<String, String>), RedisError> {
        self.with(async |connection, run_id| {
            let mut both = redis::pipe();
            both.atomic().cmd("HMGET").arg(hash_key(key)).arg(&FIELDS).cmd("HGETALL").arg(holds_key(key));
            let (found, holds): (Vec<Option<String>>, _) = both.query_async(connection).await?;
            Ok((Seen::read(&found, run_id), holds))
        })
        .await
    }

    /// The journal from an id on, so many entries.
    pub(super) async fn journal(&self, from: &str, count: usize) -> Result<Vec<JournalEntry>, RedisError> {
        let command = redis::cmd("XRANGE").arg(JOURNAL).arg(from).arg("+").arg("COUNT").arg(count).to_owned();
        let raw: Vec<Entry> = self.with(async |connection, _| command.query_async(connection).await).await?;
        raw.into_iter().map(|(id, fields)| parse(id, &fields)).collect()
    }

    /// Notes that a life does not follow from the database; its sales end.
    pub(super) async fn diverge(&self, life: Life, reason: &str) -> Result<(), RedisError> {
        self.with(async |connection, _| {
            let mut call = self.scripts.diverge.key(hash_key(life.0));
            call.key(DIVERGED).arg(life.1).arg(life_name(life)).arg(reason);
            call.invoke_async::<i64>(connection).await.map(drop)
        })
        .await
    }

    /// The lives that do not follow from the database, and why.
    pub(super) async fn diverged(&self) -> Result<HashMap<Life, String>, RedisError> {
        let command = redis::cmd("HGETALL").arg(DIVERGED).to_owned();
        let all: HashMap<String, String> =
            self.with(async |connection, _| command.query_async(connection).await).await?;
        Ok(all.into_iter().filter_map(|(name, why)| Some((parse_life(&name)?, why))).collect())
    }

    /// What was kept of a record because it does not follow from the database, each entry with the id of its copy.
    pub(super) async fn kept(&self, key: StockKey) -> Result<Vec<(String, JournalEntry)>, RedisError> {
        let command = redis::cmd("XRANGE").arg(kept_key(key)).arg("-").arg("+").to_owned();
        let raw: Vec<Entry> = self.with(async |connection, _| command.query_async(connection).await).await?;
        let read = |(copy, fields): (String, HashMap<String, String>)| {
            Ok((copy, parse(fields.get("i").cloned().unwrap_or_default(), &fields)?))
        };
        raw.into_iter().map(read).collect()
    }

    /// The id of the last entry of the journal, if there is one.
    pub(super) async fn last(&self) -> Result<Option<String>, RedisError> {
        let command = redis::cmd("XREVRANGE").arg(JOURNAL).arg("+").arg("-").arg("COUNT").arg(1).to_owned();
        let found: Vec<Entry> = self.with(async |connection, _| command.query_async(connection).await).await?;
        Ok(found.into_iter().next().map(|(id, _)| id))
    }

    /// The id of the first entry of the journal, if there is one.
    pub(super) async fn first(&self) -> Result<Option<String>, RedisError> {
        let command = redis::cmd("XRANGE").arg(JOURNAL).arg("-").arg("+").arg("COUNT").arg(1).to_owned();
        let found: Vec<Entry> = self.with(async |connection, _| command.query_async(connection).await).await?;
        Ok(found.into_iter().next().map(|(id, _)| id))
    }

    /// How many changes wait to be written back; one at least, where the journal has anything.
    pub(super) async fn waiting(&self) -> Result<u64, RedisError> {
        let mut both = redis::pipe();
        both.cmd("XLEN").arg(JOURNAL).cmd("HGET").arg(STATE).arg("backlog");
        let (entries, changes): (u64, Option<u64>) =
            self.with(async |connection, _| both.query_async(connection).await).await?;
        Ok(if entries == 0 { 0 } else { changes.unwrap_or_default().max(1) })
    }
}

/// The run_id of a server that can keep resident levels, from what it says of itself.
fn fit(info: &str) -> Result<String, RedisError> {
    let says = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map_or("", str::trim)
    };
    let unfit = |why: String| Err((ErrorKind::InvalidClientConfig, "this Redis cannot keep levels", why).into());
    match (says("role"), says("maxmemory"), says("maxmemory_policy"), says("cluster_enabled")) {
        ("slave", ..) => unfit("it is a replica".into()),
        (.., "1") => unfit("it is a cluster".into()),
        (_, "0", ..) | (_, _, "noeviction", _) => Ok(says("run_id").to_owned()),
        (_, limit, policy, _) => {
            unfit(format!("maxmemory is {limit} and maxmemory-policy is {policy}; only noeviction keeps every level"))
        }
    }
}

/// Entries of a stream.
type Entry = (String, HashMap<String, String>);

fn parse(id: String, fields: &HashMap<String, String>) -> Result<JournalEntry, RedisError> {
    const UNREAD: &str = "an entry of the journal product_stock:resident:journal cannot be read; an instance of the version \
                          that wrote it can, or XDEL removes it and what it was about is set apart";
    let unread = (ErrorKind::UnexpectedReturnType, UNREAD, id.clone());
    JournalEntry::parse(id, fields).ok_or_else(|| unread.into())
}

/// Whether the stream id `one` is `other` or comes before it.
pub(super) fn is_at_most(one: &str, other: &str) -> bool {
    fn parts(id: &str) -> Option<(u64, u64)> {
        let (time, number) = id.split_once('-')?;
        Some((time.parse().ok()?, number.parse().ok()?))
    }
    parts(one) <= parts(other)
}
