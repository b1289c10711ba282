//! Saturation with faults: more buyers than `stock serve` takes on, over HTTP, while nodes hang and the database hangs
//! and dies. Memory stays flat, nothing leaks, queues are bounded, and throughput is back soon after each fault.

mod checks;
mod rush;
mod usage;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep_until};

use self::checks::Seen;
use self::rush::Sample;
use self::usage::Usage;
use super::Settings;
use super::locks::finish;
use super::stock::{Counter, DATABASE, StockStage, StockWorld, build};
use crate::plan;
use crate::record::{History, Record};

/// How many requests the service takes on at once.
pub(crate) const QUEUE: u64 = 256;

/// How many connections to the database it may have.
pub(crate) const CONNECTIONS: u64 = 32;

/// How long the service may take to let go of what the last client has left.
const CALM_WITHIN: Duration = Duration::from_secs(5);

/// Who works, and what goes wrong.
pub(crate) struct LoadStage {
    pub(crate) stock: StockStage,
    /// More than [`QUEUE`].
    pub(crate) buyers: usize,
}

pub(super) async fn run(
    stage: &LoadStage,
    settings: &Settings,
    length: Duration,
    record: &Arc<Record>,
) -> anyhow::Result<History> {
    let (mut world, counters) = build(&stage.stock, settings, record).await?;
    let Some(Counter::Http(way)) = counters.first().cloned() else { bail!("no service") };
    let process = world.instances[0].child().await.context("no service")?.id();
    let rest = Usage::of(process, &way).await?;
    record.begin();
    let until = Instant::now() + length;
    let samples = Arc::new(Mutex::new(Vec::new()));
    let tell = teller(&samples, record);
    // A client of its own, whose connections end with it.
    let rushing = Counter::Http(Arc::new(way.like()?));
    let rushing = tokio::spawn(rush::rush(rushing, settings.seed, stage.buyers, until, tell));
    let watching = tokio::spawn(usage::watch(process, way.clone(), until));
    plan::carry_out((stage.stock.plan)(&world, settings.seed, length), record).await?;
    sleep_until(until).await;
    rushing.await?;
    let usages = watching.await?;
    let after = usage::calm(process, &way, &rest, CALM_WITHIN).await?;
    finish(&world.instances, record).await;
    world.instances.clear();
    let samples = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
    let mut history = record.finish();
    counted(&world, &samples, &mut history).await?;
    let buyers = u64::try_from(stage.buyers)?;
    let seen = Seen { rest, after, usages, samples, connections: CONNECTIONS, queue: QUEUE, buyers };
    checks::check(&seen, &mut history);
    Ok(history)
}

fn teller(samples: &Arc<Mutex<Vec<Sample>>>, record: &Arc<Record>) -> impl Fn(Sample) + Send + 'static {
    let (samples, record) = (samples.clone(), record.clone());
    move |sample| {
        record.counts(sample.at, sample.done);
        samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }
}

/// What was answered is in the log, and what is there beside that was unknown.
async fn counted(world: &StockWorld, samples: &[Sample], history: &mut History) -> anyhow::Result<()> {
    let sum = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>();
    let (done, unknown) = (sum(|sample| sample.done), sum(|sample| sample.unknown));
    let (refused, overloaded) = (sum(|sample| sample.refused), sum(|sample| sample.overloaded));
    let sql = "SELECT COUNT(*), COUNT(DISTINCT request_id), (SELECT SUM(locked_stock) FROM product_stocks) \
               FROM product_stock_logs";
    let rows = world.database.query(DATABASE, sql).await?;
    let number = |at: usize| -> anyhow::Result<u64> { Ok(rows[0][at].as_deref().context("no number")?.parse()?) };
    let (entries, ids, locked) = (number(0)?, number(1)?, number(2)?);
    if entries != ids || entries != locked || !(done..=done + unknown).contains(&entries) {
        history.broken.push(format!(
            "{done} answered, {unknown} unknown, but {entries} entries of {ids} requests, {locked} units locked"
        ));
    }
    history.notes.push(format!(
        "{done} answered, {unknown} unknown, {overloaded} refused as too many, {refused} for other reasons"
    ));
    history.notes.push(format!("{entries} log entries, {locked} units locked"));
    Ok(())
}
