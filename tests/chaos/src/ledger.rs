//! What the locks of a scenario protect: counters in a Redis of their own that nobody hurts. It checks tokens as a
//! protected thing should: a holder claims a record before it reads, and what it writes is refused once a larger token
//! has been there. Each accepted write is listed in order, so that the list tells afterwards whether one was lost.

use std::time::Duration;

use anyhow::Context;
use redis::Script;
use redis::aio::MultiplexedConnection;
use testkit::{RedisServer, Reply};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// A connection to the counters.
#[derive(Clone)]
pub(crate) struct Ledger {
    connection: MultiplexedConnection,
    claim: Script,
    write: Script,
}

/// A write that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) key: String,
    /// Who wrote: the client's name and the number of the section.
    pub(crate) writer: String,
    /// `None` for those who have no tokens.
    pub(crate) token: Option<u64>,
    /// What it wrote.
    pub(crate) value: u64,
}

impl Ledger {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let connection = tokio::time::timeout(WITHIN, client.get_multiplexed_async_connection()).await??;
        let (claim, write) = (include_str!("ledger/claim.lua"), include_str!("ledger/write.lua"));
        Ok(Self { connection, claim: Script::new(claim), write: Script::new(write) })
    }

    /// The value of `key` for the holder of `token`; `None` if the token is stale.
    pub(crate) async fn claim(&self, key: &str, token: u64) -> anyhow::Result<Option<u64>> {
        let mut connection = self.connection.clone();
        let mut claim = self.claim.prepare_invoke();
        let (fresh, value): (u64, u64) = claim.key(record(key)).arg(token).invoke_async(&mut connection).await?;
        Ok((fresh == 1).then_some(value))
    }

    /// The value of `key` for somebody without a token.
    pub(crate) async fn read(&self, key: &str) -> anyhow::Result<u64> {
        let mut connection = self.connection.clone();
        let value: Option<u64> = redis::cmd("HGET").arg(record(key)).arg("value").query_async(&mut connection).await?;
        Ok(value.unwrap_or(0))
    }

    /// Writes `read + 1` over whatever is there: what happens where nobody compares anything.
    pub(crate) async fn write_blindly(&self, key: &str, read: u64, writer: &str) -> anyhow::Result<()> {
        let mut connection = self.connection.clone();
        let value = read + 1;
        let mut both = redis::pipe();
        both.atomic().hset(record(key), "value", value).ignore();
        both.rpush(history_key(key), format!("{writer} - {value}")).ignore();
        Ok(both.query_async(&mut connection).await?)
    }

    /// Writes `read + 1`; whether that was accepted.
    pub(crate) async fn write(&self, key: &str, token: Option<u64>, read: u64, writer: &str) -> anyhow::Result<bool> {
        let mut connection = self.connection.clone();
        let token = token.map_or_else(|| "-".to_owned(), |token| token.to_string());
        let mut write = self.write.prepare_invoke();
        let write = write.key(record(key)).key(history_key(key)).arg(token).arg(read).arg(writer);
        let accepted: u64 = write.invoke_async(&mut connection).await?;
        Ok(accepted == 1)
    }
}

/// Every write to `key` that was accepted, in order, as the server has it.
pub(crate) async fn history(server: &RedisServer, key: &str) -> anyhow::Result<Vec<Accepted>> {
    let reply = server.command(&["LRANGE", &history_key(key), "0", "-1"]).await?;
    let Reply::List(items) = reply else { anyhow::bail!("the ledger says {reply:?}") };
    let line = |item: &Reply| {
        let line = item.text().context("a line that is no text")?;
        let mut words = line.split(' ');
        let mut word = || words.next().context("a line that is too short");
        let (writer, token, value) = (word()?.to_owned(), word()?, word()?);
        let token = if token == "-" { None } else { Some(token.parse()?) };
        Ok(Accepted { key: key.to_owned(), writer, token, value: value.parse()? })
    };
    items.iter().map(line).collect()
}

fn record(key: &str) -> String {
    format!("record:{key}")
}

fn history_key(key: &str) -> String {
    format!("history:{key}")
}
