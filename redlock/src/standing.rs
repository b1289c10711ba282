//! Whether a node may vote: its membership applied to what it said of itself.
//!
//! Shared by every kind of node, so that the simulation runs the rules that real nodes keep.

use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::error::{Cause, NodeError};
use crate::history::{History, Uptime};
use crate::node::{NodeInfo, Request, Role};
use crate::restart::Membership;

/// What one handle knows of its node.
#[derive(Debug)]
pub(crate) struct Standing {
    clock: Clock,
    membership: Option<Membership>,
    history: History,
    out_until: Option<Moment>,
    replica: bool,
}

impl Standing {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, membership: None, history: History::default(), out_until: None, replica: false }
    }

    pub(crate) fn join(&mut self, membership: &Membership) {
        self.membership = Some(membership.clone());
    }

    /// A new connection to the node called `name`; without `info` nothing is known, and nothing
    /// can be asked of it.
    pub(crate) fn connected(&mut self, name: &str, info: Option<&NodeInfo>) {
        let (Some(membership), Some(info)) = (&self.membership, info) else {
            return;
        };
        membership.meet(name, &info.run_id);
        self.replica = info.role == Role::Replica;
        let clock_off = Duration::from_millis(info.clock_ahead_ms.unsigned_abs());
        let uptime = Uptime { seconds: info.uptime_seconds, clock_off };
        if let Some(quarantine) = membership.quarantine() {
            let now = self.clock.now();
            let until = self.history.connected(&info.run_id, uptime, quarantine, now);
            self.out_until = Some(until).filter(|until| *until > now);
        }
    }

    /// How long the node stays out of votes.
    pub(crate) fn quarantined(&self) -> Option<Duration> {
        let remaining = self.out_until?.since(self.clock.now());
        (!remaining.is_zero()).then_some(remaining)
    }

    /// Why the node called `name` may not vote on acquisitions, if it may not.
    pub(crate) fn barred(&self, name: &str) -> Option<Cause> {
        let quarantined = || self.quarantined().map(|remaining| Cause::Quarantined { remaining });
        self.never(name).or_else(quarantined)
    }

    /// Why the node called `name` may not carry out `request`, if it may not.
    ///
    /// A node in quarantine may keep and get back leases that a quorum of others vouches for; it
    /// may not help anybody to a new one.
    pub(crate) fn refusal(&self, name: &str, request: &Request) -> Option<NodeError> {
        let cause = match request {
            Request::Release { .. } | Request::Inspect { .. } | Request::Info => None,
            Request::Acquire { .. } => self.barred(name),
            _ => self.never(name),
        };
        cause.map(|cause| NodeError::unsent(cause, ""))
    }

    /// What keeps the node from counting as a node of its own at all.
    fn never(&self, name: &str) -> Option<Cause> {
        if self.replica {
            return Some(Cause::Replica);
        }
        let other = self.membership.as_ref()?.twin_of(name)?;
        Some(Cause::SameServer { other })
    }
}
