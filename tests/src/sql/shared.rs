//! A SQL server that somebody else runs, for those who name one, and our own for everybody else.

use std::net::ToSocketAddrs;

use url::Url;

use crate::error::StartError;
use crate::host::Host;
use crate::sql::SqlServer;

const VARIABLE: &str = "TEST_DATABASE_URL";

/// The server that `TEST_DATABASE_URL` names if it is set, else a new one. A named server cannot be faulted, so a test
/// takes a database name of its own.
///
/// # Errors
///
/// As [`SqlServer::start`] and [`SqlServer::named`].
pub async fn shared_sql() -> Result<SqlServer, StartError> {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => SqlServer::named(text.trim()),
        _ => SqlServer::start().await,
    }
}

impl SqlServer {
    /// A server that somebody else runs; it can be used, not hurt.
    ///
    /// # Errors
    ///
    /// [`StartError::Named`] if the URL cannot be read, or its host cannot be found.
    pub fn named(text: &str) -> Result<Self, StartError> {
        let wrong = |reason: String| StartError::Named { url: text.to_owned(), reason };
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        if url.scheme() != "mysql" {
            return Err(wrong("does not begin with mysql://".to_owned()));
        }
        let place = (url.host_str().unwrap_or("127.0.0.1"), url.port().unwrap_or(3306));
        let mut addrs = place.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
        let addr = addrs.next().ok_or_else(|| wrong("its host has no address".to_owned()))?;
        Ok(Self { host: Host::Elsewhere(addr), named: Some(url) })
    }
}
