//! Who holds a resource, node by node, without acquiring it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Cause, NodeError, NodeFailure};
use crate::node::{KeyState, Reply, Request};
use crate::resource::Resource;
use crate::round::{Asked, Round, Until};
use crate::shared::Shared;

/// What every node knows of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// One entry a node, in the order of the configuration.
    pub nodes: Vec<NodeInspection>,
}

/// What one node knows of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInspection {
    /// The node's name: its URL without user and password.
    pub node: String,
    /// What it answered.
    pub state: NodeState,
}

/// A node's answer to an inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// None of the resource's keys is held.
    Free,
    /// A key is held; of several, the first one that is.
    #[non_exhaustive]
    Held {
        /// The holder's value: any bytes; ours start with the owner label.
        value: Vec<u8>,
        /// How long the key has to live; `None` if it never expires.
        remaining: Option<Duration>,
    },
    /// The node did not tell.
    Error(NodeFailure),
}

impl NodeState {
    /// The holder's value, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Held { value, .. } => Some(value),
            Self::Free | Self::Error(_) => None,
        }
    }
}

pub(crate) async fn inspect(shared: &Arc<Shared>, resource: Resource) -> Inspection {
    let round = match resource.keys(&shared.prefix) {
        Ok(keys) => Round::ask(&shared.nodes, |_| Asked::Request(Request::Inspect { keys: Arc::clone(&keys) })),
        Err(error) => {
            let refusal = NodeError::unsent(Cause::InvalidResource, error.to_string());
            Round::ask(&shared.nodes, |_| Asked::Answer(Err(refusal.clone())))
        }
    };
    let verdict = round.wait(Until::Complete, shared.terms.node_timeout).await;
    let nodes = shared.nodes.iter().zip(verdict.answers);
    let nodes =
        nodes.map(|(node, answer)| NodeInspection { node: node.name().to_owned(), state: state(node.name(), answer) });
    Inspection { nodes: nodes.collect() }
}

fn state(node: &str, answer: Option<Result<Reply, NodeError>>) -> NodeState {
    let failure = |error| NodeState::Error(NodeFailure::new(node, &error));
    match answer {
        Some(Ok(Reply::Keys(keys))) => first_held(keys),
        Some(Ok(other)) => failure(NodeError::new(Cause::Protocol, format!("{other:?}"))),
        Some(Err(error)) => failure(error),
        None => failure(NodeError::new(Cause::Timeout, "")),
    }
}

fn first_held(keys: Vec<KeyState>) -> NodeState {
    let held = |key| match key {
        KeyState::Free => None,
        KeyState::Held { value, remaining } => Some(NodeState::Held { value, remaining }),
    };
    keys.into_iter().find_map(held).unwrap_or(NodeState::Free)
}

impl fmt::Display for Inspection {
    /// One line a node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{node}")?;
        }
        Ok(())
    }
}

impl fmt::Display for NodeInspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            NodeState::Free => write!(f, "{}: free", self.node),
            NodeState::Held { value, remaining: Some(remaining) } => {
                write!(f, "{}: held by {} for {remaining:?}", self.node, value.escape_ascii())
            }
            NodeState::Held { value, remaining: None } => {
                write!(f, "{}: held by {} for ever", self.node, value.escape_ascii())
            }
            NodeState::Error(failure) => failure.fmt(f),
        }
    }
}
