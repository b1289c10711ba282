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
/// As [`RedisServer::start`]; [`StartError::Environment`] if a URL cannot be read.
pub async fn shared_redis(count: usize) -> Result<Vec<RedisServer>, StartError> {
    let named = std::env::var(VARIABLE).unwrap_or_default();
    let urls: Vec<_> = named.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
    if urls.len() >= count && count > 0 {
        urls.into_iter().take(count).map(named_server).collect()
    } else {
        RedisServer::fleet(count).await
    }
}

fn named_server(text: &str) -> Result<RedisServer, StartError> {
    let wrong = |reason: String| StartError::Environment { variable: VARIABLE, reason };
    let url = Url::parse(text).map_err(|error| wrong(format!("{text:?} is not a URL: {error}")))?;
    if url.scheme() != "redis" {
        return Err(wrong(format!("{text:?} does not begin with redis://")));
    }
    let host = url.host_str().unwrap_or("127.0.0.1");
    let mut addrs = (host, url.port().unwrap_or(6379))
        .to_socket_addrs()
        .map_err(|error| wrong(format!("{host} cannot be found: {error}")))?;
    let addr = addrs.next().ok_or_else(|| wrong(format!("{host} has no address")))?;
    Ok(RedisServer {
        host: Host::Elsewhere(addr),
        url: text.to_owned(),
        hello: hello(&url),
        persistent: false,
    })
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
