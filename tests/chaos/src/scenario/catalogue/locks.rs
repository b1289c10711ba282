//! The scenarios of the lock alone.

use std::sync::Arc;
use std::time::Duration;

use super::super::interop::InteropStage;
use super::super::locks::{LockStage, LockWorld};
use super::super::world::Servers;
use super::super::{Scenario, Stage};
use super::{anywhere, containers, python};
use crate::client::Habits;
use crate::faults::client::{How as MemberHow, MemberFault};
use crate::faults::clock::{self, ClockFault, Push};
use crate::faults::link::{LinkFault, Trouble};
use crate::faults::node::{How, Node, NodeFault};
use crate::invariants::Invariant::{self, Exclusion, Recovery, StaleWrites, Tokens};
use crate::plan::Choice;

const LOCKS: &[Invariant] = &[Exclusion, Tokens, StaleWrites, Recovery];

/// Clocks that are wrong by more than the drift may break exclusion, never the ledger. Tokens are then promised for
/// what nodes granted, and tasks that hand a lease on go by it; see the table in the README.
const WITHOUT_CLOCKS: &[Invariant] = &[Tokens, StaleWrites, Recovery];

const HABITS: Habits = Habits { long: 8, to_the_end: 8, dropped: 100, several: 30 };

/// Leases that are won slowly are held to their end: that is where a wrong validity shows.
const STUBBORN: Habits = Habits { long: 50, to_the_end: 400, dropped: 50, several: 0 };

fn stage(menu: fn(&LockWorld) -> Vec<Choice>) -> LockStage {
    LockStage {
        nodes: 5,
        servers: Servers::Forgetful,
        links: false,
        clients: 3,
        keys: 2,
        tasks: 2,
        node_timeout: Duration::from_millis(100),
        quarantine: true,
        habits: HABITS,
        lanes: 2,
        menu,
    }
}

fn scenario(name: &'static str, about: &'static str, stage: LockStage) -> Scenario {
    let (length, holds) = (Duration::from_secs(8), LOCKS);
    Scenario { name, about, length, holds, stage: Stage::Locks(stage), needs: anywhere }
}

pub(super) fn all() -> Vec<Scenario> {
    let wait = Duration::from_secs(1);
    vec![
        scenario(
            "lock-killed",
            "up to two of five nodes die and come back with their data",
            LockStage { servers: Servers::Durable, ..stage(killed) },
        ),
        scenario(
            "lock-forgetful",
            "nodes die one after another and come back without a key",
            LockStage { lanes: 1, ..stage(forgetful) },
        ),
        scenario("lock-hung", "up to two of five nodes hang (SIGSTOP)", LockStage { keys: 1, ..stage(hung) }),
        scenario(
            "lock-majority",
            "up to four of five nodes die, hang or forget at the same time",
            LockStage { lanes: 4, ..stage(majority) },
        ),
        scenario(
            "lock-slow",
            "the ways of single clients to their nodes are slow",
            LockStage { links: true, keys: 1, tasks: 1, node_timeout: wait, habits: STUBBORN, lanes: 1, ..stage(slow) },
        ),
        scenario(
            "lock-partition",
            "black holes in one direction or both, and resets, between clients and nodes",
            LockStage { links: true, lanes: 3, ..stage(partition) },
        ),
        scenario(
            "lock-cut-off",
            "up to two nodes are cut off from everybody, in one direction or both",
            LockStage { links: true, ..stage(cut_off) },
        ),
        scenario(
            "lock-clients",
            "clients are stopped for longer than a lease, killed, and drop what they wait for",
            stage(clients),
        ),
        Scenario {
            holds: WITHOUT_CLOCKS,
            needs: clock::available,
            ..scenario(
                "lock-clocks",
                "clocks of nodes are pushed ahead, back, too fast and too slow (libfaketime)",
                LockStage { servers: Servers::Clocked, tasks: 1, quarantine: false, lanes: 1, ..stage(clocks) },
            )
        },
        Scenario {
            needs: containers,
            ..scenario(
                "lock-containers",
                "nodes in containers are paused, killed and taken off the network",
                LockStage {
                    nodes: 3,
                    servers: Servers::Containers,
                    quarantine: true,
                    lanes: 1,
                    ..stage(in_containers)
                },
            )
        },
        Scenario {
            name: "interop",
            about: "pottery, redlock-py, rslock and ours contend for one counter while nodes fail",
            length: Duration::from_secs(8),
            holds: LOCKS,
            stage: Stage::Interop(InteropStage { nodes: 5, ours: 2, menu: under_fire }),
            needs: python,
        },
    ]
}

fn nodes(world: &LockWorld, lasts: std::ops::RangeInclusive<u64>, how: How) -> Choice {
    let nodes = world.nodes.nodes.clone();
    Choice::new(lasts, nodes.len(), move |target| NodeFault { node: nodes[target].clone(), how })
}

fn killed(world: &LockWorld) -> Vec<Choice> {
    vec![nodes(world, 200..=2_500, How::KillAndReturn)]
}

fn forgetful(world: &LockWorld) -> Vec<Choice> {
    vec![nodes(world, 10..=800, How::KillAndForget)]
}

fn hung(world: &LockWorld) -> Vec<Choice> {
    vec![nodes(world, 200..=3_000, How::Stop)]
}

fn majority(world: &LockWorld) -> Vec<Choice> {
    vec![nodes(world, 10..=1_500, How::KillAndForget), nodes(world, 200..=2_500, How::Stop)]
}

/// All clients but one: they win late, and the other one is there at once when a lease ends.
fn slow(world: &LockWorld) -> Vec<Choice> {
    let links = world.links.clone();
    let by = Duration::from_millis(300);
    let but_one = move |target: usize| {
        let others = links.iter().enumerate().filter(|(number, _)| *number != target);
        LinkFault { links: others.flat_map(|(_, links)| links.clone()).collect(), trouble: Trouble::Slow(by) }
    };
    vec![Choice::new(3_000..=5_000, world.links.len(), but_one)]
}

fn partition(world: &LockWorld) -> Vec<Choice> {
    let single: Vec<_> = world.links.iter().flatten().cloned().collect();
    let count = single.len();
    let trouble = |lasts, trouble| {
        let single = single.clone();
        let one = move |target: usize| LinkFault { links: vec![Arc::clone(&single[target])], trouble };
        Choice::new(lasts, count, one)
    };
    vec![
        trouble(200..=2_500, Trouble::BlackHole),
        trouble(200..=2_500, Trouble::NoReplies),
        trouble(200..=2_500, Trouble::NoRequests),
        trouble(10..=50, Trouble::Reset),
    ]
}

/// All ways to a node at once: it is the node that is off the network.
fn cut_off(world: &LockWorld) -> Vec<Choice> {
    let trouble = |lasts, trouble| {
        let links = world.links.clone();
        let all_to = move |node: usize| LinkFault { links: links.iter().map(|of| of[node].clone()).collect(), trouble };
        Choice::new(lasts, world.nodes.nodes.len(), all_to)
    };
    vec![
        trouble(500..=2_500, Trouble::BlackHole),
        trouble(500..=2_500, Trouble::NoReplies),
        trouble(500..=2_500, Trouble::NoRequests),
        trouble(200..=1_000, Trouble::NoRequestsThenReset),
    ]
}

fn clients(world: &LockWorld) -> Vec<Choice> {
    let member = |lasts, how: MemberHow| {
        let clients = world.clients.clone();
        Choice::new(lasts, clients.len(), move |target| MemberFault {
            member: clients[target].clone(),
            how: how.clone(),
        })
    };
    vec![
        member(2_200..=3_500, MemberHow::Pause),
        member(100..=500, MemberHow::Kill),
        member(10..=20, MemberHow::DropFutures),
    ]
}

fn clocks(world: &LockWorld) -> Vec<Choice> {
    let push = |push| {
        let clocks = world.nodes.clocked();
        // One clock, or all clocks but one.
        let some = move |target: usize| {
            let (one, rest): (Vec<_>, Vec<_>) =
                clocks.iter().cloned().partition(|(clock, _)| clock.number == target + 1);
            ClockFault::new(if target == 0 { rest } else { one }, push)
        };
        Choice::new(500..=2_000, world.nodes.clocks.len(), some)
    };
    [Push::Forward, Push::Back, Push::Fast, Push::Slow].map(push).into()
}

fn in_containers(world: &LockWorld) -> Vec<Choice> {
    vec![
        nodes(world, 500..=2_500, How::Stop),
        nodes(world, 100..=500, How::KillAndReturn),
        nodes(world, 500..=2_000, How::Disconnect),
    ]
}

fn under_fire(nodes: &[Arc<Node>]) -> Vec<Choice> {
    let fault = |lasts, how| {
        let nodes = nodes.to_vec();
        Choice::new(lasts, nodes.len(), move |target| NodeFault { node: nodes[target].clone(), how })
    };
    vec![fault(300..=2_000, How::Stop), fault(200..=1_000, How::KillAndReturn)]
}
