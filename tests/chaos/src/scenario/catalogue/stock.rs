//! The scenarios of stock.

mod plans;

use std::time::Duration;

use super::super::load::LoadStage;
use super::super::stock::{Instance, StockStage, StockWorld, Work};
use super::super::world::Servers;
use super::super::{Scenario, Stage};
use super::{anywhere, containers};
use crate::faults::clock;
use crate::instance::Kind;
use crate::invariants::Invariant::{
    self, ExactlyOnce, Holds, Losses, NothingNegative, RealTimeOrder, Recovery, StaleWrites, Sums,
};
use crate::plan::Step;

const STOCK: &[Invariant] = &[StaleWrites, NothingNegative, Sums, ExactlyOnce, RealTimeOrder, Recovery];

/// Where orders hold what is locked, and holds end by themselves.
const HOLDS: &[Invariant] = &[StaleWrites, NothingNegative, Sums, ExactlyOnce, RealTimeOrder, Holds, Recovery];

/// What the Redis of resident levels must not take with it when it forgets. Versions are given anew then.
const FORGETTING: &[Invariant] = &[StaleWrites, NothingNegative, Sums, Losses, Recovery];

/// With short leases.
const BARE: Instance = Instance::Bare(Kind::Redlock);

/// The service as it is deployed.
const SERVICE: Instance = Instance::Service("redlock");

/// The same with levels in Redis.
const RESIDENT: Instance = Instance::Service("resident");

const SECOND: Duration = Duration::from_secs(1);

fn stage(plan: fn(&StockWorld, u64, Duration) -> Vec<Step>) -> StockStage {
    StockStage {
        nodes: 5,
        servers: Servers::Forgetful,
        quarantine: true,
        node_links: false,
        levels: None,
        container: false,
        link: false,
        instances: &[BARE, BARE],
        settings: &[],
        buyers: 16,
        records: 3,
        opening: 50,
        work: Work::Everything,
        settles: false,
        plan,
    }
}

/// Two services that begin at once: their nodes do not forget, so nobody has to wait for a lease that may be forgotten.
fn services(plan: fn(&StockWorld, u64, Duration) -> Vec<Step>) -> StockStage {
    StockStage { servers: Servers::Durable, quarantine: false, instances: &[SERVICE, SERVICE], ..stage(plan) }
}

fn scenario(name: &'static str, about: &'static str, seconds: u64, stage: StockStage) -> Scenario {
    let (length, holds) = (Duration::from_secs(seconds), STOCK);
    Scenario { name, about, length, holds, stage: Stage::Stock(stage), needs: anywhere }
}

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario(
            "stock-headline",
            "two `stock serve` on five nodes, 16 buyers over HTTP: a hung node, a dead one, an instance paused for 14 s, an \
             instance killed",
            28,
            StockStage {
                instances: &[SERVICE, SERVICE],
                work: Work::Lock,
                records: 1,
                opening: 1_000_000,
                ..stage(plans::headline)
            },
        ),
        scenario("stock-nodes", "up to two of five lock nodes die, hang or forget", 8, stage(plans::nodes)),
        scenario(
            "stock-cut-off",
            "up to two of five lock nodes are cut off from all instances, in one direction or both",
            10,
            StockStage { node_links: true, ..stage(plans::cut_off) },
        ),
        scenario(
            "stock-database",
            "the database is killed in the middle of COMMITs, and hangs",
            14,
            stage(plans::database),
        ),
        scenario(
            "stock-cut",
            "COMMITs never arrive, answers to them are lost, connections break",
            12,
            StockStage { link: true, ..stage(plans::cut) },
        ),
        scenario(
            "stock-commit",
            "the database of two `stock serve` dies while COMMITs are under way, whose outcomes are looked up later",
            10,
            StockStage { work: Work::Changes, settles: true, ..services(plans::commit) },
        ),
        Scenario {
            holds: HOLDS,
            ..scenario(
                "stock-holds",
                "orders are paid or end after a second, while the database, lock nodes and an instance die and hang",
                14,
                StockStage { opening: 500, work: Work::Orders, ..services(plans::holds) },
            )
        },
        scenario(
            "stock-resident",
            "levels live in a Redis that keeps what it has; it, the database and instances die and hang",
            12,
            StockStage {
                levels: Some(Servers::Durable),
                instances: &[RESIDENT, RESIDENT],
                ..services(plans::resident)
            },
        ),
        Scenario {
            holds: FORGETTING,
            ..scenario(
                "stock-forgetful",
                "levels live in a Redis that forgets: lost is what was answered a moment before, and nothing else",
                10,
                StockStage {
                    levels: Some(Servers::Forgetful),
                    instances: &[RESIDENT, RESIDENT],
                    work: Work::Changes,
                    ..services(plans::forgetful)
                },
            )
        },
        scenario(
            "stock-paused",
            "instances stop at the worst moments for longer than a lease, and die",
            12,
            stage(plans::paused),
        ),
        scenario(
            "stock-stale",
            "instances stop between reading and writing for longer than a lease",
            12,
            stage(plans::stale),
        ),
        scenario(
            "stock-mixed",
            "an instance with leases beside one with row locks, both paused and killed",
            10,
            StockStage { instances: &[BARE, Instance::Bare(Kind::RowLock)], ..stage(plans::mixed) },
        ),
        Scenario {
            needs: clock::available,
            ..scenario(
                "stock-clocks",
                "clocks of most lock nodes are pushed ahead, back, too fast and too slow",
                8,
                StockStage { servers: Servers::Clocked, quarantine: false, ..stage(plans::clocks) },
            )
        },
        Scenario {
            needs: containers,
            ..scenario(
                "stock-containers",
                "MySQL 9 and lock nodes in containers are paused, killed and taken off the network",
                12,
                StockStage { nodes: 3, servers: Servers::Containers, container: true, ..stage(plans::in_containers) },
            )
        },
        Scenario {
            name: "load",
            about: "`stock serve` at saturation while nodes and the database hang and die: memory, connections, tasks, queues, \
                    recovery",
            length: 16 * SECOND,
            holds: &[Recovery],
            stage: Stage::Load(LoadStage {
                stock: StockStage {
                    quarantine: false,
                    instances: &[SERVICE],
                    settings: &[("STOCK_QUEUE", "256"), ("STOCK_DATABASE_CONNECTIONS", "32")],
                    records: 1,
                    opening: 1_000_000_000,
                    ..stage(plans::saturated)
                },
                buyers: 384,
            }),
            needs: anywhere,
        },
    ]
}
