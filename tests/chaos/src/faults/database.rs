//! Faults of the database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use testkit::SqlServer;

use super::Fault;

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It dies, and comes back with what was committed.
    Kill,
    /// It dies while COMMITs are under way: it is stopped first, until those who work wait for it.
    KillInCommit,
    /// It hangs (SIGSTOP; a container is paused).
    Stop,
    /// Its container is taken off the network.
    Disconnect,
}

/// How long it takes until somebody waits for the answer to a COMMIT.
const UNDER_WAY: Duration = Duration::from_millis(200);

/// A fault of the database.
#[derive(Debug)]
pub(crate) struct DatabaseFault {
    pub(crate) server: Arc<SqlServer>,
    pub(crate) how: How,
}

impl Fault for DatabaseFault {
    fn name(&self) -> String {
        let what = match self.how {
            How::Kill => "dead",
            How::KillInCommit => "dead in the middle of COMMITs",
            How::Stop => "hung",
            How::Disconnect => "off the network",
        };
        format!("database {what}")
    }

    fn inject(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            match self.how {
                How::Kill => self.server.kill().await?,
                How::KillInCommit => {
                    self.server.pause().await?;
                    tokio::time::sleep(UNDER_WAY).await;
                    self.server.kill().await?;
                }
                How::Stop => self.server.pause().await?,
                How::Disconnect => self.server.disconnect().await?,
            }
            Ok(())
        })
    }

    fn undo(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            match self.how {
                How::Kill | How::KillInCommit => self.server.restart().await?,
                How::Stop => self.server.resume().await?,
                How::Disconnect => self.server.connect().await?,
            }
            Ok(())
        })
    }

    fn available(&self) -> Result<(), String> {
        match self.how {
            How::Disconnect if !self.server.is_in_container() => {
                Err("a process has no network of its own; a container has".to_owned())
            }
            _ => Ok(()),
        }
    }
}
