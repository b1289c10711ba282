//! Where the lessons' lock nodes come from: those that `REDLOCK_NODES` names, else redis-servers of
//! their own.

use anyhow::Context as _;
use redlock::{Builder, Redlock, RestartGuard};
use testkit::RedisServer;

/// Lock nodes, for as long as this value is kept.
#[derive(Debug)]
pub(crate) struct Nodes {
    urls: Vec<String>,
    /// Those that were started for the lesson, which may therefore hurt them; empty if others were
    /// named.
    pub(crate) own: Vec<RedisServer>,
}

impl Nodes {
    /// Those that are named, else three of our own.
    pub(crate) async fn named_or_own() -> anyhow::Result<Self> {
        match std::env::var("REDLOCK_NODES") {
            Ok(urls) if !urls.is_empty() => {
                let urls = urls.split(',').map(|url| url.trim().to_owned()).collect();
                Ok(Self { urls, own: Vec::new() })
            }
            _ => {
                let own = RedisServer::fleet(3).await.context("no REDLOCK_NODES, and no servers")?;
                Ok(Self { urls: own.iter().map(RedisServer::url).collect(), own })
            }
        }
    }

    /// A configuration over them, to be changed.
    pub(crate) fn builder(&self) -> Builder {
        // Servers that were started a moment ago are kept out until no client can hold a lease that
        // they forgot. Our own hold nothing yet.
        let guard = if self.own.is_empty() { RestartGuard::MaxTtl } else { RestartGuard::Off };
        Redlock::builder().nodes(&self.urls).restart_guard(guard)
    }
}
