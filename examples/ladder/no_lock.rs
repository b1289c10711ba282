//! Rung 1: read the stock, decide, write it back. Two buyers who read the same number both sell it.

use std::time::Duration;

use redis::cmd;

use super::client::{Before, Client, Paused, Phase};
use super::lock::{Lock, acquire, release};
use super::set_nx::SetNx;
use super::table::Row;
use super::world::{LONG, World};

/// Everybody may go ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoLock;

impl Lock for NoLock {
    async fn try_acquire(self, _: &mut Client, _: &str, _: Duration) -> anyhow::Result<Option<String>> {
        Ok(Some(String::new()))
    }

    async fn give_back(self, _: &mut Client, _: &str, _: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

pub(crate) async fn row(world: &World) -> anyhow::Result<Row> {
    Ok(Row {
        rung: "read the stock, then write it",
        flaw: "two buyers read the same number: oversold",
        seen: world.trials(|key| oversold(world, NoLock, key)).await?,
        mended_by: "SETNX",
        seen_then: world.trials(|key| oversold(world, SetNx, key)).await?,
    })
}

/// One unit, two buyers; the second comes between the first one's read and write.
async fn oversold(world: &World, lock: impl Lock, key: String) -> anyhow::Result<bool> {
    let stock = format!("{key}:stock");
    let mut shop = world.client().await?;
    shop.ask::<()>(cmd("SET").arg(&stock).arg(1)).await?;
    let (first, mut second) = (world.client().await?, world.client().await?);
    let buying = {
        let (key, stock) = (key.clone(), stock.clone());
        Paused::before(Before(Phase::Work, 2), first, async move |mut client| {
            buy(lock, &mut client, &key, &stock).await
        })
    };
    let first = buying.await?;
    let sold_to_second = buy(lock, &mut second, &key, &stock).await?;
    let sold_to_first = first.go_on().await?;
    Ok(sold_to_first && sold_to_second)
}

/// Whether this buyer got one.
async fn buy(lock: impl Lock, client: &mut Client, key: &str, stock: &str) -> anyhow::Result<bool> {
    let Some(value) = acquire(lock, client, key, LONG).await? else { return Ok(false) };
    client.enter(Phase::Work);
    let left: i64 = client.ask(cmd("GET").arg(stock)).await?;
    if left > 0 {
        client.ask::<()>(cmd("SET").arg(stock).arg(left - 1)).await?;
    }
    release(lock, client, key, &value).await?;
    Ok(left > 0)
}
