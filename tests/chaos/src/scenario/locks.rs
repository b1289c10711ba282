//! Scenarios of the lock alone: client processes contend for a few keys and change a ledger under them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use testkit::RedisServer;
use tokio::time::Instant;

use super::Settings;
use super::world::{Nodes, Servers, urls_of};
use crate::child::{Child, again};
use crate::client::{self, Event, Habits, Orders};
use crate::faults::client::Member;
use crate::faults::link::Link;
use crate::invariants::recovery::work_until;
use crate::ledger;
use crate::plan::{self, Choice};
use crate::record::{Heard, History, Record};

/// The lease time under chaos: short, so that many leases end while something is wrong.
pub(crate) const TTL: Duration = Duration::from_secs(2);

/// How long a client may take to end: its sections, and what they wait for.
const ENDING: Duration = Duration::from_secs(20);

/// Who works, and what goes wrong.
pub(crate) struct LockStage {
    pub(crate) nodes: usize,
    pub(crate) servers: Servers,
    /// Whether each client has a link of its own to each node.
    pub(crate) links: bool,
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    pub(crate) tasks: u64,
    pub(crate) node_timeout: Duration,
    pub(crate) quarantine: bool,
    pub(crate) habits: Habits,
    pub(crate) lanes: usize,
    pub(crate) menu: fn(&LockWorld) -> Vec<Choice>,
}

/// Everything that can be hurt.
pub(crate) struct LockWorld {
    pub(crate) nodes: Nodes,
    /// For each client, to each node.
    pub(crate) links: Vec<Vec<Arc<Link>>>,
    pub(crate) clients: Vec<Arc<Member>>,
}

/// What that many locks are called.
fn keys(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("key-{number}")).collect()
}

pub(super) async fn run(
    stage: &LockStage,
    settings: &Settings,
    length: Duration,
    record: &Arc<Record>,
) -> anyhow::Result<History> {
    let ledger = RedisServer::start().await?;
    let nodes = Nodes::start(stage.nodes, stage.servers).await?;
    let mut world = LockWorld { nodes, links: Vec::new(), clients: Vec::new() };
    let mut starting = Vec::new();
    for number in 1..=stage.clients {
        let name = format!("client {number}");
        let urls = if stage.links {
            let links = world.nodes.links(&name).await;
            let urls = urls_of(&links);
            world.links.push(links);
            urls
        } else {
            world.nodes.urls()
        };
        let orders = stage.orders(name, urls, &ledger, settings, number);
        starting.push(tokio::spawn(ours(settings.program.clone(), orders, record.clone())));
    }
    for member in starting {
        world.clients.push(member.await??);
    }
    record.begin();
    let until = Instant::now() + length;
    let steps = plan::random(settings.seed, length, stage.lanes, &(stage.menu)(&world));
    plan::carry_out(steps, record).await?;
    work_until(until, record).await;
    finish(&world.clients, record).await;
    history(record, &ledger, &keys(stage.keys)).await
}

impl LockStage {
    fn orders(
        &self,
        name: String,
        nodes: Vec<String>,
        ledger: &RedisServer,
        settings: &Settings,
        number: usize,
    ) -> Orders {
        Orders {
            name,
            nodes,
            ledger: ledger.url(),
            seed: settings.seed.wrapping_mul(100).wrapping_add(number as u64),
            tasks: self.tasks,
            keys: keys(self.keys),
            prefix: String::new(),
            ttl_ms: u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX),
            node_timeout_ms: u64::try_from(self.node_timeout.as_millis()).unwrap_or(u64::MAX),
            pause_ms: 20,
            quarantine: self.quarantine,
            habits: self.habits,
            bug: settings.bug.clone(),
        }
    }
}

/// One of our clients, over all its lives.
pub(super) async fn ours(
    program: std::path::PathBuf,
    orders: Orders,
    record: Arc<Record>,
) -> anyhow::Result<Arc<Member>> {
    let name = orders.name.clone();
    let start = move |life| {
        let (program, mut orders, record) = (program.clone(), orders.clone(), record.clone());
        orders.name = format!("{}.{life}", orders.name.replace(' ', "-"));
        Box::pin(async move { one_life(&program, orders, record).await }) as _
    };
    Member::start(name, Box::new(start)).await
}

async fn one_life(program: &Path, orders: Orders, record: Arc<Record>) -> anyhow::Result<Arc<Child>> {
    let name = orders.name.clone();
    let heard = listener(name, true, record.clone());
    let said = serde_json::to_string(&orders)?;
    Child::start(again(program, client::ROLE), &orders.name, &said, record, heard).await
}

/// Hands what a client says to the record.
pub(super) fn listener(client: String, ours: bool, record: Arc<Record>) -> impl Fn(String) + Send + 'static {
    move |line| match serde_json::from_str::<Event>(&line) {
        Ok(event) => record.hears(Heard { client: client.clone(), ours, event }),
        Err(_) => record.broke(format!("{client} said `{line}`")),
    }
}

/// Ends all of them, and waits for what they still have to say.
pub(super) async fn finish(members: &[Arc<Member>], record: &Record) {
    let ending = members.iter().map(|member| async move {
        if let Some(child) = member.child().await
            && let Err(error) = child.finish(ENDING).await
        {
            record.broke(format!("{}: {error:#}", member.name));
        }
        member.kill().await;
    });
    futures_util::future::join_all(ending).await;
}

/// What was recorded, with what the ledger has.
pub(super) async fn history(record: &Record, ledger: &RedisServer, keys: &[String]) -> anyhow::Result<History> {
    let mut history = record.finish();
    for key in keys {
        history.writes.extend(ledger::history(ledger, key).await?);
    }
    let (sections, writes) = (history.locks.sections.len(), history.writes.len());
    let refused: u64 = history.locks.sections.iter().map(|section| section.refused).sum();
    history.notes.push(format!("{sections} leases, {writes} writes accepted, {refused} stale writes refused"));
    for (reason, times) in &history.locks.reasons {
        history.notes.push(format!("no lease: {reason}, {times} times"));
    }
    Ok(history)
}
