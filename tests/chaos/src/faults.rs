//! What can be done to nodes, connections, the database and clients: each a small type that can be done and undone.

pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod database;
pub(crate) mod link;
pub(crate) mod node;
#[cfg(test)]
mod tests;

use std::fmt;

use futures_util::future::BoxFuture;

/// Something that goes wrong for a while.
pub(crate) trait Fault: fmt::Debug + Send + Sync {
    /// What is done to whom, as the timeline shows it.
    fn name(&self) -> String;

    /// Does it.
    fn inject(&self) -> BoxFuture<'_, anyhow::Result<()>>;

    /// Undoes it.
    fn undo(&self) -> BoxFuture<'_, anyhow::Result<()>>;

    /// Whether it has come to anything; asked right before it is undone.
    fn bites(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    /// `Err` with the reason where it cannot be done on this machine.
    fn available(&self) -> Result<(), String> {
        Ok(())
    }
}
