//! A job that takes longer than its lease, and one that loses it.
//!
//! The lease is short, so that a process that vanishes is missed soon; renewal keeps it for as long as
//! the job runs. When it cannot be kept, the job is dropped at its next await: nothing of it goes on
//! beside the next holder's. Run it with `cargo run -p examples --example long_job`; `REDLOCK_NODES`
//! names other nodes than its own.

mod nodes;

use std::time::Duration;

use nodes::Nodes;
use redlock::{LossReason, RunError};
use tokio::time::{Instant, sleep};

/// How long the lock outlives a process that vanishes.
const TTL: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(100);

/// What a run of the lesson showed.
#[derive(Debug)]
pub(crate) struct Shown {
    /// How long the job that ended took: two leases.
    pub(crate) took: Duration,
    /// Why the other one did not end.
    pub(crate) lost: LossReason,
    /// How many of its steps were done when it was dropped.
    pub(crate) steps: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Shown { took, lost, steps } = lesson().await?;
    println!("the first job ended after {took:?}, the second was dropped after {steps} steps: {lost}");
    Ok(())
}

pub(crate) async fn lesson() -> anyhow::Result<Shown> {
    let nodes = Nodes::named_or_own().await?;
    let redlock = nodes.builder().ttl(TTL).build()?;

    println!("a job of {:?} under a lease of {TTL:?}", 2 * TTL);
    let started = Instant::now();
    redlock
        .lock("report:daily")
        .run(async |lease| {
            while started.elapsed() < 2 * TTL {
                sleep(STEP).await;
            }
            println!("done, and the lease lasts another {:?}", lease.validity());
        })
        .await?;
    let took = started.elapsed();

    // The second job never ends by itself. Our own nodes are stopped under it; others are left alone,
    // and the lock is given up after a while.
    let request = redlock.lock("report:endless");
    let request = if nodes.own.is_empty() { request.max_hold(2 * TTL) } else { request };
    let mut steps = 0;
    let endless = request.run(async |_lease| {
        if !nodes.own.is_empty() {
            println!("two of three nodes stop answering; the job does not know");
        }
        for node in nodes.own.iter().take(2) {
            if let Err(error) = node.pause().await {
                println!("{error}");
            }
        }
        loop {
            sleep(STEP).await;
            steps += 1;
        }
    });
    let lost = match endless.await {
        Err(RunError::Lost(reason)) => reason,
        Err(error) => return Err(error.into()),
        Ok(()) => anyhow::bail!("an endless job has ended"),
    };
    redlock.close(Duration::from_secs(1)).await;
    Ok(Shown { took, lost, steps })
}
