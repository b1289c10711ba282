//! Where a server runs, and the faults that can be done to it there. Redis and SQL servers differ in how they are
//! configured and asked, not in how they are killed.

#[cfg(feature = "containers")]
pub(crate) mod container;
pub(crate) mod local;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::error::{FaultError, StartError};
#[cfg(feature = "containers")]
use container::ContainerHost;
use local::LocalHost;

/// How long a server may take to answer; far above what is usual, since test machines get busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// One of the places where a server can run.
#[derive(Debug)]
pub(crate) enum Host {
    /// A child process of ours.
    Local(LocalHost),
    /// A container.
    #[cfg(feature = "containers")]
    Container(Box<ContainerHost>),
    /// Somewhere named by the environment, which we must not touch.
    Elsewhere(SocketAddr),
}

impl Host {
    /// Where clients reach it.
    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Local(host) => host.addr(),
            #[cfg(feature = "containers")]
            Self::Container(host) => host.addr(),
            Self::Elsewhere(addr) => *addr,
        }
    }

    pub(crate) fn is_in_container(&self) -> bool {
        match self {
            #[cfg(feature = "containers")]
            Self::Container(_) => true,
            Self::Local(_) | Self::Elsewhere(_) => false,
        }
    }

    /// Ends it without warning.
    pub(crate) async fn kill(&self) -> Result<(), FaultError> {
        match self {
            Self::Local(host) => host.kill().await,
            #[cfg(feature = "containers")]
            Self::Container(host) => host.kill().await?,
            Self::Elsewhere(addr) => return Err(FaultError::NotOurs { addr: *addr }),
        }
        Ok(())
    }

    /// Stops it where it stands; its connections stay open and nothing answers.
    pub(crate) async fn pause(&self) -> Result<(), FaultError> {
        match self {
            Self::Local(host) => host.pause().await,
            #[cfg(feature = "containers")]
            Self::Container(host) => host.pause().await,
            Self::Elsewhere(addr) => Err(FaultError::NotOurs { addr: *addr }),
        }
    }

    /// Lets it go on.
    pub(crate) async fn resume(&self) -> Result<(), FaultError> {
        match self {
            Self::Local(host) => host.resume().await,
            #[cfg(feature = "containers")]
            Self::Container(host) => host.resume().await,
            Self::Elsewhere(addr) => Err(FaultError::NotOurs { addr: *addr }),
        }
    }

    /// Takes it off its network, where it has one of its own.
    pub(crate) async fn disconnect(&self) -> Result<(), FaultError> {
        match self {
            #[cfg(feature = "containers")]
            Self::Container(host) => host.disconnect().await,
            _ => Err(FaultError::NoNetwork { addr: self.addr() }),
        }
    }

    /// Puts it back on its network.
    pub(crate) async fn connect(&self) -> Result<(), FaultError> {
        match self {
            #[cfg(feature = "containers")]
            Self::Container(host) => host.connect().await,
            _ => Err(FaultError::NoNetwork { addr: self.addr() }),
        }
    }

    /// Starts it again on the same port, after a kill.
    pub(crate) async fn start_again(&self) -> Result<(), FaultError> {
        match self {
            Self::Local(host) => host.launch().await?,
            #[cfg(feature = "containers")]
            Self::Container(host) => host.start_again().await?,
            Self::Elsewhere(addr) => return Err(FaultError::NotOurs { addr: *addr }),
        }
        Ok(())
    }

    /// Removes what a killed server has on disk.
    pub(crate) async fn forget_data(&self) -> Result<(), FaultError> {
        match self {
            Self::Local(host) => host.forget_data()?,
            #[cfg(feature = "containers")]
            Self::Container(host) => host.forget_data().await?,
            Self::Elsewhere(addr) => return Err(FaultError::NotOurs { addr: *addr }),
        }
        Ok(())
    }

    /// The process id, where it is a process of ours.
    pub(crate) async fn process_id(&self) -> Option<u32> {
        match self {
            Self::Local(host) => host.process_id().await,
            #[cfg(feature = "containers")]
            Self::Container(_) => None,
            Self::Elsewhere(_) => None,
        }
    }

    /// Polls until `probe` says that the server answers, or until it has ended.
    pub(crate) async fn wait_ready<P, F>(&self, probe: P) -> Result<(), StartError>
    where
        P: Fn() -> F,
        F: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            if let Self::Local(host) = self {
                host.check_alive().await?;
            }
            if probe().await {
                return Ok(());
            }
            if started.elapsed() > READY_WITHIN {
                return Err(self.not_ready());
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    }

    fn not_ready(&self) -> StartError {
        let (program, log) = match self {
            Self::Local(host) => (host.program(), host.log()),
            #[cfg(feature = "containers")]
            Self::Container(host) => (host.image(), "see `docker logs`".to_owned()),
            Self::Elsewhere(addr) => (addr.to_string(), String::new()),
        };
        StartError::NotReady { program, after: READY_WITHIN, log }
    }
}
