//! What can go wrong while a server is started or hurt, told so that the reader knows what to do about it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Neither a binary nor a container engine was found.
    #[error("no {what} to be had: {advice}")]
    NotInstalled {
        /// The kind of server that was asked for.
        what: &'static str,
        /// What to install, or which variable to set.
        advice: String,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The server ended before it answered.
    #[error("{program} ended at once; its log says:\n{log}")]
    Exited {
        /// Which program it was.
        program: String,
        /// The end of its log.
        log: String,
    },
    /// The server did not answer in time.
    #[error("{program} did not answer within {after:?}; its log says:\n{log}")]
    NotReady {
        /// Which program it was.
        program: String,
        /// How long it was waited for.
        after: Duration,
        /// The end of its log.
        log: String,
    },
    /// Every port that was tried is taken.
    #[error("no free port between 10000 and 30000 on 127.0.0.1")]
    NoPort,
    /// The container engine refused.
    #[error("container {image}: {reason}")]
    Container {
        /// The image asked for.
        image: String,
        /// The engine's answer.
        reason: String,
    },
    /// The URL of somebody else's server cannot be read.
    #[error("{url}: {reason}")]
    Named {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StartError {
    /// Wraps a system error with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Why a fault could not be injected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// The server was named by the environment; it is not ours to hurt.
    #[error("{addr} was named by the environment and is not ours to hurt")]
    NotOurs {
        /// The server.
        addr: SocketAddr,
    },
    /// Only a container has a network of its own that it can be taken off.
    #[error("{addr} is not in a container, so it cannot be taken off its network")]
    NoNetwork {
        /// The server.
        addr: SocketAddr,
    },
    /// The server is not running, so it can be neither paused nor resumed.
    #[error("the server is not running")]
    NotRunning,
    /// A server without persistence has no data to come back with.
    #[error("the server keeps nothing on disk: build it with `persistent(true)`")]
    NotPersistent,
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The container engine refused.
    #[error("{0}")]
    Container(String),
    /// The server did not come back.
    #[error(transparent)]
    Start(#[from] StartError),
}
