//! Who is measured, behind one face.

mod bare;

use std::time::Duration;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use redlock::{Guard, NodeState, Redlock, Released, RestartGuard};
use rslock::{LockGuard, LockManager};
use serde::{Deserialize, Serialize};

use self::bare::{Bare, Claim, Commands};
use crate::args::TTL;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// This crate, fencing and release notices included, with its defaults; the restart guard is off because the nodes
    /// were started a moment ago.
    Redlock,
    /// Bare `SET NX PX`, then bare compare-and-delete, over redis-rs.
    Floor,
    /// This crate's scripts, sent one by one over redis-rs.
    Scripts,
    /// The published crate, with its defaults: three tries with random pauses of up to 200 ms, begun anew until they
    /// succeed, and the Redis client's response timeout of 500 ms.
    Rslock,
}

/// A contender, connected.
#[derive(Clone)]
pub(crate) enum Contender {
    Redlock(Redlock),
    Bare(Bare),
    Rslock(LockManager),
}

/// A lock that is held.
pub(crate) enum Held {
    Redlock(Guard),
    Bare(Claim),
    Rslock(LockGuard),
}

impl Kind {
    /// As the tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redlock => "redlock",
            Self::Floor => "floor",
            Self::Scripts => "scripts",
            Self::Rslock => "rslock",
        }
    }

    /// Connects it to the nodes.
    pub(crate) async fn connect(self, urls: &[String]) -> anyhow::Result<Contender> {
        let contender = match self {
            Self::Redlock => Contender::Redlock(ours(urls, TTL).await?),
            Self::Floor => Contender::Bare(Bare::connect(urls, Commands::Bare).await?),
            Self::Scripts => Contender::Bare(Bare::connect(urls, Commands::Scripts).await?),
            Self::Rslock => Contender::Rslock(LockManager::new(urls.to_vec())),
        };
        // Scripts are loaded and memory is taken before anything is measured.
        for _ in 0..100 {
            let held = contender.acquire("bench:warm-up").await?;
            contender.release(held).await?;
        }
        Ok(contender)
    }
}

impl Contender {
    /// Takes the lock, waiting for it as the contender does.
    pub(crate) async fn acquire(&self, key: &str) -> anyhow::Result<Held> {
        Ok(match self {
            Self::Redlock(redlock) => Held::Redlock(redlock.lock(key).await?),
            Self::Bare(bare) => Held::Bare(bare.acquire(key, TTL).await?),
            Self::Rslock(manager) => Held::Rslock(manager.acquire(key, TTL).await?),
        })
    }

    /// Gives it back, and fails if it was not held any more.
    pub(crate) async fn release(&self, held: Held) -> anyhow::Result<()> {
        match (self, held) {
            (Self::Redlock(_), Held::Redlock(guard)) => {
                let released = guard.release().await?;
                // Unconfirmed is no loss: a quorum did not answer within the node timeout, on a busy machine.
                ensure!(released != Released::AlreadyExpired, "the lock was lost while it was held");
            }
            (Self::Bare(bare), Held::Bare(claim)) => bare.release(claim).await?,
            (Self::Rslock(_), Held::Rslock(guard)) => guard.release().await,
            _ => bail!("the lock is another contender's"),
        }
        Ok(())
    }

    /// Waits until everything that is under way has arrived.
    pub(crate) async fn settle(&self) {
        if let Self::Redlock(redlock) = self {
            redlock.close(Duration::from_secs(20)).await;
        }
    }
}

/// A manager of ours over `urls`, whose connections are up.
pub(crate) async fn ours(urls: &[String], ttl: Duration) -> anyhow::Result<Redlock> {
    let redlock = Redlock::builder().nodes(urls).ttl(ttl).restart_guard(RestartGuard::Off).build()?;
    for _ in 0..200 {
        let inspection = redlock.inspect("bench:warm-up").await;
        if inspection.nodes.iter().all(|node| node.state == NodeState::Free) {
            return Ok(redlock);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the nodes do not answer")
}
