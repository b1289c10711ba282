//! Redis servers, one a process, with the faults that a lock over several of them has to survive.

mod builder;
mod shared;

use std::io;
use std::net::SocketAddr;

pub use builder::RedisBuilder;
pub use shared::shared_redis;

use crate::error::{FaultError, StartError};
use crate::host::Host;
use crate::resp::{self, Reply};

/// What a restarted server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Nothing: it comes back without a key.
    Empty,
    /// Everything it had; only for a server built with [`RedisBuilder::persistent`].
    WithData,
}

/// A running Redis (or Valkey) server. It is stopped, and its folder removed, when this value is dropped.
#[derive(Debug)]
pub struct RedisServer {
    host: Host,
    url: String,
    // Sent before each of our own commands: AUTH and SELECT, where they are needed.
    hello: Vec<Vec<String>>,
    persistent: bool,
}

impl RedisServer {
    /// Starts a server without persistence, on a free port.
    ///
    /// # Errors
    ///
    /// Says what to install where neither a binary nor a container engine is to be had.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// A server with settings of its own.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Starts several servers at the same time.
    ///
    /// # Errors
    ///
    /// As [`RedisServer::start`]; those that did start are stopped again.
    pub async fn fleet(count: usize) -> Result<Vec<Self>, StartError> {
        let starting: Vec<_> = (0..count).map(|_| tokio::spawn(Self::start())).collect();
        let mut servers = Vec::with_capacity(count);
        for task in starting {
            let started = task.await.map_err(|error| StartError::io("a start was cut short")(error.into()))?;
            servers.push(started?);
        }
        Ok(servers)
    }

    /// `redis://127.0.0.1:PORT`, without the password where one was set; or the URL as the environment gave it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
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

    /// Kills it (SIGKILL): connections break, what was not on disk is lost. Killing it twice is fine.
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

    /// Lets a paused server go on (SIGCONT): it then answers what has arrived meanwhile.
    ///
    /// # Errors
    ///
    /// As [`RedisServer::pause`].
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
    /// As [`RedisServer::disconnect`].
    pub async fn connect(&self) -> Result<(), FaultError> {
        self.host.connect().await
    }

    /// Kills it, if it still runs, and starts it again on the same port; returns when it answers.
    ///
    /// # Errors
    ///
    /// As [`RedisServer::kill`] and [`RedisServer::start`]; [`FaultError::NotPersistent`] if the data is asked for and
    /// there is none.
    pub async fn restart(&self, restart: Restart) -> Result<(), FaultError> {
        if restart == Restart::WithData && !self.persistent {
            return Err(FaultError::NotPersistent);
        }
        self.host.kill().await?;
        if restart == Restart::Empty && self.persistent {
            self.host.forget_data().await?;
        }
        self.host.start_again().await?;
        Ok(self.wait_ready().await?)
    }

    /// Sends one command and gives the answer, with the password where the server was started with one.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached or does not answer within five seconds. A refusal is a [`Reply::Error`].
    pub async fn command(&self, command: &[&str]) -> io::Result<Reply> {
        let hello: Vec<Vec<&str>> = self.hello.iter().map(|words| words.iter().map(String::as_str).collect()).collect();
        let mut all: Vec<&[&str]> = hello.iter().map(Vec::as_slice).collect();
        all.push(command);
        resp::ask(self.addr(), &all).await
    }

    /// The keys that match a pattern, sorted.
    ///
    /// # Panics
    ///
    /// If the server does not answer, or refuses.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let reply = self.command(&["KEYS", pattern]).await;
        let Ok(Reply::List(items)) = reply else { panic!("{} does not list its keys: {reply:?}", self.url) };
        let mut keys: Vec<_> = items.iter().filter_map(Reply::text).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// Waits until our server answers, and not another one that took the port first.
    async fn wait_ready(&self) -> Result<(), StartError> {
        let process_id = self.host.process_id().await;
        self.host.wait_ready(|| self.answers(process_id)).await
    }

    async fn answers(&self, process_id: Option<u32>) -> bool {
        match self.command(&["INFO"]).await {
            Ok(Reply::Text(info)) => {
                let info = String::from_utf8_lossy(&info);
                let says = |line: &str| info.lines().any(|other| other == line);
                // INFO is answered while the data is still being read, when nothing else is.
                says("loading:0") && process_id.is_none_or(|id| says(&format!("process_id:{id}")))
            }
            // Users are set up in a way that we do not know: it runs, and that is all that can be seen.
            Ok(Reply::Error(error)) => ["NOAUTH", "NOPERM", "WRONGPASS"].iter().any(|code| error.starts_with(code)),
            _ => false,
        }
    }
}
