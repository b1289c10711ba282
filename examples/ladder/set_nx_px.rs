//! Rungs 4 to 6: `SET NX PX` (`EX` with milliseconds), given back by a plain `DEL`, by `GET` then `DEL`
//! over an owner's value, and by a compare-and-delete.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use redis::cmd;

use super::client::{Before, Client, Paused, Phase};
use super::lock::{Lock, acquire, millis, owner, release};
use super::table::Row;
use super::world::{LONG, SHORT, World};

const COMPARE_AND_DELETE: &str = include_str!("compare_and_delete.lua");

/// Every holder has the same value and deletes what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetNxPx;

impl Lock for SetNxPx {
    async fn try_acquire(self, client: &mut Client, key: &str, ttl: Duration) -> anyhow::Result<Option<String>> {
        set(client, key, "1".to_owned(), ttl).await
    }

    async fn give_back(self, client: &mut Client, key: &str, _: &str) -> anyhow::Result<()> {
        client.ask(cmd("DEL").arg(key)).await
    }
}

/// Every holder has a value of its own and looks before it deletes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnerGetThenDel;

impl Lock for OwnerGetThenDel {
    async fn try_acquire(self, client: &mut Client, key: &str, ttl: Duration) -> anyhow::Result<Option<String>> {
        set(client, key, owner(), ttl).await
    }

    async fn give_back(self, client: &mut Client, key: &str, value: &str) -> anyhow::Result<()> {
        let held: Option<String> = client.ask(cmd("GET").arg(key)).await?;
        if held.as_deref() == Some(value) {
            client.ask::<()>(cmd("DEL").arg(key)).await?;
        }
        Ok(())
    }
}

/// Looks and deletes in one script: the lock for one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompareAndDelete;

impl Lock for CompareAndDelete {
    async fn try_acquire(self, client: &mut Client, key: &str, ttl: Duration) -> anyhow::Result<Option<String>> {
        set(client, key, owner(), ttl).await
    }

    async fn give_back(self, client: &mut Client, key: &str, value: &str) -> anyhow::Result<()> {
        client.run(COMPARE_AND_DELETE, key, &[value]).await
    }
}

async fn set(client: &mut Client, key: &str, value: String, ttl: Duration) -> anyhow::Result<Option<String>> {
    let set: Option<String> = client.ask(cmd("SET").arg(key).arg(&value).arg("NX").arg("PX").arg(millis(ttl))).await?;
    Ok(set.map(|_| value))
}

pub(crate) async fn row(world: &World) -> anyhow::Result<Row> {
    let releasing = Before(Phase::Release, 1);
    Ok(Row {
        rung: "SET NX EX, and DEL",
        flaw: "a late holder deletes another's lock: two at once",
        seen: world.trials(|key| two_at_once(world, SetNxPx, releasing, key)).await?,
        mended_by: "an owner's value, GET before DEL",
        seen_then: world.trials(|key| two_at_once(world, OwnerGetThenDel, releasing, key)).await?,
    })
}

pub(crate) async fn row_with_owner(world: &World) -> anyhow::Result<Row> {
    let between = Before(Phase::Release, 2);
    Ok(Row {
        rung: "owner's value, GET then DEL",
        flaw: "it expires between the two, another's is deleted",
        seen: world.trials(|key| two_at_once(world, OwnerGetThenDel, between, key)).await?,
        mended_by: "compare-and-delete in Lua",
        // A script has no second command to stand before: late is before the first.
        seen_then: world.trials(|key| two_at_once(world, CompareAndDelete, Before(Phase::Release, 1), key)).await?,
    })
}

/// The first holder is late in giving back; its lock expires and the second takes it. Does the third
/// get in while the second is there?
async fn two_at_once(world: &World, lock: impl Lock, late: Before, key: String) -> anyhow::Result<bool> {
    let name = key.clone();
    let first = Paused::before(late, world.client().await?, async move |mut client| {
        let value = acquire(lock, &mut client, &name, SHORT).await?.context("nobody else was there")?;
        release(lock, &mut client, &name, &value).await
    })
    .await?;
    world.expired(&key).await;
    let (mut second, mut third) = (world.client().await?, world.client().await?);
    let value = acquire(lock, &mut second, &key, LONG).await?;
    ensure!(value.is_some(), "the first lock had expired");
    first.go_on().await?;
    Ok(acquire(lock, &mut third, &key, LONG).await?.is_some())
}
