//! What a service uses: as the kernel has it, and as it says itself.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use crate::clock::{Nanos, now};
use crate::scenario::stock::Http;

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(250);

/// Memory, open files, tasks and requests of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Resident, in megabytes.
    pub(super) memory_mb: u64,
    /// Connections and other files.
    pub(super) files: u64,
    /// Tasks of its runtime.
    pub(super) tasks: u64,
    /// Requests that it is at.
    pub(super) under_way: u64,
}

impl Usage {
    pub(super) async fn of(process: u32, way: &Http) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse()?;
        let files = fs::read_dir(format!("/proc/{process}/fd"))?.count();
        let [tasks, under_way] = way.figures(["stock_tasks", "stock_requests_under_way"]).await?;
        let whole = |figure: f64| format!("{figure:.0}").parse::<u64>();
        let (tasks, under_way) = (whole(tasks)?, whole(under_way)?);
        Ok(Self { memory_mb: kilobytes / 1024, files: u64::try_from(files)?, tasks, under_way })
    }
}

/// Looks at it until then.
pub(super) async fn watch(process: u32, way: Arc<Http>, until: Instant) -> Vec<(Nanos, Usage)> {
    let mut usages = Vec::new();
    while Instant::now() < until {
        usages.extend(Usage::of(process, &way).await.ok().map(|usage| (now(), usage)));
        sleep(PAUSE).await;
    }
    usages
}

/// What it uses when it has let go of everything, or after that time.
pub(super) async fn calm(process: u32, way: &Http, rest: &Usage, within: Duration) -> anyhow::Result<Usage> {
    let until = Instant::now() + within;
    loop {
        let usage = Usage::of(process, way).await?;
        if Instant::now() > until || usage.files <= rest.files && usage.tasks <= rest.tasks {
            return Ok(usage);
        }
        sleep(PAUSE).await;
    }
}
