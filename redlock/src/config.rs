//! The builder: every setting with its default, every mistake with its value.

use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::manager::Redlock;
use crate::node::Node;
#[cfg(feature = "redis")]
use crate::node::redis::RedisNode;
use crate::resource::{MAX_NAME, RESERVED_PREFIX, shorten};
use crate::restart::{Membership, RestartGuard};
use crate::round::Nodes;
use crate::shared::Shared;
use crate::terms::Terms;

/// Configures a [`Redlock`]. Nothing connects before the first lock; no runtime is needed.
///
/// ```
/// use std::time::Duration;
/// use redlock::{ConfigError, Redlock, SimNode};
///
/// let redlock = Redlock::builder()
///     .node(SimNode::new("one"))
///     .ttl(Duration::from_secs(10))
///     .wait(Duration::from_secs(15))
///     .build()?;
///
/// let refused = Redlock::builder().node(SimNode::new("one")).ttl(Duration::ZERO).build();
/// assert!(matches!(refused, Err(ConfigError::InvalidTtl { .. })));
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    nodes: Vec<Result<Arc<dyn Node>, ConfigError>>,
    ttl: Duration,
    max_ttl: Option<Duration>,
    wait: Option<Duration>,
    node_timeout: Duration,
    drift_factor: f64,
    key_prefix: String,
    owner: Option<String>,
    restart_guard: RestartGuard,
    #[cfg(feature = "sim")]
    seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            ttl: Duration::from_secs(10),
            max_ttl: None,
            wait: Some(Duration::from_secs(15)),
            node_timeout: Duration::from_millis(50),
            drift_factor: 0.01,
            key_prefix: String::new(),
            owner: None,
            restart_guard: RestartGuard::MaxTtl,
            #[cfg(feature = "sim")]
            seed: None,
        }
    }

    /// Adds Redis nodes by URL: `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS
    /// (feature `tls`), `unix:///path` for a unix socket. A password in a URL shows up in no
    /// message.
    #[cfg(feature = "redis")]
    pub fn nodes<I>(mut self, urls: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let open = |url: I::Item| Ok(Arc::new(RedisNode::open(url.as_ref())?) as Arc<dyn Node>);
        self.nodes.extend(urls.into_iter().map(open));
        self
    }

    /// Adds one node of any kind.
    pub fn node(mut self, node: impl Node) -> Self {
        self.nodes.push(Ok(Arc::new(node)));
        self
    }

    /// Lease time where a request names none. Default: 10 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Longest lease that any client of these nodes takes; must be the same in all of them.
    /// Default: the ttl.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = Some(max_ttl);
        self
    }

    /// How long [`lock`](Redlock::lock) waits where a request says nothing; `None` for ever.
    /// Default: 15 s.
    pub fn wait(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.wait = wait.into();
        self
    }

    /// How long one node may take to answer before the round goes on without it. A round waits
    /// that long only while a quorum hangs on it. Default: 50 ms.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// What clocks may differ by, as a part of the ttl; 2 ms come on top. Default: 0.01.
    pub fn drift_factor(mut self, factor: f64) -> Self {
        self.drift_factor = factor;
        self
    }

    /// Put before every resource name to make its key. `""` (the default) and `"redlock:"` are
    /// the two families that other languages' locks use.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// Readable start of every value this process writes, shown by
    /// [`inspect`](Redlock::inspect). Default: `host:pid`.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// How long a restarted node stays out of votes, so that it cannot grant what it has
    /// forgotten. Default: [`RestartGuard::MaxTtl`]. While a quorum is out, `lock` waits within
    /// its deadline and `try_lock` says for how long each node is.
    pub fn restart_guard(mut self, guard: RestartGuard) -> Self {
        self.restart_guard = guard;
        self
    }

    /// Makes this manager's random choices and its time of day follow from `seed`, so that a
    /// simulation on a paused clock replays. Owner values are then no secret and not unique
    /// between managers of one seed: never use it with real nodes.
    #[cfg(feature = "sim")]
    pub fn simulation(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Checks everything. Does no I/O and needs no runtime.
    ///
    /// # Errors
    ///
    /// The first mistake found, as the [`ConfigError`] that carries its value.
    pub fn build(self) -> Result<Redlock, ConfigError> {
        let terms = Terms {
            ttl: self.ttl,
            max_ttl: self.max_ttl.unwrap_or(self.ttl),
            node_timeout: self.node_timeout,
            drift_factor: self.drift_factor,
        };
        let nodes: Nodes = self.nodes.into_iter().collect::<Result<_, _>>()?;
        check_nodes(&nodes)?;
        terms.validate()?;
        check_prefix(&self.key_prefix)?;
        let owner = self.owner.unwrap_or_else(default_owner);
        check_owner(&owner)?;
        let membership = Membership::new(terms.quarantine(self.restart_guard));
        nodes.iter().for_each(|node| node.join(&membership));
        let simulated = nodes.iter().any(|node| node.simulated());
        let time = (if simulated { Clock::tokio() } else { Clock::System }, Chance::System);
        #[cfg(feature = "sim")]
        let time = match self.seed {
            Some(seed) => (Clock::replayed(), Chance::seeded(seed)),
            None => time,
        };
        Ok(Redlock::new(Shared::new(nodes, terms, (self.key_prefix, owner), self.wait, time)))
    }
}

fn check_nodes(nodes: &Nodes) -> Result<(), ConfigError> {
    if nodes.is_empty() {
        return Err(ConfigError::NoNodes);
    }
    for (index, node) in nodes.iter().enumerate() {
        if let Some(first) = nodes[..index].iter().find(|first| first.name() == node.name()) {
            let (first, second) = (first.name().to_owned(), node.name().to_owned());
            return Err(ConfigError::DuplicateNode { first, second });
        }
    }
    Ok(())
}

fn check_prefix(prefix: &str) -> Result<(), ConfigError> {
    let refuse = |reason: String| Err(ConfigError::InvalidKeyPrefix { prefix: shorten(prefix), reason });
    if prefix.len() > MAX_NAME {
        return refuse(format!("{} bytes long, at most {MAX_NAME} are allowed", prefix.len()));
    }
    if prefix.starts_with(RESERVED_PREFIX) {
        return refuse(format!("keys that begin with `{RESERVED_PREFIX}` hold fencing tokens"));
    }
    Ok(())
}

fn check_owner(owner: &str) -> Result<(), ConfigError> {
    let printable = owner.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if owner.len() <= 128 && printable {
        return Ok(());
    }
    Err(ConfigError::InvalidOwner { owner: shorten(owner).escape_debug().to_string() })
}

fn default_owner() -> String {
    let host: String = host().chars().filter(char::is_ascii_graphic).take(100).collect();
    format!("{host}:{}", std::process::id())
}

#[cfg(target_os = "linux")]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(target_os = "linux"))]
fn host() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "host".to_owned())
}
