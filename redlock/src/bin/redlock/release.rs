//! `redlock release --force`: takes a lock away from whoever holds it.
//!
//! What is deleted on a node is the value that was seen there a moment ago, compared and deleted in
//! one script: a lock that somebody else takes meanwhile has another value and stays.

use std::fmt;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult, Script};
use redlock::{NodeInspection, NodeState};
use serde_json::{Value, json};

use crate::inspect::{Verdict, unanswered};
use crate::options;
use crate::output::{self, Output};
use crate::settings::Urls;
use crate::status::{Failure, OK};

const RELEASE: &str = include_str!("release.lua");

pub(crate) async fn release(options: &options::Release, output: Output) -> Result<u8, Failure> {
    let resource = &options.resource;
    if !options.force {
        return Err(Failure::usage(format!(
            "`{resource}` is not released: whoever holds it would go on working without a lock until its next \
             renewal. `redlock inspect` shows the holder; --force does it all the same"
        )));
    }
    let urls = Urls::read(&options.nodes)?;
    let redlock = urls.manager(&options.nodes, |builder| builder)?;
    let inspection = redlock.inspect(resource.as_str()).await;
    let verdict = Verdict::of(&inspection)?;
    if !verdict.answered() {
        return Err(unanswered(&inspection));
    }
    let key = format!("{}{resource}", options.nodes.key_prefix);
    let mut nodes = Vec::new();
    for (url, seen) in urls.iter().zip(inspection.nodes) {
        let outcome = take_away(url, &key, &seen.state, options.nodes.node_timeout).await;
        nodes.push(Node { seen, outcome });
    }
    output.answer(
        || text(resource, &verdict, &nodes),
        || json!({ "resource": resource, "nodes": nodes.iter().map(Node::json).collect::<Vec<_>>() }),
    );
    judge(resource, &nodes)
}

/// One node: what was seen there, and what came of it.
struct Node {
    seen: NodeInspection,
    outcome: Outcome,
}

enum Outcome {
    /// There was nothing to delete.
    Free,
    /// What was seen is gone.
    Released,
    /// Something else was there by then, or nothing.
    Changed,
    /// It is not known.
    Failed(String),
}

async fn take_away(url: &str, key: &str, seen: &NodeState, patience: Duration) -> Outcome {
    let value = match seen {
        NodeState::Held { value, .. } => value,
        NodeState::Error(failure) => return Outcome::Failed(failure.cause.to_string()),
        _ => return Outcome::Free,
    };
    let deleting = async {
        let mut connection = connect(url, patience).await?;
        Script::new(RELEASE).key(key).arg(value).invoke_async::<i64>(&mut connection).await
    };
    match tokio::time::timeout(patience * 2, deleting).await {
        Ok(Ok(1)) => Outcome::Released,
        Ok(Ok(_)) => Outcome::Changed,
        // The kind alone: a client's words may quote the URL.
        Ok(Err(error)) => Outcome::Failed(error.category().to_owned()),
        Err(_) => Outcome::Failed("timeout".to_owned()),
    }
}

async fn connect(url: &str, patience: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        // A release that is late is still a release; giving up on it is decided above.
        .set_response_timeout(None);
    Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

fn judge(resource: &str, nodes: &[Node]) -> Result<u8, Failure> {
    let quorum = nodes.len() / 2 + 1;
    let failed: Vec<_> = nodes.iter().filter(|node| matches!(node.outcome, Outcome::Failed(_))).collect();
    if nodes.len() - failed.len() < quorum {
        let list: Vec<_> = failed.iter().map(ToString::to_string).collect();
        return Err(Failure::unavailable(format!(
            "no quorum of lock nodes released `{resource}`: {}",
            list.join("; ")
        )));
    }
    if nodes.iter().any(|node| matches!(node.outcome, Outcome::Changed)) {
        let message = format!("`{resource}` changed hands meanwhile; what others hold by now was left alone");
        return Err(Failure::contended(message));
    }
    Ok(OK)
}

fn text(resource: &str, verdict: &Verdict, nodes: &[Node]) -> String {
    let lines: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    format!("{resource}: was {verdict}\n{}", lines.join("\n"))
}

impl Node {
    fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Free => "free",
            Outcome::Released => "released",
            Outcome::Changed => "changed",
            Outcome::Failed(_) => "error",
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({ "node": self.seen.node, "outcome": self.word() });
        if let NodeState::Held { value: bytes, remaining, .. } = &self.seen.state {
            value["value"] = json!(output::value(bytes));
            value["remaining_ms"] = json!(remaining.map(output::millis));
        }
        if let Outcome::Failed(reason) = &self.outcome {
            value["detail"] = json!(reason);
        }
        value
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.seen.node;
        let whose = self.seen.state.value().map(output::value).unwrap_or_default();
        match &self.outcome {
            Outcome::Free => write!(f, "{name}: free"),
            Outcome::Released => write!(f, "{name}: released {whose}"),
            Outcome::Changed => write!(f, "{name}: {whose} was no longer there"),
            Outcome::Failed(reason) => write!(f, "{name}: {reason}"),
        }
    }
}
