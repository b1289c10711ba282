//! Faults of what lies between a client and a server: a proxy that holds bytes back, swallows them or resets.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use testkit::{Mode, Proxy};

use super::Fault;

/// The way from one client to one server.
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) proxy: Proxy,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// What happens on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Bytes come that much later, both ways.
    Slow(Duration),
    /// Nothing comes through.
    BlackHole,
    /// Requests arrive, answers do not.
    NoReplies,
    /// Requests do not arrive.
    NoRequests,
    /// Connections break, once.
    Reset,
    /// Requests do not arrive, and in the end the connections break: what was under way never happens.
    NoRequestsThenReset,
}

/// A fault of some links.
#[derive(Debug)]
pub(crate) struct LinkFault {
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) trouble: Trouble,
}

impl LinkFault {
    fn set(&self, mode: Mode) {
        self.links.iter().for_each(|link| link.proxy.set(mode));
    }

    fn reset(&self) {
        self.links.iter().for_each(|link| link.proxy.reset_connections());
    }
}

impl Fault for LinkFault {
    fn name(&self) -> String {
        let place = match self.links.as_slice() {
            [link] => link.name.clone(),
            [first, .., last] => format!("{} … {}", first.name, last.name),
            [] => "nothing".to_owned(),
        };
        let what = match self.trouble {
            Trouble::Slow(by) => format!("slow by {by:?}"),
            Trouble::BlackHole => "black hole".to_owned(),
            Trouble::NoReplies => "without replies".to_owned(),
            Trouble::NoRequests => "without requests".to_owned(),
            Trouble::Reset => "reset".to_owned(),
            Trouble::NoRequestsThenReset => "without requests, then reset".to_owned(),
        };
        format!("{place} {what}")
    }

    fn inject(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        match self.trouble {
            Trouble::Slow(by) => self.set(Mode::Delay(by)),
            Trouble::BlackHole => self.set(Mode::BlackHole),
            Trouble::NoReplies => self.set(Mode::BlackHoleReplies),
            Trouble::NoRequests | Trouble::NoRequestsThenReset => self.set(Mode::BlackHoleRequests),
            Trouble::Reset => self.reset(),
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn undo(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        if self.trouble == Trouble::NoRequestsThenReset {
            self.reset();
        }
        self.set(Mode::Forward);
        Box::pin(std::future::ready(Ok(())))
    }
}
