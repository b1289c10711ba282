//! Faults of a lock node, as a process or in a container.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use testkit::{RedisServer, Restart};

use super::Fault;

/// A lock node, or another Redis.
#[derive(Debug)]
pub(crate) struct Node {
    /// How it is called, such as `node 1`.
    pub(crate) name: String,
    pub(crate) server: RedisServer,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It dies, and comes back with everything it knew.
    KillAndReturn,
    /// It dies, and comes back without a key.
    KillAndForget,
    /// It hangs (SIGSTOP; a container is paused).
    Stop,
    /// Its container is taken off the network.
    Disconnect,
}

/// What is said of a node that comes back without a key.
pub(crate) const FORGOTTEN: &str = "dead, then empty";

/// A fault of one node.
#[derive(Debug)]
pub(crate) struct NodeFault {
    pub(crate) node: Arc<Node>,
    pub(crate) how: How,
}

impl Fault for NodeFault {
    fn name(&self) -> String {
        let what = match self.how {
            How::KillAndReturn => "dead",
            How::KillAndForget => FORGOTTEN,
            How::Stop => "hung",
            How::Disconnect => "off the network",
        };
        format!("{} {what}", self.node.name)
    }

    fn inject(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            match self.how {
                How::KillAndReturn | How::KillAndForget => self.node.server.kill().await?,
                How::Stop => self.node.server.pause().await?,
                How::Disconnect => self.node.server.disconnect().await?,
            }
            Ok(())
        })
    }

    fn undo(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            match self.how {
                How::KillAndReturn => self.node.server.restart(Restart::WithData).await?,
                How::KillAndForget => self.node.server.restart(Restart::Empty).await?,
                How::Stop => self.node.server.resume().await?,
                How::Disconnect => self.node.server.connect().await?,
            }
            Ok(())
        })
    }

    fn available(&self) -> Result<(), String> {
        match self.how {
            How::Disconnect if !self.node.server.is_in_container() => {
                Err("a process has no network of its own; a container has".to_owned())
            }
            _ => Ok(()),
        }
    }
}
