//! Redis servers that somebody else runs, for those who name them, and our own for everybody else.

use std::net::ToSocketAddrs;

use url::Url;

use crate::error::StartError;
use crate::host::Host;
use crate::redis::RedisServer;

const VARIABLE: &str = "TEST_REDIS_URLS";

/// The servers that `TEST_REDIS_URLS` names (comma-separated) if it names at least `count`, else new ones. Named
/// servers cannot be faulted and may hold other keys, so a test takes names of its own and leaves other keys alone.
///
/// # Errors
///
/// As [`RedisServer::start`] and [`RedisServer::named`].
pub async fn shared_redis(count: usize) -> Result<Vec<RedisServer>, StartError> {
    let named = std::env::var(VARIABLE).unwrap_or_default();
    let urls: Vec<_> = named.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
    if urls.len() >= count && count > 0 {
        urls.into_iter().take(count).map(RedisServer::named).collect()
    } else {
        RedisServer::fleet(count).await
    }
}

impl RedisServer {
    /// A server that somebody else runs; it can be used, not hurt.
    ///
    /// # Errors
    ///
    /// [`StartError::Named`] if the URL cannot be read, or its host cannot be found.
    pub fn named(text: &str) -> Result<Self, StartError> {
        let wrong = |reason: String| StartError::Named { url: text.to_owned(), reason };
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        if url.scheme() != "redis" {
            return Err(wrong("does not begin with redis://".to_owned()));
        }
        let place = (url.host_str().unwrap_or("127.0.0.1"), url.port().unwrap_or(6379));
        let mut addrs = place.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
        let addr = addrs.next().ok_or_else(|| wrong("its host has no address".to_owned()))?;
        let (host, hello) = (Host::Elsewhere(addr), hello(&url));
        Ok(Self { host, url: text.to_owned(), hello, persistent: false })
    }
}

/// AUTH and SELECT as the URL wants them. The password is taken as it is written.
fn hello(url: &Url) -> Vec<Vec<String>> {
    let mut hello = Vec::new();
    if let Some(password) = url.password() {
        let user = Some(url.username()).filter(|user| !user.is_empty());
        hello.push(["AUTH"].into_iter().chain(user).chain([password]).map(str::to_owned).collect());
    }
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() {
        hello.push(vec!["SELECT".to_owned(), database.to_owned()]);
    }
    hello
}
