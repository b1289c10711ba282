//! Records close at hand: in this process, and in a Redis that all instances share.
//!
//! The database keeps truth; what is here is a copy of what was committed, with its version, and an older
//! version never takes the place of a newer one:
//!
//! - **In Redis** a record is the hash `product_stock:{variant_id}:{warehouse_id}` (fields `id`,
//!   `product_id`, `stock`, `available_stock`, `locked_stock`, `reserved_stock`, `version`), for 300
//!   seconds. A script compares versions, writes, and tells the other instances, in one step.
//! - **In the process** it is kept together with the largest version this instance has heard of. A value
//!   below that is not kept and not served, so whoever has changed a record here never reads an older one
//!   here. Hints of other instances raise it. Where hints cannot be heard (no Redis is configured, or it
//!   does not answer) everything local is dropped, and what comes after is kept for
//!   [`Settings::blind`] only.
//!
//! Redis is never waited for by a write: what was committed is noted and brought there by a task of its
//! own, a hundred records a pipeline, the newest version of each. A read waits [`Settings::patience`] at
//! most, and after that nobody asks for a while. A record that is nowhere at hand is read from the
//! database by one reader, whom the others wait for.
//!
//! What is promised across instances is freshness in the usual case, not always: an instance that dies
//! between a commit and its note leaves an older value in Redis until that expires.
//!
//! **A restored database** has older versions than the cache. [`clear`] raises a generation, kept in
//! `product_stock:generation`. While that is 0, or not there, keys are as above; after that they are
//! `product_stock:g{generation}:{variant_id}:{warehouse_id}`, so that nothing that was written before, or
//! is about to be, is ever found again. Every read and write compares the generation, and instances drop
//! what they have when it rises. Because of that, the Redis must be a single server, or behind one
//! address; not a Redis Cluster.

mod cached;
mod clearing;
mod flights;
mod keeper;
mod keys;
mod local;
mod pending;
mod place;
mod remote;
mod shared;

use std::fmt;
use std::time::Duration;

pub use self::cached::{Cached, Warmed};
pub use self::clearing::clear;
pub use self::place::RedisPlace;

use crate::record::StockRecord;

/// Which level answered a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// This process.
    Local,
    /// The Redis that all instances share.
    Redis,
    /// The database, or whatever the repository keeps the truth in.
    Database,
}

impl Level {
    /// Every level, the nearest first.
    pub const ALL: [Self; 3] = [Self::Local, Self::Redis, Self::Database];

    /// The name used in headers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Redis => "redis",
            Self::Database => "database",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A record, and where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The record.
    pub record: StockRecord,
    /// Which level had it.
    pub level: Level,
}

/// How a cache behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Redis that all instances share; none unless set.
    pub redis: Option<RedisPlace>,
    /// How many records are kept in this process; 100,000 unless set.
    pub capacity: u64,
    /// How long a record is kept, here and in Redis; 300 seconds unless set.
    pub ttl: Duration,
    /// How long a record is kept here while other instances' changes cannot be heard; half a second
    /// unless set, zero for not at all.
    pub blind: Duration,
    /// How long a read waits for Redis; 50 milliseconds unless set.
    pub patience: Duration,
    /// How often the connection to Redis is looked after. Two of these after it has fallen silent, it
    /// counts as broken; 500 milliseconds unless set.
    pub beat: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            redis: None,
            capacity: 100_000,
            ttl: Duration::from_secs(300),
            blind: Duration::from_millis(500),
            patience: Duration::from_millis(50),
            beat: Duration::from_millis(500),
        }
    }
}

/// How many reads each level has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// Answered by this process.
    pub local: u64,
    /// Answered by Redis.
    pub redis: u64,
    /// Answered by the database.
    pub database: u64,
}

impl Hits {
    /// The part of all reads that this level has answered, 0 to 1; zero before the first read.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self, level: Level) -> f64 {
        let all = self.local + self.redis + self.database;
        let answered = match level {
            Level::Local => self.local,
            Level::Redis => self.redis,
            Level::Database => self.database,
        };
        if all == 0 { 0.0 } else { answered as f64 / all as f64 }
    }
}
