//! What goes wrong: nodes crash and forget, networks are cut or slow, clocks run wrong.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use redlock::{SimLink, SimNode};
use tokio::time::{Instant, sleep};

use crate::plan::{DRIFT, Plan, millis};
use crate::record::Record;

/// Nodes, and the networks of everybody to each of them.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) links: Vec<Vec<SimLink>>,
}

/// Breaks and mends things, one after another and some at a time, until `end`.
pub(crate) async fn faults(plan: &Plan, record: &Record, fleet: &Fleet, mut rng: StdRng, end: Instant) {
    while Instant::now() < end {
        sleep(rng.random_range(plan.quiet.clone())).await;
        let node = rng.random_range(0..plan.nodes);
        let lasts = if rng.random_bool(0.5) {
            millis(rng.random_range(5..100))
        } else {
            plan.ttl.mul_f64(rng.random_range(0.1..2.0))
        };
        match rng.random_range(0..10) {
            0..3 => crash(plan, record, (node, &fleet.nodes[node]), &mut rng, lasts).await,
            3..7 => cut(plan, record, fleet, &mut rng, lasts).await,
            7..9 => slow(plan, record, fleet, &mut rng, lasts).await,
            _ => {
                let rate = 1.0 + rng.random_range(-DRIFT..DRIFT);
                record.note(format!("clock of node {node} runs at {rate:.4}"));
                fleet.nodes[node].set_clock_rate(rate);
            }
        }
    }
}

async fn crash(plan: &Plan, record: &Record, node: (usize, &SimNode), rng: &mut StdRng, lasts: Duration) {
    let (number, node) = node;
    if !node.is_up() {
        return;
    }
    record.note(format!("node {number} stops"));
    node.stop();
    sleep(lasts).await;
    let keeps = !plan.amnesia || rng.random_bool(0.3);
    if !keeps {
        record.met("crash that lost all data");
    }
    record.note(format!("node {number} starts, {}", if keeps { "as it was" } else { "empty" }));
    node.start(keeps);
}

/// Some connections carry nothing for a while, in one direction or both.
async fn cut(plan: &Plan, record: &Record, fleet: &Fleet, rng: &mut StdRng, lasts: Duration) {
    let (there, back) = [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)][rng.random_range(0..3)];
    let manager = rng.random_range(0..plan.managers);
    let some: Vec<bool> = (0..plan.nodes).map(|_| rng.random_bool(0.5)).collect();
    record.note(format!("manager {manager} is cut off from {some:?}: {there} there, {back} back"));
    for (link, _) in fleet.links[manager].iter().zip(&some).filter(|(_, cut)| **cut) {
        link.set(plan.network().request_loss(there).reply_loss(back));
    }
    sleep(lasts).await;
    record.note(format!("manager {manager} is connected"));
    fleet.links[manager].iter().for_each(|link| link.set(plan.network()));
}

/// Everything between a manager and some nodes takes about as long as a round may.
async fn slow(plan: &Plan, record: &Record, fleet: &Fleet, rng: &mut StdRng, lasts: Duration) {
    let manager = rng.random_range(0..plan.managers);
    let some: Vec<bool> = (0..plan.nodes).map(|_| rng.random_bool(0.6)).collect();
    record.note(format!("manager {manager} is slow to {some:?}"));
    for (link, _) in fleet.links[manager].iter().zip(&some).filter(|(_, slow)| **slow) {
        link.set(plan.network().latency(plan.node_timeout / 8..=plan.node_timeout * 2));
    }
    sleep(lasts).await;
    record.note(format!("manager {manager} is fast"));
    fleet.links[manager].iter().for_each(|link| link.set(plan.network()));
}
