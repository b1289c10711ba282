//! Where a Redis is.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo, RedisResult};

/// A Redis that instances share, for the cache and for resident levels. Neither `Debug` nor `Display`
/// shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisPlace {
    /// A name or an address.
    pub host: String,
    /// Usually 6379.
    pub port: u16,
    /// None unless the server wants one.
    pub password: Option<String>,
    /// The number of the database there, usually 0.
    pub db: u16,
    /// Whether it is spoken to over TLS, trusting the system's authorities.
    pub tls: bool,
}

impl RedisPlace {
    /// A server without a password, and its first database.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, password: None, db: 0, tls: false }
    }

    /// Its URL, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let plain = format!("{scheme}://{host}:{}/{}", self.port, self.db);
        match (&self.password, url::Url::parse(&plain)) {
            (Some(password), Ok(mut url)) => {
                // Refused only where a URL has no host.
                let _ = url.set_password(Some(password));
                url.into()
            }
            _ => plain,
        }
    }

    /// What the client library wants to know.
    pub(crate) fn connection_info(&self) -> RedisResult<ConnectionInfo> {
        let settings = RedisConnectionInfo::default().set_db(self.db.into());
        let settings = match &self.password {
            Some(password) => settings.set_password(password),
            None => settings,
        };
        let (host, port) = (self.host.clone(), self.port);
        let address = if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        Ok(address.into_connection_info()?.set_redis_settings(settings))
    }
}

impl fmt::Display for RedisPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.db)
    }
}

impl fmt::Debug for RedisPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisPlace").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_everything() {
        let place = RedisPlace { password: Some("p@ss/word".into()), db: 2, tls: true, ..RedisPlace::new("r", 6380) };
        let client = redis::Client::open(place.url()).unwrap();
        let (direct, by_url) = (place.connection_info().unwrap(), client.get_connection_info().clone());
        assert_eq!(by_url.addr().to_string(), direct.addr().to_string());
        assert_eq!(by_url.redis_settings().password(), Some("p@ss/word"));
        assert_eq!(by_url.redis_settings().db(), 2);
        assert_eq!(RedisPlace::new("::1", 1).url(), "redis://[::1]:1/0");
    }
}
