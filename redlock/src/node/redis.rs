//! A lock node that is a Redis server: one ordered connection, kept up in the background.

mod address;
mod command;
mod connect;
mod direct;
mod driver;
mod gate;
mod hints;
mod info;
mod link;
mod queue;
mod resp;
mod script;
mod waiting;
mod wire;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, RedisResult};

use self::hints::Hints;
use self::queue::{Next, Queue};
use self::wire::{Pipelined, Routed, Wire};
use crate::error::{Cause, ConfigError};
use crate::node::{Ear, Listening, Node, Request, Responder};
use crate::restart::Membership;

/// Longest time a connection may take to come up, TLS and authentication included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

type Connecting = Pin<Box<dyn Future<Output = RedisResult<Box<dyn Wire>>> + Send>>;
type Connect = Arc<dyn Fn() -> Connecting + Send + Sync>;

/// The script that carries out every operation, for comparisons with it.
#[must_use]
pub fn script() -> &'static str {
    script::source()
}

/// A lock node that is a Redis server.
///
/// It connects when first used, keeps one connection over which requests travel in order, and
/// reconnects in the background with growing pauses; meanwhile requests fail at once. A second
/// connection listens for releases while somebody waits for another process, and ten seconds more.
/// Redis 6.2 or newer; the user it connects as needs no more than
///
/// ```text
/// ACL SETUSER locks on >password ~* &redlock:released:* +script|load +evalsha
///     +set +get +del +type +pttl +pexpire +publish +subscribe +unsubscribe +info +time
/// ```
///
/// (and `~redlock:*`, or the key prefix and `~redlock:fence:*`, instead of `~*`, where one is
/// used). Without `+info` and `+time` locks work, but a restarted server cannot be recognised:
/// a warning is logged and it votes at once.
pub struct RedisNode {
    name: String,
    connect: Connect,
    queue: Arc<Queue>,
    /// `None` where only the caller knows how to connect.
    hints: Option<Arc<Hints>>,
}

impl RedisNode {
    /// A node by URL, as [`Builder::nodes`](crate::Builder::nodes) takes them.
    ///
    /// # Errors
    ///
    /// [`ConfigError::InvalidUrl`].
    pub fn open(url: &str) -> Result<Self, ConfigError> {
        let info = address::parse(url)?;
        let name = address::name(info.addr());
        let client = Client::open(info)
            .map_err(|error| ConfigError::InvalidUrl { url: name.clone(), reason: error.to_string() })?;
        Ok(Self::from_client(client))
    }

    /// A node by a client of the redis crate, for what a URL cannot say: TLS with certificates of
    /// one's own, for example.
    #[must_use]
    pub fn from_client(client: Client) -> Self {
        #[cfg(feature = "tls")]
        choose_crypto();
        let info = client.get_connection_info();
        let name = address::name(info.addr());
        let secret = info.redis_settings().password().map(ToOwned::to_owned);
        let hints_of = client.clone();
        let connect = move || {
            let client = client.clone();
            Box::pin(async move { connect::connect(&client).await }) as Connecting
        };
        let hints = Hints::new(hints_of);
        Self::connecting(name, secret, Arc::new(connect), Some(hints))
    }

    /// A node behind any connection of the redis crate to one server, made by `connect` whenever
    /// one is needed: the way in for Sentinel. The connection must keep the order of its requests,
    /// must neither time them out nor resend them, and must fail for good once it is lost: a
    /// server is asked who it is on every connection that `connect` makes, so one that
    /// reconnects by itself (`redis::aio::ConnectionManager`) would let a restarted server vote.
    ///
    /// A fail-over behind the connection loses what the new master does not have, which no guard
    /// can see in time; see [`safety`](crate::safety).
    pub fn from_factory<F, R, C>(name: impl Into<String>, connect: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = RedisResult<C>> + Send + 'static,
        C: redis::aio::ConnectionLike + Clone + Send + Sync + 'static,
    {
        Self::with_secret(name.into(), None, connect)
    }

    /// A node that is a whole Redis Cluster, by a connection that sends each command where it
    /// belongs (`redis::cluster_async::ClusterConnection`). It must not resend requests on its own
    /// (`ClusterClientBuilder::retries(0)`). Requests travel one by one. INFO comes from any
    /// of its servers, so the restart guard must be off.
    ///
    /// Names whose counter would be in another slot (a stray brace: `a}b`, `{}x`), and several
    /// resources without a common hash tag, are refused by the cluster.
    pub fn from_cluster_factory<F, R, C>(name: impl Into<String>, connect: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = RedisResult<C>> + Send + 'static,
        C: redis::aio::ConnectionLike + Clone + Send + Sync + 'static,
    {
        let connect = move || {
            let connecting = connect();
            Box::pin(async move { Ok(Box::new(Routed::new(connecting.await?)) as Box<dyn Wire>) }) as Connecting
        };
        Self::connecting(name.into(), None, Arc::new(connect), None)
    }

    fn with_secret<F, R, C>(name: String, secret: Option<String>, connect: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = RedisResult<C>> + Send + 'static,
        C: redis::aio::ConnectionLike + Clone + Send + Sync + 'static,
    {
        let connect = move || {
            let connecting = connect();
            Box::pin(async move { Ok(Box::new(Pipelined::new(connecting.await?)) as Box<dyn Wire>) }) as Connecting
        };
        Self::connecting(name, secret, Arc::new(connect), None)
    }

    fn connecting(name: String, secret: Option<String>, connect: Connect, hints: Option<Arc<Hints>>) -> Self {
        let queue = Arc::new(Queue::new(name.clone(), secret, hints.clone()));
        Self { name, connect, queue, hints }
    }
}

/// Names the cryptography for TLS where the process has not: rustls panics when several are
/// compiled in and none was chosen. A choice made before stands.
#[cfg(feature = "tls")]
fn choose_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Node for RedisNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn join(&self, membership: &Membership) {
        self.queue.join(membership);
    }

    fn listen(&self, keys: &[String], ear: Ear) -> Listening {
        self.hints.as_ref().map_or_else(Listening::deaf, |hints| hints.listen(keys, &ear))
    }

    fn hears(&self) -> bool {
        self.hints.is_some()
    }

    fn owed(&self) -> usize {
        self.queue.owed()
    }

    fn barred(&self) -> Option<Cause> {
        self.queue.barred()
    }

    fn send(&self, request: Request, responder: Responder) {
        match self.queue.push(request, responder) {
            Next::Start => driver::start(&self.queue, &self.connect),
            Next::Send => self.queue.send(),
            Next::Wake => self.queue.gate.wake(),
            Next::Nothing => {}
        }
    }
}

impl Drop for RedisNode {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for RedisNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisNode").field("name", &self.name).finish_non_exhaustive()
    }
}
