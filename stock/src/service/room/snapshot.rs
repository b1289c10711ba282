//! What was seen, as the page gets it.

use serde::Serialize;
use utoipa::ToSchema;

use super::nodes::Node;
use crate::assembly::Rates;
use crate::service::answer::Record;

/// The instance at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::service) struct Snapshot {
    /// When, by the instance's clock.
    #[schema(format = DateTime)]
    pub(super) at: String,
    /// How long it has been watched.
    pub(super) uptime_seconds: u64,
    pub(super) process_id: u32,
    /// row-lock, redlock or resident.
    pub(super) repository: String,
    /// Without its password.
    pub(super) database: String,
    /// Whether lock nodes can be stopped and killed from here, as in the demo.
    pub(super) nodes_can_be_hurt: bool,
    pub(super) nodes: Vec<Node>,
    /// Those that end first.
    pub(super) leases: Vec<Lease>,
    /// How many there are.
    pub(super) leases_held: usize,
    pub(super) operations: Operations,
    /// By level; null where there is no cache.
    pub(super) cache: Option<Vec<Cache>>,
    /// Null where every request has a transaction of its own.
    pub(super) batches: Option<Batches>,
    /// The busiest, as they were last seen.
    pub(super) records: Vec<Record>,
}

/// A lease that the instance holds.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::service) struct Lease {
    /// The locked keys.
    pub(super) resource: String,
    /// Its fencing token.
    pub(super) fence: u64,
    pub(super) remaining_ms: u64,
}

/// What was asked in the last five seconds, a second.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::service) struct Operations {
    /// Requests that were carried out.
    per_second: f64,
    /// Requests that levels or holds did not allow.
    refused_per_second: f64,
    /// Requests that failed.
    failed_per_second: f64,
    /// Reads of single records.
    reads_per_second: f64,
    /// Half of the requests took at most this.
    p50_ms: f64,
    /// 99 of 100 did.
    p99_ms: f64,
}

impl From<Rates> for Operations {
    fn from(rates: Rates) -> Self {
        Self {
            per_second: rates.done,
            refused_per_second: rates.refused,
            failed_per_second: rates.failed,
            reads_per_second: rates.reads,
            p50_ms: rates.p50.as_secs_f64() * 1_000.0,
            p99_ms: rates.p99.as_secs_f64() * 1_000.0,
        }
    }
}

/// Reads that a level of the cache has answered.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::service) struct Cache {
    /// local, redis or database.
    pub(super) level: &'static str,
    /// All of them.
    pub(super) reads: u64,
    /// In the last second.
    pub(super) per_second: f64,
    /// Their part in all reads, 0 to 1.
    pub(super) rate: f64,
}

/// How many requests go into one transaction.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::service) struct Batches {
    pub(super) transactions_per_second: f64,
    /// In the last second.
    pub(super) requests_per_transaction: f64,
    /// How many transactions had fewer than 1, 2, 4, 8, … requests, each counted once.
    pub(super) requests_by_power_of_two: Vec<u64>,
}
