//! One contender's turn in one scene: new records, instances, a rush, and somebody who counts.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;

use super::child::Instance;
use super::contender::Contender;
use super::count;
use super::database::Database;
use super::instance::DRAIN;
use super::orders::{Orders, Record, Scene};
use super::times::Times;
use super::{Plan, WARM_UP};

/// A turn to be made.
pub(super) struct Turn<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scene: Scene,
    pub(super) contender: Contender,
}

impl Turn<'_> {
    /// Makes it, and reconciles what clients were told with what the database says.
    pub(super) async fn run(&self, database: &Database) -> anyhow::Result<Measured> {
        let variants = database.new_records(self.scene.records).await?;
        let orders = self.orders(variants);
        let starting = (0..self.scene.instances).map(|_| Instance::start(&orders));
        let mut instances =
            try_join_all(starting).await.with_context(|| format!("{} could not begin", self.contender))?;
        for instance in &mut instances {
            instance.go().await?;
        }
        let measured = self.scene.measured(self.plan);
        let work = WARM_UP + measured + DRAIN;
        let records = try_join_all(instances.into_iter().map(|instance| instance.record(work))).await?;
        let reconciled = count::reconcile(database, &orders.variants, &records).await;
        reconciled.with_context(|| format!("{} in scene `{}`", self.contender, self.scene))?;
        Ok(Measured::new(&records, measured))
    }

    fn orders(&self, variants: Vec<u64>) -> Orders {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Orders {
            database: self.plan.database.clone(),
            nodes: self.plan.nodes.clone(),
            redis: self.plan.redis.clone(),
            quarantine: self.plan.restart_guard != crate::config::RestartGuard::Off,
            contender: self.contender,
            http: self.scene.http,
            no_ids: self.scene.no_ids,
            lag_ms: if self.scene.behind { millis(WARM_UP + self.scene.measured(self.plan)) } else { 0 },
            variants,
            clients: self.scene.clients_in_each(self.plan.clients),
            warm_up_ms: millis(WARM_UP),
            measured_ms: millis(self.scene.measured(self.plan)),
        }
    }
}

/// What came of a turn.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Measured {
    /// Requests answered, a second, over all instances.
    pub(super) rate: f64,
    /// Half of the requests took no longer, in milliseconds.
    pub(super) p50: f64,
    /// 99 of 100 requests took no longer, in milliseconds.
    pub(super) p99: f64,
    /// The smallest of the instances' shares, in parts of an even one.
    pub(super) least_share: f64,
    /// How long it took until the database had everything, in seconds.
    pub(super) drained: f64,
    /// Requests a second that the database had, from the beginning until it had everything.
    pub(super) sustained: f64,
    /// Requests that came to nothing.
    pub(super) failed: u64,
    /// What the first of them said.
    pub(super) error: Option<String>,
}

impl Measured {
    fn new(records: &[Record], measured: Duration) -> Self {
        let mut times = Times::new();
        records.iter().for_each(|record| times.add(&record.times));
        let least = records.iter().map(|record| record.times.count()).min().unwrap_or_default();
        let even = number(times.count()) / number(records.len() as u64);
        let drained = records.iter().map(|record| Duration::from_millis(record.drained_ms)).max().unwrap_or_default();
        let done = records.iter().map(|record| record.done).sum();
        Self {
            rate: number(times.count()) / measured.as_secs_f64(),
            p50: times.percentile(50.0),
            p99: times.percentile(99.0),
            least_share: if even > 0.0 { number(least) / even } else { 0.0 },
            drained: drained.as_secs_f64(),
            sustained: number(done) / (WARM_UP + measured + drained).as_secs_f64(),
            failed: records.iter().map(|record| record.failed).sum(),
            error: records.iter().find_map(|record| record.error.clone()),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, p50 {:.1} ms, p99 {:.1} ms", self.rate, self.p50, self.p99)?;
        match &self.error {
            Some(error) => write!(f, ", {} failed, the first with: {error}", self.failed),
            None => Ok(()),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}
