//! Rung 9: work that outlives the lease, and a lease that is renewed while the work goes on.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use super::client::Client;
use super::lock::{acquire, millis, release};
use super::set_nx_px::CompareAndDelete;
use super::table::Row;
use super::world::{LONG, World};

const COMPARE_AND_EXPIRE: &str = include_str!("compare_and_expire.lua");

/// Long enough that a busy machine does not miss a renewal.
const TTL: Duration = Duration::from_secs(2);
/// So many leases long is the work.
const LEASES: u32 = 2;

pub(crate) async fn row(world: &World) -> anyhow::Result<Row> {
    // Side by side, because most of it is waiting.
    let (seen, seen_then) = tokio::try_join!(
        world.trials(|key| two_at_once(world, false, key)),
        world.trials(|key| two_at_once(world, true, key)),
    )?;
    Ok(Row {
        rung: "compare-and-delete, no renewal",
        flaw: "the work outlives the lease: two at once",
        seen,
        mended_by: "renewal at a third of the ttl",
        seen_then,
    })
}

/// The work takes two leases; does anybody else get in before it is done?
async fn two_at_once(world: &World, renewed: bool, key: String) -> anyhow::Result<bool> {
    let mut holder = world.client().await?;
    let value = acquire(CompareAndDelete, &mut holder, &key, TTL).await?.context("nobody else was there")?;
    let renewal = if renewed { Some(renew(world.client().await?, key.clone(), value.clone())) } else { None };
    // The work.
    tokio::time::sleep(LEASES * TTL).await;
    let mut other = world.client().await?;
    let got = acquire(CompareAndDelete, &mut other, &key, LONG).await?.is_some();
    if let Some(renewal) = renewal {
        renewal.abort();
    }
    release(CompareAndDelete, &mut holder, &key, &value).await?;
    Ok(got)
}

fn renew(mut client: Client, key: String, value: String) -> JoinHandle<anyhow::Result<()>> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TTL / 3).await;
            client.run::<()>(COMPARE_AND_EXPIRE, &key, &[&value, &millis(TTL).to_string()]).await?;
        }
    })
}
