//! `redlock inspect`: who holds a resource, node by node.

use std::collections::BTreeMap;

use redlock::{Cause, Inspection, NodeInspection, NodeState};
use serde_json::{Value, json};

use crate::options;
use crate::output::{self, Output};
use crate::settings::Urls;
use crate::status::{Failure, OK};

pub(crate) async fn inspect(options: &options::Inspect, output: Output) -> Result<u8, Failure> {
    let redlock = Urls::read(&options.nodes)?.manager(&options.nodes, |builder| builder)?;
    let inspection = redlock.inspect(options.resource.as_str()).await;
    let verdict = Verdict::of(&inspection)?;
    output.answer(
        || format!("{}: {verdict}\n{inspection}", options.resource),
        || {
            json!({
                "resource": options.resource,
                "state": verdict.word(),
                "holder": verdict.holder().map(output::value),
                "nodes": inspection.nodes.iter().map(node).collect::<Vec<_>>(),
            })
        },
    );
    if verdict.answered() { Ok(OK) } else { Err(unanswered(&inspection)) }
}

/// What the nodes amount to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// One value is on a quorum of nodes.
    Held { value: Vec<u8>, on: usize, of: usize },
    /// A quorum of nodes answered, and no value is on a quorum of them.
    Free { held_on: usize },
    /// Too few nodes answered to say.
    Unknown { answered: usize, of: usize },
}

impl Verdict {
    /// Counts.
    pub(crate) fn of(inspection: &Inspection) -> Result<Self, Failure> {
        let of = inspection.nodes.len();
        let quorum = of / 2 + 1;
        if let Some(refusal) = refusal(inspection) {
            return Err(Failure::usage(refusal));
        }
        let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
        for value in inspection.nodes.iter().filter_map(|node| node.state.value()) {
            *counts.entry(value).or_default() += 1;
        }
        if let Some((value, on)) = counts.iter().find(|(_, on)| **on >= quorum) {
            return Ok(Self::Held { value: value.to_vec(), on: *on, of });
        }
        let answered = inspection.nodes.iter().filter(|node| !matches!(node.state, NodeState::Error(_))).count();
        if answered < quorum {
            return Ok(Self::Unknown { answered, of });
        }
        Ok(Self::Free { held_on: counts.values().sum() })
    }

    fn holder(&self) -> Option<&[u8]> {
        match self {
            Self::Held { value, .. } => Some(value),
            Self::Free { .. } | Self::Unknown { .. } => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Held { .. } => "held",
            Self::Free { .. } => "free",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Whether a quorum of nodes answered.
    pub(crate) fn answered(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held { value, on, of } => write!(f, "held by {} on {on} of {of} nodes", output::value(value)),
            Self::Free { held_on: 0 } => f.write_str("free"),
            Self::Free { held_on } => {
                write!(f, "free: nobody holds a quorum (a value on {held_on} nodes is being set, or left over)")
            }
            Self::Unknown { answered, of } => write!(f, "unknown: {answered} of {of} nodes answered"),
        }
    }
}

/// Why there cannot be such a resource, if there cannot.
fn refusal(inspection: &Inspection) -> Option<String> {
    inspection.nodes.iter().find_map(|node| match &node.state {
        NodeState::Error(failure) if failure.cause == Cause::InvalidResource => Some(failure.detail.clone()),
        _ => None,
    })
}

/// Too few nodes answered; each is named with its cause.
pub(crate) fn unanswered(inspection: &Inspection) -> Failure {
    let failures: Vec<_> = inspection
        .nodes
        .iter()
        .filter_map(|node| match &node.state {
            NodeState::Error(failure) => Some(failure),
            _ => None,
        })
        .collect();
    let list: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let nodes: Value = failures.into_iter().map(output::node_failure).collect();
    Failure::unavailable(format!("no quorum of lock nodes answered: {}", list.join("; "))).with("nodes", nodes)
}

fn node(node: &NodeInspection) -> Value {
    match &node.state {
        NodeState::Held { value, remaining, .. } => json!({
            "node": node.node,
            "state": "held",
            "value": output::value(value),
            "remaining_ms": remaining.map(output::millis),
        }),
        NodeState::Error(failure) => {
            let mut value = output::node_failure(failure);
            value["state"] = json!("error");
            value
        }
        _ => json!({ "node": node.node, "state": "free" }),
    }
}
