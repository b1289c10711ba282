//! One process that holds many leases and lets them be renewed, and a caller in it who wants another lock meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redlock::{Guard, Redlock, Released};
use serde::{Deserialize, Serialize};

use crate::contender::ours;
use crate::times::Times;
use crate::usage::{processor_time, resident_bytes};

/// How many locks are taken, and released, at a time.
const AT_A_TIME: usize = 256;
/// How often the caller comes back; seldom enough to cost next to nothing.
const PACE: Duration = Duration::from_millis(10);

/// How many leases are held for how long.
#[derive(Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) leases: u32,
    pub(crate) ttl: Duration,
    /// How long the caller is alone first.
    pub(crate) idle: Duration,
    pub(crate) hold: Duration,
}

/// What came of it; times in seconds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) acquired_in: f64,
    pub(crate) released_in: f64,
    /// Leases that were over before they were released, by their guards or by the nodes.
    pub(crate) lost: usize,
    /// Releases that no quorum answered in time.
    pub(crate) unconfirmed: usize,
    /// Cores in use by this process, the caller's share included: alone, and while the leases were held.
    pub(crate) cores_idle: f64,
    pub(crate) cores: f64,
    /// Memory in use above what it was before the leases; `None` where the system does not tell.
    pub(crate) bytes: Option<u64>,
    pub(crate) p99_idle: f64,
    pub(crate) p99: f64,
}

/// Takes the leases, holds them, gives them back.
pub(crate) async fn hold(urls: &[String], holding: &Holding) -> anyhow::Result<Held> {
    let redlock = ours(urls, holding.ttl).await?;
    let (p99_idle, cores_idle) = call(&redlock, holding.idle).await?;
    let before = resident_bytes();
    let started = Instant::now();
    let guards = acquire(&redlock, holding.leases).await?;
    let acquired_in = started.elapsed().as_secs_f64();
    let (p99, cores) = call(&redlock, holding.hold).await?;
    let bytes = resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
    let lost_before = guards.iter().filter(|guard| !guard.is_valid()).count();
    let started = Instant::now();
    let (lost, unconfirmed) = release(guards).await;
    let released_in = started.elapsed().as_secs_f64();
    redlock.close(Duration::from_secs(30)).await;
    let lost = lost.max(lost_before);
    Ok(Held { acquired_in, released_in, lost, unconfirmed, cores_idle, cores, bytes, p99_idle, p99 })
}

async fn acquire(redlock: &Redlock, leases: u32) -> anyhow::Result<Vec<Guard>> {
    // Of the right size at once: the growth of a vector is not the lock's memory.
    let mut guards = Vec::with_capacity(leases as usize);
    let requests = stream::iter(0..leases).map(|lease| redlock.lock(format!("bench:lease:{lease}")).into_future());
    let mut granted = requests.buffer_unordered(AT_A_TIME);
    while let Some(guard) = granted.try_next().await.context("a lease is not granted")? {
        guards.push(guard);
    }
    Ok(guards)
}

/// How many were lost, and of how many that is not known.
async fn release(guards: Vec<Guard>) -> (usize, usize) {
    let releases = stream::iter(guards).map(Guard::release).buffer_unordered(AT_A_TIME);
    releases
        .fold((0, 0), async |(lost, unconfirmed), released| match released {
            Ok(Released::Released) => (lost, unconfirmed),
            Ok(Released::Unconfirmed) => (lost, unconfirmed + 1),
            _ => (lost + 1, unconfirmed),
        })
        .await
}

/// Takes a lock of its own again and again for `time`: acquire p99, and the cores that the process used.
async fn call(redlock: &Redlock, time: Duration) -> anyhow::Result<(f64, f64)> {
    let (started, processor) = (Instant::now(), processor_time());
    let mut times = Times::new();
    while started.elapsed() < time {
        let asked = Instant::now();
        let guard = redlock.lock("bench:unrelated").await?;
        times.record(asked.elapsed());
        guard.release().await?;
        tokio::time::sleep(PACE).await;
    }
    let processor = processor_time().saturating_sub(processor).as_secs_f64();
    Ok((times.percentile(99.0), processor / started.elapsed().as_secs_f64()))
}
