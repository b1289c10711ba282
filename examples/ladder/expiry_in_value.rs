//! Rungs 7 and 8: the lock whose value is the time of its end, taken over by `GETSET` once that has
//! passed, and the Lua form that is handed around with it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use redis::cmd;

use super::client::{Before, Client, Paused, Phase};
use super::lock::{Lock, acquire, millis, owner, release};
use super::set_nx::SetNx;
use super::set_nx_px::CompareAndDelete;
use super::table::Row;
use super::world::{LONG, SHORT, World};

const COMPARE_AND_DELETE: &str = include_str!("compare_and_delete.lua");
const SET_OR_EXPIRE: &str = include_str!("set_or_expire.lua");

/// The value is when it ends, by the clock of whoever set it; the key itself never expires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpiryInValue;

impl Lock for ExpiryInValue {
    async fn try_acquire(self, client: &mut Client, key: &str, ttl: Duration) -> anyhow::Result<Option<String>> {
        let now = client.now_ms()?;
        let end = (now + millis(ttl)).to_string();
        if client.ask(cmd("SETNX").arg(key).arg(&end)).await? {
            return Ok(Some(end));
        }
        let held: Option<String> = client.ask(cmd("GET").arg(key)).await?;
        let Some(held) = held else { return Ok(None) };
        if held.parse::<u64>()? >= now {
            return Ok(None);
        }
        // Of several who see that it has ended, the first to get the old value out wins.
        let before: Option<String> = client.ask(cmd("GETSET").arg(key).arg(&end)).await?;
        Ok((before == Some(held)).then_some(end))
    }

    async fn give_back(self, client: &mut Client, key: &str, value: &str) -> anyhow::Result<()> {
        client.run(COMPARE_AND_DELETE, key, &[value]).await
    }
}

/// `SETNX` and `EXPIRE` in one script, which also gives a ttl to a key without one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LuaForm;

impl Lock for LuaForm {
    async fn try_acquire(self, client: &mut Client, key: &str, ttl: Duration) -> anyhow::Result<Option<String>> {
        let value = owner();
        let got: bool = client.run(SET_OR_EXPIRE, key, &[&value, &millis(ttl).to_string()]).await?;
        Ok(got.then_some(value))
    }

    async fn give_back(self, client: &mut Client, key: &str, value: &str) -> anyhow::Result<()> {
        client.run(COMPARE_AND_DELETE, key, &[value]).await
    }
}

pub(crate) async fn row_of_clocks(world: &World) -> anyhow::Result<Row> {
    Ok(Row {
        rung: "expiry in the value, GETSET",
        flaw: "a clock that is ahead takes a lock that is held",
        seen: world.trials(|key| taken_early(world, ExpiryInValue, key)).await?,
        mended_by: "its Lua form: the server's clock",
        seen_then: world.trials(|key| taken_early(world, LuaForm, key)).await?,
    })
}

pub(crate) async fn row_of_losers(world: &World) -> anyhow::Result<Row> {
    Ok(Row {
        rung: "expiry in the value, GETSET",
        flaw: "a loser's GETSET overwrites: the winner cannot release",
        seen: world.trials(|key| not_released(world, ExpiryInValue, key)).await?,
        mended_by: "its Lua form: losers write nothing",
        seen_then: world.trials(|key| not_released(world, LuaForm, key)).await?,
    })
}

pub(crate) async fn row_of_lua_form(world: &World) -> anyhow::Result<Row> {
    Ok(Row {
        rung: "its Lua form",
        flaw: "takes over a lock without expiry that is held",
        seen: world.trials(|key| takes_over(world, LuaForm, key)).await?,
        mended_by: "SET NX PX and compare-and-delete",
        seen_then: world.trials(|key| takes_over(world, CompareAndDelete, key)).await?,
    })
}

/// One holds it for long; the clock of the other is a minute ahead.
async fn taken_early(world: &World, lock: impl Lock, key: String) -> anyhow::Result<bool> {
    let mut holder = world.client().await?;
    acquire(lock, &mut holder, &key, LONG).await?.context("nobody else was there")?;
    let mut other = world.client().await?.with_clock_ahead(2 * LONG);
    Ok(acquire(lock, &mut other, &key, LONG).await?.is_some())
}

/// A lock was left behind and has ended. Two see that, and both come to their third command, the
/// GETSET. Once the winner has released, is the lock free?
async fn not_released(world: &World, lock: impl Lock, key: String) -> anyhow::Result<bool> {
    let mut gone = world.client().await?;
    acquire(lock, &mut gone, &key, SHORT).await?.context("nobody else was there")?;
    drop(gone);
    // By everybody's clock, also where the key itself stays.
    tokio::time::sleep(SHORT + Duration::from_millis(5)).await;

    let taking = Before(Phase::Acquire, 3);
    // A moment apart, or both would write the same value.
    let apart = Duration::from_millis(50);
    let mut contenders = Vec::new();
    for client in [world.client().await?, world.client().await?.with_clock_ahead(apart)] {
        let key = key.clone();
        let contending = Paused::before(taking, client, async move |mut client| {
            let value = acquire(lock, &mut client, &key, LONG).await?;
            Ok((client, value))
        });
        contenders.push(contending.await?);
    }
    let mut outcomes = Vec::new();
    for contender in contenders {
        outcomes.push(contender.go_on().await?);
    }
    let winners: Vec<_> = outcomes.into_iter().filter_map(|(client, value)| Some((client, value?))).collect();
    ensure!(winners.len() == 1, "{} won", winners.len());
    for (mut winner, value) in winners {
        release(lock, &mut winner, &key, &value).await?;
    }
    let mut next = world.client().await?;
    Ok(acquire(lock, &mut next, &key, LONG).await?.is_none())
}

/// Somebody holds the key by a plain SETNX: an older version of the program, or a person.
async fn takes_over(world: &World, lock: impl Lock, key: String) -> anyhow::Result<bool> {
    let mut holder = world.client().await?;
    acquire(SetNx, &mut holder, &key, LONG).await?.context("nobody else was there")?;
    let mut other = world.client().await?;
    Ok(acquire(lock, &mut other, &key, LONG).await?.is_some())
}
