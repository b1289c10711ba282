//! Real servers for tests, and what is needed to hurt them.
//!
//! A mock of Redis or MySQL proves that the code agrees with the mock. The suites of this workspace therefore run
//! against real servers on free loopback ports, and this library hands them out: [`RedisServer`], [`SqlServer`], a
//! [`Proxy`] to put in front of either, and small clients of their own ([`cli`], [`RedisServer::command`],
//! [`SqlServer::query`]), so that a test never has to believe the client that it tests.
//!
//! Servers are child processes in a temporary folder where a binary is installed (`redis-server` or `valkey-server`,
//! `mariadbd` or `mysqld`), else containers, else a [`StartError`] that says what to install. Whatever was started is
//! stopped and removed when its value is dropped, and also when the test process panics, is interrupted or is killed
//! outright: a small shell, the reaper, waits for that.

mod error;
mod eventually;
mod folder;
mod host;
mod port;
mod process;
mod program;
mod proxy;
mod reaper;
mod redis;
mod resp;
mod sql;

pub use error::{FaultError, StartError};
pub use eventually::eventually;
pub use port::Port;
pub use process::Process;
pub use proxy::{Mode, Proxy};
pub use redis::{RedisBuilder, RedisServer, Restart, shared_redis};
pub use resp::{Reply, cli};
pub use sql::{Row, SqlBuilder, SqlServer, shared_sql};

/// Whether container suites can run: an engine answers, and the images `redis:7` and `mysql:9` are there or can be
/// pulled. The answer is found once a process; the first call may take as long as a pull.
#[cfg(feature = "containers")]
#[must_use]
pub fn containers_available() -> bool {
    host::container::available()
}

/// Always false: built without the feature `containers`.
#[cfg(not(feature = "containers"))]
#[must_use]
pub fn containers_available() -> bool {
    false
}
