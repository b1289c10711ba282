//! Scenarios of stock: buyers rush a few records through instances on lock nodes and a database.

mod buyer;
mod counter;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::stock::operation::{Id, Quantity, StockKey};
use ::stock::store;
use anyhow::ensure;
use testkit::{Proxy, SqlServer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::buyer::Buyer;
pub(crate) use self::counter::{Counter, Http};
use self::counter::{Lines, Service};
use super::Settings;
use super::locks::{TTL, finish};
use super::world::{Nodes, Servers, urls_of};
use crate::faults::client::Member;
use crate::faults::database::{DatabaseFault, How as DatabaseHow};
use crate::faults::link::Link;
use crate::faults::node::Node;
use crate::instance::{Kind, Orders};
use crate::invariants::recovery::work_until;
use crate::plan::{self, Step};
use crate::record::stock::{held, logged, stored};
use crate::record::{Asked, History, Op, Record, Told, Verdict};

/// The database that instances use.
pub(crate) const DATABASE: &str = "test";

/// Transactions that may still change something.
const OPEN_TRANSACTIONS: &str = "SELECT trx_id, trx_state, trx_started, trx_rows_modified, trx_query \
                                 FROM information_schema.innodb_trx WHERE trx_rows_modified > 0";

/// Holds whose time is over.
const OVERDUE: &str = "SELECT id FROM stock_holds WHERE expires_at < UTC_TIMESTAMP(6) LIMIT 1";

/// How long what goes on by itself may take: it may have to wait for a dead instance's lease.
const SETTLING: Duration = Duration::from_secs(20);

/// How often the database dies once more where no COMMIT was under way until then.
const MORE_KILLS: usize = 25;

/// How long a transaction may take to end when everybody has gone.
const ENDING: Duration = Duration::from_secs(30);

/// What buyers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// They lock units of one record.
    Lock,
    /// They do everything an order lives through, on several records, and look.
    Everything,
    /// The same without looking: what instances have in their caches may be older.
    Changes,
    /// They order, and pay or do not pay in time.
    Orders,
}

/// An instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instance {
    /// A repository in a process of this suite, which can be stopped at moments that matter. Its leases are short.
    Bare(Kind),
    /// `stock serve` with this repository, over HTTP. Its leases are what they are in production: ten seconds.
    Service(&'static str),
}

/// Who works, and what goes wrong.
pub(crate) struct StockStage {
    pub(crate) nodes: usize,
    pub(crate) servers: Servers,
    /// Whether restarted nodes are kept out of votes.
    pub(crate) quarantine: bool,
    /// Whether instances reach the nodes over links, one for each node.
    pub(crate) node_links: bool,
    /// Whether there is a Redis for resident levels, and whether it forgets when it dies.
    pub(crate) levels: Option<Servers>,
    /// MySQL 9 in a container, instead of what is installed.
    pub(crate) container: bool,
    /// Whether instances reach the database over a link.
    pub(crate) link: bool,
    pub(crate) instances: &'static [Instance],
    /// Settings of services, beside those that say where everything is.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    pub(crate) buyers: u64,
    pub(crate) records: u64,
    pub(crate) opening: u64,
    pub(crate) work: Work,
    /// Whether COMMITs must have been under way when something was done, so that their outcomes were looked up later.
    pub(crate) settles: bool,
    pub(crate) plan: fn(&StockWorld, u64, Duration) -> Vec<Step>,
}

/// Everything that can be hurt.
pub(crate) struct StockWorld {
    pub(crate) nodes: Nodes,
    pub(crate) database: Arc<SqlServer>,
    pub(crate) link: Option<Arc<Link>>,
    /// The ways of all instances to the nodes.
    pub(crate) node_links: Vec<Arc<Link>>,
    /// Where resident levels live.
    pub(crate) levels: Option<Arc<Node>>,
    pub(crate) instances: Vec<Arc<Member>>,
}

pub(super) async fn run(
    stage: &StockStage,
    settings: &Settings,
    length: Duration,
    record: &Arc<Record>,
) -> anyhow::Result<History> {
    let (mut world, counters) = build(stage, settings, record).await?;
    record.begin();
    let until = Instant::now() + length;
    let over = Arc::new(AtomicBool::new(false));
    // They end with this function, also where it ends early.
    let mut buyers = JoinSet::new();
    for number in 0..stage.buyers {
        let (counters, record, over) = (counters.clone(), record.clone(), over.clone());
        buyers.spawn(Buyer::new(number, stage, settings.seed, counters, record, over).rush());
    }
    plan::carry_out((stage.plan)(&world, settings.seed, length), record).await?;
    if stage.settles {
        kill_until_settled(&world, &counters, record).await?;
    }
    work_until(until, record).await;
    over.store(true, Ordering::Relaxed);
    while let Some(buyer) = buyers.join_next().await {
        buyer?;
    }
    if stage.settles {
        settled(&counters, record).await?;
    }
    at_rest(stage, &world, &counters, record).await;
    finish(&world.instances, record).await;
    world.instances.clear();
    history(stage, &world.database, record).await
}

/// The database dies in the middle of COMMITs where there are some in that moment, which is luck: so it dies again.
async fn kill_until_settled(world: &StockWorld, counters: &[Counter], record: &Arc<Record>) -> anyhow::Result<()> {
    for _ in 0..MORE_KILLS {
        if settled_of_all(counters).await? > 0.0 {
            break;
        }
        let fault = DatabaseFault { server: world.database.clone(), how: DatabaseHow::KillInCommit };
        // Long enough that outcomes of the time before have been looked up.
        let step = Step { lane: 0, at: Duration::from_millis(500), lasts: Duration::ZERO, fault: Box::new(fault) };
        plan::carry_out(vec![step], record).await?;
    }
    Ok(())
}

/// How many COMMITs had to be looked up.
async fn settled_of_all(counters: &[Counter]) -> anyhow::Result<f64> {
    let mut settled = 0.0;
    for counter in counters {
        if let Counter::Http(way) = counter {
            let [of_this] = way.figures(["stock_settled_total"]).await?;
            settled += of_this;
        }
    }
    Ok(settled)
}

/// Whether somebody had to look up what has become of a COMMIT.
async fn settled(counters: &[Counter], record: &Record) -> anyhow::Result<()> {
    let settled = settled_of_all(counters).await?;
    record.note(format!("{settled} COMMITs were under way when the database died, and were looked up later"));
    if settled == 0.0 {
        record.broke("no COMMIT was under way when the database died");
    }
    Ok(())
}

/// Waits for what goes on by itself: levels are written back, holds end.
async fn at_rest(stage: &StockStage, world: &StockWorld, counters: &[Counter], record: &Record) {
    let until = Instant::now() + SETTLING;
    let is_over = || Instant::now() > until;
    if stage.levels.is_some() {
        while !futures_util::future::join_all(counters.iter().map(is_written_back)).await.contains(&true) {
            if is_over() {
                return record.broke(format!("levels are not written back within {SETTLING:?}"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    if stage.work == Work::Orders {
        while !world.database.query(DATABASE, OVERDUE).await.is_ok_and(|rows| rows.is_empty()) {
            if is_over() {
                return record.broke(format!("holds whose time is over are there after {SETTLING:?}"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Whether a service has written everything back that was answered.
async fn is_written_back(counter: &Counter) -> bool {
    match counter {
        Counter::Http(way) => way.is_written_back().await,
        Counter::Lines(_) => false,
    }
}

/// Starts servers, a filled database and instances, and waits until they can work.
pub(super) async fn build(
    stage: &StockStage,
    settings: &Settings,
    record: &Arc<Record>,
) -> anyhow::Result<(StockWorld, Arc<[Counter]>)> {
    let mut world = servers(stage).await?;
    let urls = if stage.node_links { urls_of(&world.node_links) } else { world.nodes.urls() };
    let database = match &world.link {
        Some(link) => format!("mysql://root@{}/{DATABASE}", link.proxy.addr()),
        None => world.database.url(DATABASE),
    };
    let mut starting = Vec::new();
    for (number, instance) in (1..).zip(stage.instances) {
        let name = format!("instance {number}");
        let record = record.clone();
        match *instance {
            Instance::Bare(kind) => {
                let (database, nodes, bug) = (database.clone(), urls.clone(), settings.bug.clone());
                let (ttl_ms, quarantine) = (u64::try_from(TTL.as_millis())?, stage.quarantine);
                let orders = Orders { name, database, nodes, kind, ttl_ms, quarantine, bug };
                starting.push(tokio::spawn(bare(settings.program.clone(), orders, record)));
            }
            Instance::Service(repository) => {
                let mut variables = variables(stage, settings, &world, &urls);
                variables.extend([("DATABASE_URL", database.clone()), ("STOCK_REPOSITORY", repository.to_owned())]);
                let service = Service { name, program: settings.service(), settings: variables };
                starting.push(tokio::spawn(serve(service, record)));
            }
        }
    }
    let mut counters = Vec::new();
    for started in starting {
        let (member, counter) = started.await??;
        world.instances.push(member);
        counters.push(counter);
    }
    Ok((world, counters.into()))
}

/// Everything that instances need.
async fn servers(stage: &StockStage) -> anyhow::Result<StockWorld> {
    let nodes = Nodes::start(stage.nodes, stage.servers).await?;
    let node_links = if stage.node_links { nodes.links("instances").await } else { Vec::new() };
    let levels = match stage.levels {
        Some(servers) => Some(Nodes::levels(servers).await?),
        None => None,
    };
    let database = if stage.container { SqlServer::container_mysql9().await? } else { SqlServer::start().await? };
    fill(&database, stage.records, stage.opening).await?;
    let link = match stage.link {
        true => {
            let proxy = Proxy::start(database.addr()).await;
            Some(Arc::new(Link { name: "instances to database".to_owned(), proxy }))
        }
        false => None,
    };
    let (database, instances) = (Arc::new(database), Vec::new());
    Ok(StockWorld { nodes, database, link, node_links, levels, instances })
}

/// What services are told, but for the database and the repository.
fn variables(
    stage: &StockStage,
    settings: &Settings,
    world: &StockWorld,
    nodes: &[String],
) -> Vec<(&'static str, String)> {
    let guard = if stage.quarantine { "max-ttl" } else { "off" };
    let mut variables = vec![
        ("STOCK_BIND", "127.0.0.1:0".to_owned()),
        ("REDLOCK_NODES", nodes.join(",")),
        ("REDLOCK_RESTART_GUARD", guard.to_owned()),
        // Servers fail all the time here; that it says so is not news.
        ("RUST_LOG", "off".to_owned()),
        ("STOCK_BUGS", settings.bug.clone().unwrap_or_default()),
    ];
    if let Some(levels) = &world.levels {
        variables.extend([("REDIS_HOST", "127.0.0.1".to_owned()), ("REDIS_PORT", levels.server.port().to_string())]);
    }
    variables.extend(stage.settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    variables
}

async fn bare(program: PathBuf, orders: Orders, record: Arc<Record>) -> anyhow::Result<(Arc<Member>, Counter)> {
    let lines = Arc::new(Lines::default());
    let member = lines.clone().member(program, orders, record).await?;
    lines.serve(&member);
    Ok((member, Counter::Lines(lines)))
}

async fn serve(service: Service, record: Arc<Record>) -> anyhow::Result<(Arc<Member>, Counter)> {
    let way = Arc::new(Http::new()?);
    let member = way.clone().member(service, record).await?;
    way.ready().await?;
    Ok((member, Counter::Http(way)))
}

/// Makes the tables, and records with so many units each.
async fn fill(database: &SqlServer, records: u64, opening: u64) -> anyhow::Result<()> {
    let store = store::open(&database.url(DATABASE).parse()?).await?;
    store.migrate().await?;
    for variant in 1..=records {
        store.create(Id::new(1)?, StockKey::new(variant, 0)?, Quantity::new(opening)?).await?;
    }
    store.close().await;
    Ok(())
}

/// Waits until the database has ended what was under way, and reads what it has.
pub(super) async fn history(stage: &StockStage, database: &SqlServer, record: &Record) -> anyhow::Result<History> {
    let at_rest = async || database.query("", OPEN_TRANSACTIONS).await.is_ok_and(|rows| rows.is_empty());
    let until = Instant::now() + ENDING;
    while !at_rest().await {
        if Instant::now() > until {
            let rows = database.query("", OPEN_TRANSACTIONS).await;
            record.broke(format!("a transaction does not end within {ENDING:?}: {rows:?}"));
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let mut history = record.finish();
    history.stored = stored(database, DATABASE, stage.opening).await?;
    history.logged = logged(database, DATABASE).await?;
    history.held = held(database, DATABASE).await?;
    ensure!(!history.stored.is_empty(), "the records are gone");
    let told = |is: fn(&Verdict) -> bool| {
        history.ops.iter().filter(|op| op.told.as_ref().is_some_and(|told| is(&told.verdict))).count()
    };
    let done = told(|verdict| matches!(verdict, Verdict::Done { .. }));
    let refused = told(|verdict| matches!(verdict, Verdict::Refused { .. }));
    let unknown = told(|verdict| matches!(verdict, Verdict::Unknown));
    let again = history.ops.iter().filter(|op| op.attempts > 1).count();
    let note = format!(
        "{done} operations answered, {refused} refused, {unknown} unknown to the end, {again} asked more than once, {} \
         log entries",
        history.logged.len()
    );
    history.notes.push(note);
    if stage.levels == Some(Servers::Forgetful) {
        history.notes.push(format!("{} answered operations were lost", lost(&history)));
    }
    for stored in &history.stored {
        let [available, locked, reserved] = stored.levels;
        let fences = history.logged.iter().filter(|entry| entry.variant == stored.variant);
        let leases = fences.filter_map(|entry| entry.fence).collect::<BTreeSet<_>>().len();
        history.notes.push(format!(
            "record {}: put in {}, available {available}, locked {locked}, reserved {reserved}, version {}, under {leases} \
             leases",
            stored.variant, stored.opening, stored.version
        ));
    }
    Ok(history)
}

/// Changes that were answered and are not in the log.
fn lost(history: &History) -> usize {
    let logged: BTreeSet<&str> = history.logged.iter().map(|entry| &*entry.request_id).collect();
    let is_lost = |op: &&Op| {
        let is_done = matches!(op.told, Some(Told { verdict: Verdict::Done { .. }, .. }));
        is_done && matches!(&op.asked, Asked::Change { id, .. } if !logged.contains(&**id))
    };
    history.ops.iter().filter(is_lost).count()
}
