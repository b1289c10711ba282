//! Rungs 10 and 11: one server that dies and comes back without its keys, and Redlock over three, of
//! which one does.

use anyhow::{Context as _, bail};
use redlock::{LockError, Redlock, RestartGuard};
use testkit::{RedisServer, Restart};

use super::lock::acquire;
use super::set_nx_px::CompareAndDelete;
use super::table::{Row, Seen};
use super::world::{LONG, PATIENT, World};

/// Each stops and starts a server.
const TRIALS: usize = 5;

pub(crate) async fn row(world: &World) -> anyhow::Result<Row> {
    Ok(Row {
        rung: "renewed, on one node",
        flaw: "it dies and forgets the lock: two at once",
        seen: on_one(world).await?,
        mended_by: "Redlock over three nodes",
        seen_then: on_three(world).await?,
    })
}

async fn on_one(world: &World) -> anyhow::Result<Seen> {
    let mut seen = Seen::none_of(TRIALS);
    for _ in 0..TRIALS {
        let key = world.key();
        let mut holder = world.client().await?;
        acquire(CompareAndDelete, &mut holder, &key, LONG).await?.context("nobody else was there")?;
        world.server().restart(Restart::Empty).await?;
        let mut other = world.client().await?;
        seen.count(acquire(CompareAndDelete, &mut other, &key, LONG).await?.is_some());
    }
    Ok(seen)
}

async fn on_three(world: &World) -> anyhow::Result<Seen> {
    let mut seen = Seen::none_of(TRIALS);
    for trial in 0..TRIALS {
        let key = world.key();
        let holder = over(world.nodes())?;
        let guard = holder.lock(key.as_str()).await?;
        world.nodes()[trial % world.nodes().len()].restart(Restart::Empty).await?;
        let other = over(world.nodes())?;
        match other.try_lock(key.as_str()).await {
            Ok(_) => seen.count(true),
            Err(LockError::Contended { .. }) => seen.count(false),
            Err(error) => bail!(error),
        }
        guard.release().await?;
    }
    Ok(seen)
}

/// A manager of one process over these nodes.
pub(crate) fn over(nodes: &[RedisServer]) -> anyhow::Result<Redlock> {
    let builder = Redlock::builder().nodes(nodes.iter().map(RedisServer::url));
    // Without it the node that forgot would not even be asked for its vote; here two nodes that
    // remember are shown to be enough. The second line is for machines that are busy.
    let builder = builder.restart_guard(RestartGuard::Off);
    Ok(builder.node_timeout(PATIENT).build()?)
}
