//! What is measured: a file a workload.

pub(crate) mod contest;
mod cycles;
pub(crate) mod leases;
mod w1;
mod w2;
mod w3;
mod w3p;
mod w4;
mod w5;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::args::{Args, Workload};
use crate::contender::{Contender, Kind};
use crate::servers::Servers;
use crate::table::Report;

/// What every workload has to work with.
pub(crate) struct Bench {
    pub(crate) args: Args,
    pub(crate) servers: Servers,
}

/// Runs one workload.
pub(crate) async fn run(bench: &Bench, workload: Workload) -> anyhow::Result<Report> {
    let runtime = if bench.args.current_thread { "current-thread runtime" } else { "2 workers" };
    let title = format!("{}: {} ({runtime})", workload.name().to_uppercase(), workload.subject());
    let mut report = Report::new(title);
    match workload {
        Workload::W1 => w1::run(bench, &mut report).await?,
        Workload::W2 => w2::run(bench, &mut report).await?,
        Workload::W3 => w3::run(bench, &mut report).await?,
        Workload::W3p => w3p::run(bench, &mut report).await?,
        Workload::W4 => w4::run(bench, &mut report).await?,
        Workload::W5 => w5::run(bench, &mut report).await?,
    }
    if workload != Workload::W5 {
        let (rounds, seconds) = (bench.args.rounds, bench.args.seconds.as_secs_f64());
        report.notes.push(format!("medians over {rounds} interleaved rounds, {seconds} s a turn"));
    }
    Ok(report)
}

impl Bench {
    /// Connects contenders, in the order of their turns.
    async fn connect(&self, kinds: &[Kind]) -> anyhow::Result<Vec<(Kind, Contender)>> {
        let urls = self.servers.urls();
        let mut contenders = Vec::with_capacity(kinds.len());
        for kind in kinds {
            contenders.push((*kind, kind.connect(&urls).await?));
        }
        Ok(contenders)
    }

    /// Counts the locks that are on the nodes now and should not be.
    async fn count_left(&self, kind: Kind, report: &mut Report) -> anyhow::Result<()> {
        *report.orphans.entry(kind).or_default() += self.servers.lock_keys().await?;
        Ok(())
    }

    /// After a turn: counts the locks that are left on the nodes once everything has arrived, and empties the nodes.
    async fn clear(&self, kind: Kind, report: &mut Report) -> anyhow::Result<()> {
        let left = self.servers.drained().await?;
        *report.orphans.entry(kind).or_default() += left;
        Ok(())
    }
}

/// A key that nobody has used yet.
fn fresh_key() -> String {
    static USED: AtomicU64 = AtomicU64::new(0);
    format!("bench:{}", USED.fetch_add(1, Ordering::Relaxed))
}
