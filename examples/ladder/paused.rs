//! Rungs 12 and 13: a holder that stands still for longer than its lease and cannot know it, and a
//! store that refuses what comes too late.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use redis::cmd;
use redlock::FencingToken;
use tokio::sync::oneshot;

use super::client::Client;
use super::one_node::over;
use super::table::Row;
use super::world::World;

const FENCED_WRITE: &str = include_str!("fenced_write.lua");

/// What the first holder sleeps through; long enough that a busy machine renews the second one's.
const TTL: Duration = Duration::from_secs(2);

/// Whether the store looks at the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    TakesAnything,
    ChecksTheToken,
}

pub(crate) async fn row(world: &World) -> anyhow::Result<Row> {
    // Side by side, because most of it is waiting.
    let (seen, seen_then) = tokio::try_join!(
        world.few_trials(|key| overwritten(world, Store::TakesAnything, key)),
        world.few_trials(|key| overwritten(world, Store::ChecksTheToken, key)),
    )?;
    Ok(Row {
        rung: "Redlock, and a paused holder",
        flaw: "it wakes after its lease and overwrites newer work",
        seen,
        mended_by: "fencing tokens, checked by the store",
        seen_then,
    })
}

/// The first holder stands still between its look at the lease and its write. Is its old work there
/// in the end, instead of that of the second, who came after it?
async fn overwritten(world: &World, store: Store, key: String) -> anyhow::Result<bool> {
    let (holds, held) = oneshot::channel();
    let (wake, woken) = mpsc::channel();
    let first = {
        let (world, key) = (world.clone(), key.clone());
        // A thread with a runtime of its own stands for a process: while it stands still, nothing of
        // it goes on, its renewals as little as its work.
        tokio::task::spawn_blocking(move || stand_still(&world, store, &key, holds, &woken))
    };
    held.await.context("the first holder never held")?;
    let second = over(world.nodes())?;
    let guard = second.lock(key.as_str()).ttl(TTL).await?;
    write(&mut world.client().await?, store, &key, "new", guard.fence()).await?;
    wake.send(()).context("the first holder is gone")?;
    first.await??;
    let value: String = world.client().await?.ask(cmd("HGET").arg(cell(&key)).arg("value")).await?;
    ensure!(guard.is_valid(), "the second holder lost its lease");
    guard.release().await?;
    Ok(value == "old")
}

fn stand_still(
    world: &World,
    store: Store,
    key: &str,
    holds: oneshot::Sender<()>,
    woken: &mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    let process = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    process.block_on(async {
        let redlock = over(world.nodes())?;
        let guard = redlock.lock(key).ttl(TTL).await?;
        let mut client = world.client().await?;
        ensure!(guard.is_valid(), "it was just acquired");
        let _ = holds.send(());
        // Blocks the whole runtime, as a garbage collector or a swapping machine would.
        woken.recv()?;
        write(&mut client, store, key, "old", guard.fence()).await
    })
}

async fn write(client: &mut Client, store: Store, key: &str, value: &str, fence: FencingToken) -> anyhow::Result<()> {
    let cell = cell(key);
    match store {
        Store::TakesAnything => client.ask(cmd("HSET").arg(cell).arg("value").arg(value)).await,
        Store::ChecksTheToken => client.run(FENCED_WRITE, &cell, &[value, &fence.to_string()]).await,
    }
}

fn cell(key: &str) -> String {
    format!("{key}:cell")
}
