//! MySQL and MariaDB servers, one a process or a container, durable as in production: what was committed is there
//! after a kill.

mod builder;
mod client;
mod install;
mod shared;

use std::io;
use std::net::SocketAddr;

pub use builder::SqlBuilder;
pub use shared::shared_sql;

use crate::error::{FaultError, StartError};
use crate::host::Host;

/// A row of a result, each value in its text form; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// A running MariaDB or MySQL server. It is stopped, and its folder removed, when this value is dropped.
#[derive(Debug)]
pub struct SqlServer {
    host: Host,
    // Where the environment named the server: its URL, with a user and a password that may not be root's.
    named: Option<url::Url>,
}

impl SqlServer {
    /// Starts a server with an empty database `test` on a free port: `mariadbd` or `mysqld`, else MySQL in a container.
    ///
    /// # Errors
    ///
    /// Says what to install where neither a binary nor a container engine is to be had.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// A server with settings of its own.
    pub fn builder() -> SqlBuilder {
        SqlBuilder::default()
    }

    /// Starts MySQL 9 in a container, with an empty database `test`.
    ///
    /// # Errors
    ///
    /// If the engine, or the image, is not to be had; [`containers_available`](crate::containers_available) tells
    /// beforehand.
    #[cfg(feature = "containers")]
    pub async fn container_mysql9() -> Result<Self, StartError> {
        Self::builder().start_container().await
    }

    /// `mysql://root@127.0.0.1:PORT/DATABASE`, or the same on the server that the environment named. Creates nothing.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        match &self.named {
            Some(url) => {
                let mut url = url.clone();
                url.set_path(database);
                url.to_string()
            }
            None => format!("mysql://root@{}/{database}", self.addr()),
        }
    }

    /// As [`SqlServer::url`], but straight to a container, past the proxy of its published port, which holds answers
    /// back for up to 40 ms: for those who measure. The address changes when the container is made anew.
    ///
    /// # Errors
    ///
    /// If the engine does not tell.
    pub async fn direct_url(&self, database: &str) -> Result<String, FaultError> {
        match &self.host {
            #[cfg(feature = "containers")]
            Host::Container(host) => Ok(format!("mysql://root@{}/{database}", host.direct_addr().await?)),
            _ => Ok(self.url(database)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.host.addr()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// Makes an empty database; one that is there is left as it is.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or refuses the name.
    pub async fn create_database(&self, name: &str) -> io::Result<()> {
        let name = name.replace('`', "``");
        self.query("", &format!("CREATE DATABASE IF NOT EXISTS `{name}`")).await.map(drop)
    }

    /// Runs one statement over a connection of its own, in the given database (or none, if empty).
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, does not answer within ten seconds, or refuses.
    pub async fn query(&self, database: &str, sql: &str) -> io::Result<Vec<Row>> {
        client::query(&self.url(database), sql).await
    }

    /// Kills it (SIGKILL): connections break, what was not committed is lost. Killing it twice is fine.
    ///
    /// # Errors
    ///
    /// If it is not ours, or the engine refuses.
    pub async fn kill(&self) -> Result<(), FaultError> {
        self.host.kill().await
    }

    /// Stops it where it stands (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// If it is not ours, is not running, or the system refuses.
    pub async fn pause(&self) -> Result<(), FaultError> {
        self.host.pause().await
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// As [`SqlServer::pause`].
    pub async fn resume(&self) -> Result<(), FaultError> {
        self.host.resume().await
    }

    /// Whether it is in a container, and so has a network that it can be taken off.
    #[must_use]
    pub fn is_in_container(&self) -> bool {
        self.host.is_in_container()
    }

    /// Takes a server in a container off its network: connections break, and nobody reaches it.
    ///
    /// # Errors
    ///
    /// If it is not in a container, or the engine refuses.
    pub async fn disconnect(&self) -> Result<(), FaultError> {
        self.host.disconnect().await
    }

    /// Puts a disconnected server back on its network.
    ///
    /// # Errors
    ///
    /// As [`SqlServer::disconnect`].
    pub async fn connect(&self) -> Result<(), FaultError> {
        self.host.connect().await
    }

    /// Kills it, if it still runs, and starts it again with its data on the same port; returns when it answers.
    ///
    /// # Errors
    ///
    /// As [`SqlServer::kill`] and [`SqlServer::start`].
    pub async fn restart(&self) -> Result<(), FaultError> {
        self.host.kill().await?;
        self.host.start_again().await?;
        Ok(self.wait_ready().await?)
    }

    /// Waits until our server answers, and not another one that took the port first.
    async fn wait_ready(&self) -> Result<(), StartError> {
        self.host.wait_ready(|| self.answers()).await
    }

    async fn answers(&self) -> bool {
        let Ok(rows) = self.query("test", "SELECT @@datadir").await else { return false };
        let folder = rows.first().and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
        match &self.host {
            Host::Local(host) => folder.starts_with(&*host.folder().to_string_lossy()),
            _ => true,
        }
    }
}
