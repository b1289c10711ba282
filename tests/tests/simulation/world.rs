//! One world: its nodes, its managers, its tasks, from a seed to a report.

use std::time::Duration;

use futures_util::future::join_all;
use redlock::{Redlock, SimNode};
use tokio::time::{Instant, sleep, timeout};

use crate::client::Client;
use crate::faults::{Fleet, faults};
use crate::plan::{DRIFT, Plan, millis};
use crate::record::{Record, Report};

/// Longest time a world that works and then rests can take.
const LIMIT: Duration = Duration::from_secs(300);
/// Longest time to come to rest: connections are noticed to be dead, and come up again.
const REST: Duration = Duration::from_secs(3);

/// Runs the world of `seed`. On one thread and a paused clock, so that nothing but the seed
/// decides.
pub(crate) fn run(seed: u64) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let record = Record::new();
        let plan = Plan::new(seed);
        record.note(format!("{plan:?}"));
        if timeout(LIMIT, world(&plan, &record)).await.is_err() {
            record.violated("the world hangs");
        }
        record.finish()
    })
}

async fn world(plan: &Plan, record: &Record) {
    let mut fleet = Fleet { nodes: nodes(plan), links: Vec::new() };
    let mut managers = Vec::new();
    for number in 0..plan.managers {
        managers.push(manager(plan, &mut fleet, number));
        if !plan.amnesia {
            // Its time of day starts now, so its clock is behind those made before.
            sleep(millis(7)).await;
        }
    }
    for round in 0..plan.rounds {
        record.note(format!("round {round}"));
        work(plan, record, &fleet, &managers, round).await;
        rest(plan, record, &fleet, &managers).await;
    }
    for node in &fleet.nodes {
        record.count(node.counts());
        record.note(format!("{:?}", node.counts()));
    }
}

fn nodes(plan: &Plan) -> Vec<SimNode> {
    (0..plan.nodes).map(|number| SimNode::new(format!("node-{number}"))).collect()
}

fn manager(plan: &Plan, fleet: &mut Fleet, number: usize) -> Redlock {
    let seed = plan.seed.wrapping_mul(1_000) + number as u64 * 100;
    let handles = fleet.nodes.iter().zip(seed..).map(|(node, seed)| node.over(plan.network(), seed));
    let handles: Vec<_> = handles.collect();
    fleet.links.push(handles.iter().map(SimNode::link).collect());
    let builder = handles.into_iter().fold(Redlock::builder(), redlock::Builder::node);
    let builder = builder
        .ttl(plan.ttl)
        .node_timeout(plan.node_timeout)
        .drift_factor(DRIFT)
        .restart_guard(plan.restart_guard)
        .owner(format!("manager-{number}"))
        .simulation(seed);
    builder.build().unwrap()
}

async fn work(plan: &Plan, record: &Record, fleet: &Fleet, managers: &[Redlock], round: usize) {
    let end = Instant::now() + plan.round;
    let part = |kind: usize, number: usize| plan.rng((round * 10_000 + kind * 100 + number) as u64);
    let clients = managers.iter().enumerate().flat_map(|(number, redlock)| {
        (0..plan.tasks).map(move |task| {
            let who = format!("client {number}.{task}");
            Client { plan, record, redlock, who, rng: part(1, number * 10 + task) }.work(end)
        })
    });
    let faults = (0..2).map(|number| faults(plan, record, fleet, part(2, number), end));
    tokio::join!(join_all(clients), join_all(faults));
}

/// Lets everything come to rest: then no key may be left, long before it would end by itself.
async fn rest(plan: &Plan, record: &Record, fleet: &Fleet, managers: &[Redlock]) {
    record.note("comes to rest");
    fleet.links.iter().flatten().for_each(|link| link.set(Plan::calm()));
    fleet.nodes.iter().filter(|node| !node.is_up()).for_each(|node| node.start(true));
    let end = Instant::now() + REST;
    let settled = join_all(managers.iter().map(|redlock| redlock.close(REST))).await;
    if settled.contains(&false) {
        record.violated("releases are never answered");
    }
    while !fleet.links.iter().flatten().all(redlock::SimLink::is_idle) {
        if Instant::now() > end {
            return record.violated("the network does not come to rest");
        }
        sleep(millis(1)).await;
    }
    for (number, node) in fleet.nodes.iter().enumerate() {
        if !node.is_empty() {
            record.violated(format!("{} keys are left behind on node {number}", node.len()));
        }
    }
    // What one round left must not help or hurt the next.
    sleep(plan.ttl * 2).await;
}
