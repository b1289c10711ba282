//! How each lock node is: looked at alone, so that one that hangs tells nothing about the others.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use metrics::gauge;
use redlock::{Cause, NodeState, Redlock};
use serde::Serialize;
use utoipa::ToSchema;

use super::millis;
use crate::assembly::Locks;

/// A node that takes longer hangs.
const PATIENCE: Duration = Duration::from_millis(300);

/// Locked by nobody: a node is asked whether somebody does.
const PROBE: &str = "lock:product_stock:room";

/// A lock node.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::service) struct Node {
    /// Counted from 1.
    pub(super) number: usize,
    /// Its address, without user and password.
    pub(super) name: String,
    /// up; hung: it does not answer; down: it cannot be reached; quarantined: it answers, but was restarted and may
    /// have forgotten leases, so it does not vote; barred: it does not vote for another reason.
    pub(super) state: &'static str,
    /// For how long it has been so; of a quarantined node, for how much longer.
    pub(super) seconds: f64,
    /// How long it took to answer; null where it did not.
    pub(super) round_ms: Option<f64>,
    /// What it said, or why it does not vote, where that is not obvious.
    pub(super) detail: Option<String>,
}

/// Looks at every node.
pub(super) struct Watch {
    redlock: Redlock,
    probes: Vec<Redlock>,
    seen: Vec<Seen>,
}

/// What was seen of a node.
struct Seen {
    name: String,
    state: &'static str,
    since: Instant,
    remaining: Option<Duration>,
    took: Option<Duration>,
    detail: Option<String>,
}

impl Watch {
    pub(super) fn new(locks: &Locks) -> Self {
        let (redlock, probes) = (locks.redlock.clone(), locks.probes(PATIENCE));
        let seen = |(name, _)| Seen {
            name,
            state: "down",
            since: Instant::now(),
            remaining: None,
            took: None,
            detail: Some("not looked at yet".to_owned()),
        };
        let seen = redlock.standing().into_iter().map(seen).collect();
        Self { redlock, probes, seen }
    }

    /// Looks at all of them at the same time.
    pub(super) async fn look(&mut self) {
        let looks = join_all(self.probes.iter().map(look)).await;
        let standing = self.redlock.standing();
        for ((seen, look), (_, barred)) in self.seen.iter_mut().zip(looks).zip(standing) {
            seen.note(look, barred);
        }
    }

    pub(super) fn seen(&self) -> Vec<Node> {
        let node = |(index, seen): (usize, &Seen)| Node {
            number: index + 1,
            name: seen.name.clone(),
            state: seen.state,
            seconds: seen.remaining.unwrap_or_else(|| seen.since.elapsed()).as_secs_f64(),
            round_ms: seen.took.map(|took| took.as_secs_f64() * 1_000.0),
            detail: seen.detail.clone(),
        };
        self.seen.iter().enumerate().map(node).collect()
    }
}

/// How long an answer took, or what came in its place.
async fn look(probe: &Redlock) -> Result<Duration, (&'static str, String)> {
    let asked = Instant::now();
    let inspection = probe.inspect(PROBE).await;
    match inspection.nodes.first().map(|node| &node.state) {
        Some(NodeState::Error(failure)) if failure.cause == Cause::Timeout => {
            Err(("hung", format!("no answer within {} ms", millis(PATIENCE))))
        }
        Some(NodeState::Error(failure)) => Err(("down", failure.to_string())),
        _ => Ok(asked.elapsed()),
    }
}

impl Seen {
    fn note(&mut self, look: Result<Duration, (&'static str, String)>, barred: Option<Cause>) {
        self.took = look.as_ref().ok().copied();
        let (state, remaining, detail) = match (look, barred) {
            (Err((state, detail)), _) => (state, None, Some(detail)),
            (Ok(_), Some(Cause::Quarantined { remaining })) => ("quarantined", Some(remaining), None),
            (Ok(_), Some(cause)) => ("barred", None, Some(cause.to_string())),
            (Ok(_), None) => ("up", None, None),
        };
        if state != self.state {
            (self.state, self.since) = (state, Instant::now());
        }
        (self.remaining, self.detail) = (remaining, detail);
        gauge!("redlock_node_up", "node" => self.name.clone()).set(if self.took.is_some() { 1.0 } else { 0.0 });
        gauge!("redlock_node_votes", "node" => self.name.clone()).set(if state == "up" { 1.0 } else { 0.0 });
        if let Some(took) = self.took {
            metrics::histogram!("redlock_node_seconds", "node" => self.name.clone()).record(took.as_secs_f64());
        }
    }
}
