//! What every node is, asked before it matters, and what is wrong with that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Cause, NodeError, NodeFailure};
use crate::node::{NodeInfo, Reply, Request, Role};
use crate::round::{Asked, Round, Until};
use crate::shared::Shared;

/// A connection that is not up yet gets this long on top of the node timeout.
const PATIENCE: Duration = Duration::from_secs(2);
/// A wall clock further off than this makes a node's uptime incredible, and proposals uneven.
const CLOCK_OFF_MS: u64 = 1_000;

/// What every node said of itself, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// One entry a node, in the order of the configuration.
    pub nodes: Vec<NodePreflight>,
    /// What should be mended, each naming its node.
    pub warnings: Vec<String>,
}

/// What one node said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodePreflight {
    /// The node's name: its URL without user and password.
    pub node: String,
    /// What it is; `None` where it may not be asked.
    pub info: Result<Option<NodeInfo>, NodeFailure>,
    /// Why it does not vote on acquisitions now, if it does not.
    pub barred: Option<Cause>,
}

impl Preflight {
    /// Whether a quorum of nodes votes.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        let voting = self.nodes.iter().filter(|node| node.info.is_ok() && node.barred.is_none());
        voting.count() >= crate::quorum::quorum(self.nodes.len())
    }
}

pub(crate) async fn preflight(shared: &Arc<Shared>) -> Preflight {
    let round = Round::ask(&shared.nodes, |_| Asked::Request(Request::Info));
    let verdict = round.wait(Until::Complete, shared.terms.node_timeout.saturating_add(PATIENCE)).await;
    let nodes: Vec<_> = shared
        .nodes
        .iter()
        .zip(verdict.answers)
        .map(|(node, answer)| NodePreflight {
            node: node.name().to_owned(),
            info: info(node.name(), answer),
            barred: node.barred(),
        })
        .collect();
    let warnings = nodes.iter().flat_map(warnings_of).chain(warning_of_number(nodes.len())).collect();
    Preflight { nodes, warnings }
}

fn info(node: &str, answer: Option<Result<Reply, NodeError>>) -> Result<Option<NodeInfo>, NodeFailure> {
    let failure = |error| Err(NodeFailure::new(node, &error));
    match answer {
        Some(Ok(Reply::Info(info))) => Ok(info.map(|info| *info)),
        Some(Ok(other)) => failure(NodeError::new(Cause::Protocol, format!("{other:?}"))),
        Some(Err(error)) => failure(error),
        None => failure(NodeError::new(Cause::Timeout, "")),
    }
}

fn warnings_of(preflight: &NodePreflight) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |what: String| warnings.push(format!("{}: {what}", preflight.node));
    match &preflight.info {
        Err(failure) => warnings.push(failure.to_string()),
        Ok(None) => warn("INFO is not permitted: a restart of it cannot be recognised".into()),
        Ok(Some(info)) => {
            if let Some(barred) = &preflight.barred {
                warn(format!("does not vote: {barred}"));
            }
            if info.eviction != "noeviction" {
                warn(format!("maxmemory-policy {} can drop locks; use noeviction", info.eviction));
            }
            if info.clock_ahead_ms.unsigned_abs() > CLOCK_OFF_MS {
                let ahead = info.clock_ahead_ms;
                warn(format!(
                    "its clock differs from ours by {ahead:+} ms, more than the {CLOCK_OFF_MS} ms allowed; its uptime is not believed"
                ));
            }
        }
    }
    warnings
}

fn warning_of_number(nodes: usize) -> Option<String> {
    nodes
        .is_multiple_of(2)
        .then(|| format!("{nodes} nodes bear no more failures than {} do: use an odd number", nodes - 1))
}

impl fmt::Display for Preflight {
    /// One line a node, then the warnings, then what cannot be seen from here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            writeln!(f, "{node}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        f.write_str(
            "not visible from here: FLUSHALL, a fail-over behind one address, a proxy that keeps connections over a \
             restart, a clock stepped between a restart and our first contact",
        )
    }
}

impl fmt::Display for NodePreflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.info {
            Err(failure) => return failure.fmt(f),
            Ok(None) => write!(f, "{}: up, INFO not permitted", self.node)?,
            Ok(Some(info)) => {
                let role = if info.role == Role::Master { "master" } else { "replica" };
                let log = if info.append_only { "append-only file" } else { "no append-only file" };
                write!(
                    f,
                    "{}: {role}, version {}, run_id {}, up {} s, {log}, {}, clock {:+} ms",
                    self.node, info.version, info.run_id, info.uptime_seconds, info.eviction, info.clock_ahead_ms
                )?;
            }
        }
        match &self.barred {
            Some(cause) => write!(f, "; does not vote: {cause}"),
            None => Ok(()),
        }
    }
}
