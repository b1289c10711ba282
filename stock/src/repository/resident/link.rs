//! The connection to the one Redis that resident levels live in, and everything that is said to it.
//!
//! A connection is never mended: the server on the other side of a new one may be another, with another
//! memory. Every connection knows the `run_id` of its server, which a restart changes, and every record
//! remembers the one under which it was loaded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Script};
use tokio::sync::Mutex;

use super::wire::{Figures, JournalEntry, hash_key, holds_key};
use crate::operation::StockKey;

/// Where everything that was done is written down.
pub(super) const JOURNAL: &str = "product_stock:resident:journal";

/// How many changes wait to be written back, and the generation of request ids.
pub(super) const STATE: &str = "product_stock:resident:state";

/// Which records are resident.
pub(super) const RECORDS: &str = "product_stock:resident:records";

/// What the keys of request ids begin with; a generation follows.
pub(super) const REQUESTS: &str = "product_stock:resident:requests:";

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);

/// A server that keeps resident levels, by its URL.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    current: Mutex<Option<Connected>>,
    pub(super) scripts: Scripts,
}

/// The scripts, one a file.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) apply: Script,
    pub(super) load: Script,
    pub(super) close: Script,
    pub(super) trim: Script,
}

/// A connection and the server behind it.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    pub(super) run_id: Arc<str>,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

/// What Redis has of a record.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The epoch in which it was loaded; empty where there is nothing.
    pub(super) epoch: String,
    /// Whether it is served: by this very server, and not about to leave.
    pub(super) is_open: bool,
    /// Its numbers, where they can be read.
    pub(super) figures: Option<Figures>,
}

/// What is looked at of a record.
const FIELDS: [&str; 10] = [
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
];

impl Seen {
    fn read(found: &[Option<String>], run_id: &str) -> Self {
        let text = |n: usize| found.get(n).and_then(Option::as_deref);
        let numbers: Vec<u64> = (0..7).filter_map(|n| text(n)?.parse().ok()).collect();
        Self {
            epoch: text(7).unwrap_or_default().to_owned(),
            is_open: text(8) == Some(run_id) && text(9).is_none(),
            figures: numbers.try_into().ok().and_then(Figures::from_numbers),
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
        };
        Ok(Self { client: Client::open(url)?, current: Mutex::new(None), scripts })
    }

    /// A connection, made if there is none.
    pub(super) async fn get(&self) -> Result<Connected, RedisError> {
        let mut current = self.current.lock().await;
        if let Some(connected) = current.as_ref() {
            return Ok(connected.clone());
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(ANSWER));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let connected = Connected { connection, run_id: fit(&info)?.into() };
        *current = Some(connected.clone());
        Ok(connected)
    }

    /// Gives a connection up after an error that is not about what was asked.
    pub(super) async fn give_up(&self, broken: &Connected, error: &RedisError) {
        if !(error.is_io_error() || error.is_timeout() || error.is_connection_dropped()) {
            return;
        }
        let mut current = self.current.lock().await;
        // By run_id and not by connection: at worst a good one is made anew.
        if current.as_ref().is_some_and(|connected| connected.run_id == broken.run_id) {
            *current = None;
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
        type Raw = Vec<(String, HashMap<String, String>)>;
        let command = redis::cmd("XRANGE").arg(JOURNAL).arg(from).arg("+").arg("COUNT").arg(count).to_owned();
        let raw: Raw = self.with(async |connection, _| command.query_async(connection).await).await?;
        let parse = |(id, fields): (String, HashMap<String, String>)| {
            let unread = || RedisError::from((ErrorKind::UnexpectedReturnType, "not a journal entry", id.clone()));
            JournalEntry::parse(id.clone(), &fields).ok_or_else(unread)
        };
        raw.into_iter().map(parse).collect()
    }

    /// The id of the last entry of the journal, if there is one.
    pub(super) async fn last(&self) -> Result<Option<String>, RedisError> {
        self.end("XREVRANGE", "+", "-").await
    }

    /// The id of the first entry of the journal, if there is one.
    pub(super) async fn first(&self) -> Result<Option<String>, RedisError> {
        self.end("XRANGE", "-", "+").await
    }

    async fn end(&self, verb: &str, from: &str, to: &str) -> Result<Option<String>, RedisError> {
        let command = redis::cmd(verb).arg(JOURNAL).arg(from).arg(to).arg("COUNT").arg(1).to_owned();
        let found: Vec<(String, HashMap<String, String>)> =
            self.with(async |connection, _| command.query_async(connection).await).await?;
        Ok(found.into_iter().next().map(|(id, _)| id))
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

/// Whether the stream id `one` is `other` or comes before it.
pub(super) fn is_at_most(one: &str, other: &str) -> bool {
    fn parts(id: &str) -> Option<(u64, u64)> {
        let (time, number) = id.split_once('-')?;
        Some((time.parse().ok()?, number.parse().ok()?))
    }
    parts(one) <= parts(other)
}
