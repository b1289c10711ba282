//! Interop under fire: other people's lock clients and ours contend for one counter while nodes fail. Where their own
//! flaws break exclusion the report says whose guard was stale; what was written under a token is never lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use testkit::RedisServer;
use tokio::time::Instant;

use super::Settings;
use super::locks::{self, TTL, finish, history, listener};
use super::world::{Nodes, Servers};
use crate::child::Child;
use crate::client::{Foreign, Habits, Orders};
use crate::faults::client::Member;
use crate::faults::node::Node;
use crate::invariants::overlaps;
use crate::invariants::recovery::work_until;
use crate::plan::{self, Choice};
use crate::record::locks::Section;
use crate::record::{History, Record};

/// The counter. One of the libraries puts `redlock:` before every name.
const KEY: &str = "redlock:counter";

/// Who works, and what goes wrong.
pub(crate) struct InteropStage {
    pub(crate) nodes: usize,
    pub(crate) ours: usize,
    pub(crate) menu: fn(&[Arc<Node>]) -> Vec<Choice>,
}

pub(super) async fn run(
    stage: &InteropStage,
    settings: &Settings,
    length: Duration,
    record: &Arc<Record>,
) -> anyhow::Result<History> {
    let ledger = RedisServer::start().await?;
    let nodes = Nodes::start(stage.nodes, Servers::Durable).await?;
    let mut starting = Vec::new();
    let orders = |name: &str, number: u64| orders(name, number, nodes.urls(), &ledger, settings);
    for number in 1..=stage.ours {
        let orders = orders(&format!("ours {number}"), number as u64);
        starting.push(tokio::spawn(locks::ours(settings.program.clone(), orders, record.clone())));
    }
    for (number, foreign) in (100..).zip(Foreign::ALL) {
        let orders = orders(foreign.name(), number);
        starting.push(tokio::spawn(theirs(foreign, settings.program.clone(), orders, record.clone())));
    }
    let mut clients = Vec::new();
    for client in starting {
        clients.push(client.await??);
    }
    record.begin();
    let until = Instant::now() + length;
    plan::carry_out(plan::random(settings.seed, length, 1, &(stage.menu)(&nodes.nodes)), record).await?;
    work_until(until, record).await;
    finish(&clients, record).await;
    let mut history = history(record, &ledger, &[KEY.to_owned()]).await?;
    note(&mut history);
    Ok(history)
}

fn orders(name: &str, number: u64, nodes: Vec<String>, ledger: &RedisServer, settings: &Settings) -> Orders {
    Orders {
        name: name.to_owned(),
        nodes,
        ledger: ledger.url(),
        seed: settings.seed.wrapping_mul(1_000).wrapping_add(number),
        tasks: 1,
        keys: vec![KEY.to_owned()],
        prefix: String::new(),
        ttl_ms: u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX),
        node_timeout_ms: 100,
        pause_ms: 20,
        // Theirs do not know it, and every node must count the same for all.
        quarantine: false,
        habits: Habits { long: 5, to_the_end: 5, dropped: 20, several: 0 },
        bug: settings.bug.clone(),
    }
}

async fn theirs(
    foreign: Foreign,
    program: std::path::PathBuf,
    orders: Orders,
    record: Arc<Record>,
) -> anyhow::Result<Arc<Member>> {
    let start = move |_| {
        let (orders, record, command) = (orders.clone(), record.clone(), foreign.command(&program));
        Box::pin(async move {
            let heard = listener(orders.name.clone(), false, record.clone());
            let command = command.context("TESTKIT_PYTHON names no Python")?;
            Child::start(command, &orders.name, &serde_json::to_string(&orders)?, record, heard).await
        }) as _
    };
    Member::start(foreign.name().to_owned(), Box::new(start)).await
}

/// How often each came in, and whose guard was stale.
fn note(history: &mut History) {
    let mut came_in: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for section in &history.locks.sections {
        let (times, written) = came_in.entry(&section.client).or_default();
        *times += 1;
        *written += section.accepted;
    }
    let mut notes: Vec<_> = came_in
        .iter()
        .map(|(client, (times, written))| format!("{client} came in {times} times and wrote {written}"))
        .collect();
    let stale = stale(history);
    notes.extend(stale.iter().map(|(what, times)| format!("{what}, {times} times")));
    if stale.is_empty() {
        notes.push("nobody's guard was stale".to_owned());
    }
    history.notes.extend(notes);
}

/// Whose guards were stale, and when that was seen; ours among each other must not be, and that is an invariant.
fn stale(history: &History) -> BTreeMap<String, u64> {
    let mut stale = BTreeMap::new();
    for (earlier, later) in overlaps(history, |_: &Section| true) {
        if !(earlier.ours && later.ours) {
            let what = format!("{}'s guard was stale when {} came in", earlier.client, later.client);
            *stale.entry(what).or_default() += 1;
        }
    }
    // Without a token nobody stops them then.
    for section in history.locks.sections.iter().filter(|section| section.overstayed && !section.ours) {
        *stale.entry(format!("{}'s guard was stale when it wrote", section.client)).or_default() += 1;
    }
    stale
}
