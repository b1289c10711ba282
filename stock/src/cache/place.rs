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
}

impl RedisPlace {
    /// A server without a password, and its first database.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, password: None, db: 0 }
    }

    /// What the client library wants to know.
    pub(crate) fn connection_info(&self) -> RedisResult<ConnectionInfo> {
        let settings = RedisConnectionInfo::default().set_db(self.db.into());
        let settings = match &self.password {
            Some(password) => settings.set_password(password),
            None => settings,
        };
        let address = ConnectionAddr::Tcp(self.host.clone(), self.port);
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
