//! The floor: a lock without a library, as fast as the Redis client is.
//!
//! Every node is asked over one connection, and a quorum of answers is enough. redis-rs drops queued requests whose
//! caller is gone, so those that are still under way then are handed to a task that waits for them; otherwise a SET
//! might be sent and its release not.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Value};

const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
/// More requests than ever are under way: a full queue would let a release overtake its acquire.
const QUEUE: usize = 1 << 20;

/// The script's answer where a key was free and its counter behind.
const AS_PROPOSED: i64 = -2;

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Commands {
    /// `SET NX PX` and compare-and-delete.
    Bare,
    /// The script of this crate, one operation a command.
    Scripts,
}

/// One connection a node.
#[derive(Clone)]
pub(crate) struct Bare {
    nodes: Arc<[MultiplexedConnection]>,
    commands: Commands,
    script: Arc<str>,
}

/// A lock that is held.
pub(crate) struct Claim {
    key: String,
    value: [u8; 20],
}

impl Bare {
    pub(crate) async fn connect(urls: &[String], commands: Commands) -> anyhow::Result<Self> {
        let mut nodes = Vec::with_capacity(urls.len());
        let text = match commands {
            Commands::Bare => COMPARE_AND_DELETE,
            Commands::Scripts => redlock::protocol::script(),
        };
        let mut script = String::new();
        // Without an end, since a request whose caller stopped waiting may be dropped.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE);
        for url in urls {
            let client = redis::Client::open(url.as_str())?;
            let mut node = client.get_multiplexed_async_connection_with_config(&config).await?;
            script = redis::cmd("SCRIPT").arg("LOAD").arg(text).query_async(&mut node).await?;
            nodes.push(node);
        }
        Ok(Self { nodes: nodes.into(), commands, script: script.into() })
    }

    /// Sets the key, which nobody else may want.
    pub(crate) async fn acquire(&self, key: &str, ttl: Duration) -> anyhow::Result<Claim> {
        let value: [u8; 20] = rand::random();
        let ttl = u64::try_from(ttl.as_millis())?;
        let won = match self.commands {
            Commands::Bare => {
                let mut set = redis::cmd("SET");
                set.arg(key).arg(value.as_slice()).arg("NX").arg("PX").arg(ttl);
                self.ask(set, |answer| *answer == Value::Okay).await
            }
            Commands::Scripts => {
                let proposal = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
                let mut call = redis::cmd("EVALSHA");
                call.arg(&*self.script).arg(2).arg(key).arg(format!("redlock:fence:{{{key}}}"));
                call.arg("acquire alone").arg(value.as_slice()).arg(proposal).arg(ttl);
                self.ask(call, |answer| matches!(answer, Value::Int(AS_PROPOSED) | Value::BulkString(_))).await
            }
        };
        ensure!(won, "a free lock was not granted");
        Ok(Claim { key: key.to_owned(), value })
    }

    /// Deletes the key.
    pub(crate) async fn release(&self, claim: Claim) -> anyhow::Result<()> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&*self.script).arg(1).arg(claim.key);
        let released = match self.commands {
            Commands::Bare => {
                call.arg(claim.value.as_slice());
                self.ask(call, |answer| *answer == Value::Int(1)).await
            }
            Commands::Scripts => {
                call.arg("release alone").arg(claim.value.as_slice()).arg("bench");
                self.ask(call, |answer| *answer == Value::Int(1)).await
            }
        };
        ensure!(released, "the lock was lost while it was held");
        Ok(())
    }

    /// Sends `command` to every node; whether a quorum said yes.
    async fn ask(&self, command: Cmd, is_yes: fn(&Value) -> bool) -> bool {
        let command = Arc::new(command);
        let asked = self.nodes.iter().map(|node| {
            let (mut node, command) = (node.clone(), Arc::clone(&command));
            async move { node.send_packed_command(&command).await }
        });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let (quorum, mut yes) = (self.nodes.len() / 2 + 1, 0);
        while let Some(answer) = asked.next().await {
            yes += usize::from(answer.is_ok_and(|answer| is_yes(&answer)));
            if yes == quorum || yes + asked.len() < quorum {
                break;
            }
        }
        if !asked.is_empty() {
            tokio::spawn(async move { while asked.next().await.is_some() {} });
        }
        yes >= quorum
    }
}
