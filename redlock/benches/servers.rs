//! The nodes: started here, stopped and let go, and looked at for keys that should be gone.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use testkit::RedisServer;

/// How long requests under way may take to drain; less than the ttl, so that nothing expires meanwhile.
const DRAINED_WITHIN: Duration = Duration::from_secs(20);
/// Keys that are meant to stay.
const COUNTERS: &[u8] = b"redlock:fence:";

/// Servers of our own, without persistence.
pub(crate) struct Servers {
    servers: Vec<RedisServer>,
    // Apart from every contender's.
    connections: Vec<MultiplexedConnection>,
}

impl Servers {
    /// Starts `count` servers on free ports.
    pub(crate) async fn start(count: usize) -> anyhow::Result<Self> {
        let servers = RedisServer::fleet(count).await?;
        let mut connections = Vec::with_capacity(count);
        for server in &servers {
            let client = redis::Client::open(server.url())?;
            let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(DRAINED_WITHIN));
            connections.push(client.get_multiplexed_async_connection_with_config(&config).await?);
        }
        Ok(Self { servers, connections })
    }

    /// Where they listen.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(RedisServer::url).collect()
    }

    /// Stops one where it stands (SIGSTOP).
    pub(crate) async fn pause(&self, node: usize) -> anyhow::Result<()> {
        Ok(self.servers[node % self.servers.len()].pause().await?)
    }

    /// Lets every one go on.
    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        for server in &self.servers {
            server.resume().await?;
        }
        Ok(())
    }

    /// Waits until no lock key is left on any node, empties the nodes for the next turn, and gives the number of lock
    /// keys that were still there when the time was up.
    pub(crate) async fn drained(&self) -> anyhow::Result<usize> {
        let started = Instant::now();
        let mut left = self.lock_keys().await?;
        while left > 0 && started.elapsed() < DRAINED_WITHIN {
            tokio::time::sleep(Duration::from_millis(20)).await;
            left = self.lock_keys().await?;
        }
        for connection in &self.connections {
            redis::cmd("FLUSHALL").exec_async(&mut connection.clone()).await?;
        }
        Ok(left)
    }

    /// How many lock keys there are now on all nodes together.
    pub(crate) async fn lock_keys(&self) -> anyhow::Result<usize> {
        let mut count = 0;
        for connection in &self.connections {
            count += scan(connection.clone()).await.context("a node does not list its keys")?;
        }
        Ok(count)
    }
}

/// Counts the lock keys of a node, some thousand keys a command.
async fn scan(mut connection: MultiplexedConnection) -> redis::RedisResult<usize> {
    let (mut cursor, mut count) = (0_u64, 0);
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("COUNT").arg(5_000);
        let (next, keys): (u64, Vec<Vec<u8>>) = command.query_async(&mut connection).await?;
        count += keys.iter().filter(|key| !key.starts_with(COUNTERS)).count();
        if next == 0 {
            return Ok(count);
        }
        cursor = next;
    }
}
