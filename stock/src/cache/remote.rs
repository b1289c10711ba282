//! The level in Redis: hashes, read and written in pipelines, a bounded time each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult, Script, Value};

use super::Settings;
use super::keys::{self, FIELDS, GENERATION};
use super::pending::Errand;
use crate::hint::{CHANNEL, Hint};
use crate::operation::StockKey;
use crate::record::StockRecord;

const PUT_CODE: &str = include_str!("put.lua");
const DOUBT_CODE: &str = include_str!("doubt.lua");

static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(PUT_CODE));
static DOUBT: LazyLock<Script> = LazyLock::new(|| Script::new(DOUBT_CODE));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));

/// How long nobody asks after a question that was not answered.
const PAUSE: Duration = Duration::from_millis(200);

/// The Redis that all instances share, as far as it answers.
#[derive(Debug)]
pub(super) struct Remote {
    link: RwLock<Option<MultiplexedConnection>>,
    /// The largest generation seen.
    generation: AtomicU64,
    /// Until when nobody asks, in milliseconds since `started`.
    silent_until: AtomicU64,
    started: Instant,
    patience: Duration,
    ttl: Duration,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Reading {
    /// For each key its record, if it is there.
    Found(Vec<Option<StockRecord>>),
    /// The generation has risen: nothing that was known before counts.
    NewGeneration,
    /// No answer in time.
    Silence,
}

/// What became of an errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// A newer record is there.
    Older,
    /// The generation has risen.
    NewGeneration,
}

impl Remote {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            link: RwLock::new(None),
            generation: AtomicU64::new(0),
            silent_until: AtomicU64::new(0),
            started: Instant::now(),
            patience: settings.patience,
            ttl: settings.ttl,
        }
    }

    /// From now on this connection is used, or none.
    pub(super) fn set_link(&self, link: Option<MultiplexedConnection>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
        self.silent_until.store(0, Ordering::Relaxed);
    }

    /// Whether there is anybody to ask just now.
    fn link(&self) -> Option<MultiplexedConnection> {
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        (self.now() >= self.silent_until.load(Ordering::Relaxed)).then_some(link)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes over a generation; whether it is a new one.
    pub(super) fn adopt(&self, generation: u64) -> bool {
        self.generation.fetch_max(generation, Ordering::SeqCst) < generation
    }

    /// Reads records, all in one pipeline.
    pub(super) async fn read(&self, keys: &[StockKey]) -> Reading {
        let Some(mut link) = self.link() else { return Reading::Silence };
        let generation = self.generation.load(Ordering::SeqCst);
        let mut pipeline = redis::pipe();
        pipeline.get(GENERATION);
        for &key in keys {
            pipeline.cmd("HMGET").arg(keys::key(generation, key)).arg(&FIELDS);
        }
        match tokio::time::timeout(self.patience, pipeline.query_async::<Vec<Value>>(&mut link)).await {
            Ok(Ok(answers)) => self.found(keys, generation, &answers),
            Ok(Err(error)) if is_refusal(&error) => {
                tracing::debug!(%error, "the cache refused to be read");
                Reading::Found(vec![None; keys.len()])
            }
            _ => {
                let until = self.now() + u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
                self.silent_until.store(until, Ordering::Relaxed);
                Reading::Silence
            }
        }
    }

    fn found(&self, keys: &[StockKey], generation: u64, answers: &[Value]) -> Reading {
        let [stored, hashes @ ..] = answers else { return Reading::Silence };
        let stored: u64 = redis::from_redis_value_ref::<Option<u64>>(stored).ok().flatten().unwrap_or_default();
        if self.adopt(stored) {
            return Reading::NewGeneration;
        }
        // It has forgotten the generation, and will be told.
        let forgot = stored != generation;
        let record = |(&key, hash): (&StockKey, &Value)| keys::record(key, hash).filter(|_| !forgot);
        Reading::Found(keys.iter().zip(hashes).map(record).collect())
    }

    /// Runs errands, all in one pipeline.
    pub(super) async fn write(
        &self,
        link: &mut MultiplexedConnection,
        errands: &[Errand],
    ) -> RedisResult<Vec<Written>> {
        let generation = self.generation.load(Ordering::SeqCst);
        let mut pipeline = redis::pipe();
        for code in [PUT_CODE, DOUBT_CODE] {
            // Sent along each time: a restarted server has forgotten them.
            pipeline.cmd("SCRIPT").arg("LOAD").arg(code).ignore();
        }
        for errand in errands {
            self.errand(&mut pipeline, generation, errand);
        }
        let answers: Vec<i64> = pipeline.query_async(link).await?;
        let written = |answer| match answer {
            1 => Written::Done,
            0 => Written::Older,
            _ => Written::NewGeneration,
        };
        Ok(answers.into_iter().map(written).collect())
    }

    fn errand(&self, pipeline: &mut Pipeline, generation: u64, errand: &Errand) {
        let key = keys::key(generation, errand.key());
        let script = if matches!(errand, Errand::Put(_)) { &PUT } else { &DOUBT };
        let command = pipeline.cmd("EVALSHA").arg(script.get_hash()).arg(2).arg(key).arg(GENERATION).arg(generation);
        match errand {
            Errand::Put(record) => {
                let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
                let hint = Hint::Changed(record.key, record.version).to_string();
                command.arg(ttl).arg(CHANNEL).arg(hint).arg(record.version);
                for (field, value) in FIELDS.iter().zip(keys::values(record)) {
                    command.arg(field).arg(value);
                }
            }
            Errand::Doubt(key) => {
                command.arg(CHANNEL).arg(Hint::Doubtful(*key).to_string());
            }
        }
    }

    /// Lets this instance hear itself on `channel`; the generation.
    pub(super) async fn beat(&self, link: &mut MultiplexedConnection, channel: &str) -> RedisResult<u64> {
        let known = self.generation.load(Ordering::SeqCst);
        BEAT.key(GENERATION).arg(known).arg(channel).invoke_async(link).await
    }
}

/// Whether the server has answered, and said no.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    !error.is_io_error() && !error.is_timeout() && !error.is_connection_dropped() && !error.is_unrecoverable_error()
}
