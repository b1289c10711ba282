//! The servers, and how trials are made and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::cmd;
use testkit::{RedisServer, eventually};

use super::client::Client;
use super::table::Seen;

/// A ttl that is meant to pass.
pub(crate) const SHORT: Duration = Duration::from_millis(100);
/// A ttl that is not.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// How long a lock node may take to answer.
pub(crate) const PATIENT: Duration = Duration::from_secs(2);

/// How often each schedule is run; they are deterministic, so this shows just that.
const TRIALS: usize = 20;
/// The same where each trial takes threads and seconds.
const FEW_TRIALS: usize = 5;

/// One server for the locks that need no more, three for Redlock.
#[derive(Clone, Debug)]
pub(crate) struct World {
    server: Arc<RedisServer>,
    nodes: Arc<Vec<RedisServer>>,
    keys: Arc<AtomicUsize>,
}

impl World {
    /// Starts them.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let nodes = RedisServer::fleet(3).await?;
        Ok(Self { server: Arc::new(RedisServer::start().await?), nodes: Arc::new(nodes), keys: Arc::default() })
    }

    /// The single server.
    pub(crate) fn server(&self) -> &RedisServer {
        &self.server
    }

    /// Redlock's nodes.
    pub(crate) fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Another client of the single server.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.server.url()).await
    }

    /// A key that no other trial has.
    pub(crate) fn key(&self) -> String {
        format!("lock:{}", self.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs a schedule many times at once, each with its own key; it says whether the flaw showed.
    pub(crate) async fn trials<F>(&self, schedule: impl Fn(String) -> F) -> anyhow::Result<Seen>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        self.run(TRIALS, schedule).await
    }

    /// The same, a few times.
    pub(crate) async fn few_trials<F>(&self, schedule: impl Fn(String) -> F) -> anyhow::Result<Seen>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        self.run(FEW_TRIALS, schedule).await
    }

    async fn run<F>(&self, trials: usize, schedule: impl Fn(String) -> F) -> anyhow::Result<Seen>
    where
        F: Future<Output = anyhow::Result<bool>>,
    {
        let mut seen = Seen::none_of(trials);
        for showed in try_join_all((0..trials).map(|_| schedule(self.key()))).await? {
            seen.count(showed);
        }
        Ok(seen)
    }

    /// Waits until the key is gone.
    pub(crate) async fn expired(&self, key: &str) {
        eventually(LONG, || async {
            let Ok(mut client) = self.client().await else { return false };
            matches!(client.ask::<bool>(cmd("EXISTS").arg(key)).await, Ok(false))
        })
        .await;
    }
}
