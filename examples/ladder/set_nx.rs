//! Rungs 2 and 3: `SETNX`, which outlives a holder who dies, and `SETNX` then `EXPIRE`, which does so
//! if the holder dies in between.

use std::time::Duration;

use anyhow::ensure;
use redis::cmd;
use testkit::eventually;

use super::client::{Before, Client, Died, Phase};
use super::lock::{Lock, acquire, millis};
use super::set_nx_px::SetNxPx;
use super::table::Row;
use super::world::{LONG, SHORT, World};

/// The key is there or it is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetNx;

impl Lock for SetNx {
    async fn try_acquire(self, client: &mut Client, key: &str, _: Duration) -> anyhow::Result<Option<String>> {
        let set: bool = client.ask(cmd("SETNX").arg(key).arg(1)).await?;
        Ok(set.then(|| "1".to_owned()))
    }

    async fn give_back(self, client: &mut Client, key: &str, _: &str) -> anyhow::Result<()> {
        client.ask(cmd("DEL").arg(key)).await
    }
}

/// The key is there for a while, set by two commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetNxThenExpire;

impl Lock for SetNxThenExpire {
    async fn try_acquire(self, client: &mut Client, key: &str, ttl: Duration) -> anyhow::Result<Option<String>> {
        let set: bool = client.ask(cmd("SETNX").arg(key).arg(1)).await?;
        if set {
            client.ask::<()>(cmd("PEXPIRE").arg(key).arg(millis(ttl))).await?;
        }
        Ok(set.then(|| "1".to_owned()))
    }

    async fn give_back(self, client: &mut Client, key: &str, _: &str) -> anyhow::Result<()> {
        client.ask(cmd("DEL").arg(key)).await
    }
}

pub(crate) async fn row(world: &World) -> anyhow::Result<Row> {
    let holding = Before(Phase::Work, 1);
    Ok(Row {
        rung: "SETNX",
        flaw: "its holder dies: locked for ever",
        seen: world.trials(|key| locked_for_ever(world, SetNx, holding, key)).await?,
        mended_by: "an EXPIRE after it",
        seen_then: world.trials(|key| locked_for_ever(world, SetNxThenExpire, holding, key)).await?,
    })
}

pub(crate) async fn row_with_expire(world: &World) -> anyhow::Result<Row> {
    let between = Before(Phase::Acquire, 2);
    Ok(Row {
        rung: "SETNX, then EXPIRE",
        flaw: "its holder dies between the two: locked for ever",
        seen: world.trials(|key| locked_for_ever(world, SetNxThenExpire, between, key)).await?,
        mended_by: "SET NX EX, one command",
        seen_then: world.trials(|key| locked_for_ever(world, SetNxPx, between, key)).await?,
    })
}

/// The holder dies; does anybody else ever get the lock?
async fn locked_for_ever(world: &World, lock: impl Lock, dies: Before, key: String) -> anyhow::Result<bool> {
    let mut holder = world.client().await?.dying(dies);
    match acquire(lock, &mut holder, &key, SHORT).await {
        Ok(value) => ensure!(value.is_some(), "nobody else was there"),
        Err(error) => ensure!(error.is::<Died>(), "{error}"),
    }
    drop(holder);
    let mut other = world.client().await?;
    let left: i64 = other.ask(cmd("PTTL").arg(&key)).await?;
    if left == -1 {
        // No time to live: waiting would be in vain.
        return Ok(acquire(lock, &mut other, &key, LONG).await?.is_none());
    }
    let other = tokio::sync::Mutex::new(other);
    eventually(LONG, || async { matches!(acquire(lock, &mut *other.lock().await, &key, LONG).await, Ok(Some(_))) })
        .await;
    Ok(false)
}
