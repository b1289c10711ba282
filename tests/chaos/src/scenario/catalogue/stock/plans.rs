//! What goes wrong when in the scenarios of stock.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::SECOND;
use crate::faults::Fault;
use crate::faults::client::{How as MemberHow, Member, MemberFault};
use crate::faults::clock::{ClockFault, Push};
use crate::faults::database::{DatabaseFault, How as DatabaseHow};
use crate::faults::link::{LinkFault, Trouble};
use crate::faults::node::{How, NodeFault};
use crate::plan::{Choice, Step, random};
use crate::scenario::stock::StockWorld;

/// Moments at which it matters that a process stops.
const MOMENTS: [&str; 5] = [
    "redlocked-before-claim",
    "redlocked-claimed",
    "redlocked-next-batch",
    "redlocked-written",
    "redlocked-before-commit",
];

/// How long the story of `stock-headline` is.
const HEADLINE: Duration = Duration::from_secs(26);

/// Whoever wakes finds that others have been there.
pub(super) fn stale(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let pause = MemberHow::PauseAt("redlocked-claimed");
    random(seed, length, 1, &[member_faults(&world.instances, 2_500..=3_000, &pause)])
}

/// The same story every time; where there is more time it is told again. Who is killed stays away for longer than the
/// others wait for its lease, which is ten seconds long: they go on within five seconds after it is back.
pub(super) fn headline(world: &StockWorld, _seed: u64, length: Duration) -> Vec<Step> {
    let member = |number: usize, how| MemberFault { member: world.instances[number].clone(), how };
    let mut steps = Vec::new();
    let mut start = SECOND;
    while start + HEADLINE <= length {
        let at = |at: u32| start + at * SECOND;
        steps.extend([
            Step { lane: 0, at: at(0), lasts: 4 * SECOND, fault: node(world, 0, How::Stop) },
            Step { lane: 1, at: at(1), lasts: 5 * SECOND, fault: node(world, 1, How::KillAndForget) },
            Step { lane: 2, at: at(4), lasts: 14 * SECOND, fault: Box::new(member(0, MemberHow::Pause)) },
            Step { lane: 3, at: at(19), lasts: 6 * SECOND, fault: Box::new(member(1, MemberHow::Kill)) },
        ]);
        start += HEADLINE;
    }
    steps
}

pub(super) fn nodes(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let menu = [node_faults(world, 10..=1_000, How::KillAndForget), node_faults(world, 200..=2_500, How::Stop)];
    random(seed, length, 2, &menu)
}

pub(super) fn database(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let menu = [
        database_faults(world, 10..=400, DatabaseHow::Kill),
        database_faults(world, 10..=400, DatabaseHow::Kill),
        database_faults(world, 500..=2_000, DatabaseHow::Stop),
    ];
    random(seed, length, 1, &menu)
}

pub(super) fn cut_off(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let trouble = |trouble| {
        let links = world.node_links.clone();
        let one = move |node: usize| LinkFault { links: vec![links[node].clone()], trouble };
        Choice::new(500..=2_500, world.node_links.len(), one)
    };
    let menu = [Trouble::BlackHole, Trouble::NoReplies, Trouble::NoRequests, Trouble::NoRequestsThenReset].map(trouble);
    random(seed, length, 2, &menu)
}

pub(super) fn commit(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    random(seed, length, 1, &[database_faults(world, 10..=400, DatabaseHow::KillInCommit)])
}

/// An instance dies early, for its leases are ten seconds long; then the others have something to do.
pub(super) fn holds(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let menu = [
        database_faults(world, 10..=400, DatabaseHow::Kill),
        database_faults(world, 500..=1_500, DatabaseHow::Stop),
        node_faults(world, 200..=1_500, How::Stop),
        member_faults(&world.instances, 1_500..=2_500, &MemberHow::Pause),
    ];
    let mut steps = random(seed, length, 1, &menu);
    let killed = MemberFault { member: world.instances[1].clone(), how: MemberHow::Kill };
    steps.push(Step { lane: 1, at: SECOND / 2, lasts: SECOND / 2, fault: Box::new(killed) });
    // Nobody is paused who is dead.
    steps.retain(|step| step.lane == 1 || step.at > 2 * SECOND);
    steps
}

pub(super) fn resident(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let menu = [
        levels_faults(world, 10..=400, How::KillAndReturn),
        levels_faults(world, 500..=1_500, How::Stop),
        database_faults(world, 10..=400, DatabaseHow::Kill),
        database_faults(world, 500..=1_500, DatabaseHow::Stop),
        member_faults(&world.instances, 500..=2_500, &MemberHow::Pause),
        member_faults(&world.instances, 100..=500, &MemberHow::Kill),
    ];
    random(seed, length, 1, &menu)
}

pub(super) fn forgetful(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    random(seed, length, 1, &[levels_faults(world, 10..=400, How::KillAndForget)])
}

pub(super) fn cut(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let trouble = |lasts, trouble| {
        let links: Vec<_> = world.link.iter().cloned().collect();
        Choice::new(lasts, 1, move |_| LinkFault { links: links.clone(), trouble })
    };
    let menu = [
        trouble(100..=800, Trouble::NoRequestsThenReset),
        trouble(100..=800, Trouble::NoReplies),
        trouble(10..=20, Trouble::Reset),
        trouble(500..=1_000, Trouble::Slow(Duration::from_millis(20))),
    ];
    let mut steps = random(seed, length, 1, &menu);
    // And for certain, not by luck: stopped right before COMMIT, cut off, and let go on.
    let mut at = 2 * SECOND;
    for number in 0.. {
        if at + 3 * SECOND > length {
            break;
        }
        let member = world.instances[number % world.instances.len()].clone();
        let stop = MemberFault { member, how: MemberHow::PauseAt("redlocked-before-commit") };
        let reset = LinkFault { links: world.link.iter().cloned().collect(), trouble: Trouble::Reset };
        steps.push(Step { lane: 1, at, lasts: SECOND, fault: Box::new(stop) });
        steps.push(Step { lane: 2, at: at + SECOND / 2, lasts: SECOND / 100, fault: Box::new(reset) });
        at += 3 * SECOND;
    }
    steps
}

pub(super) fn paused(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    // Both may sleep at once: whoever wakes first may find that the other one has been there.
    random(seed, length, 2, &pauses(&world.instances, &world.instances))
}

/// Row locks know none of the moments: only the first instance comes to them.
pub(super) fn mixed(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    random(seed, length, 2, &pauses(&world.instances[..1], &world.instances))
}

pub(super) fn clocks(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let clocks = world.nodes.clocked();
    let push = |push| {
        let most = clocks[..3].to_vec();
        Choice::new(500..=2_000, 1, move |_| ClockFault::new(most.clone(), push))
    };
    random(seed, length, 1, &[Push::Forward, Push::Back, Push::Fast, Push::Slow].map(push))
}

pub(super) fn in_containers(world: &StockWorld, seed: u64, length: Duration) -> Vec<Step> {
    let menu = [
        node_faults(world, 500..=2_000, How::Disconnect),
        node_faults(world, 500..=2_000, How::Stop),
        database_faults(world, 100..=300, DatabaseHow::Kill),
        database_faults(world, 500..=1_500, DatabaseHow::Stop),
        database_faults(world, 500..=1_500, DatabaseHow::Disconnect),
    ];
    random(seed, length, 1, &menu)
}

/// The same faults every time, with room to see what is back after each.
pub(super) fn saturated(world: &StockWorld, _seed: u64, length: Duration) -> Vec<Step> {
    let database = |how| Box::new(DatabaseFault { server: world.database.clone(), how });
    let mut steps = vec![
        Step { lane: 0, at: 3 * SECOND, lasts: SECOND, fault: node(world, 0, How::Stop) },
        Step { lane: 0, at: 5 * SECOND, lasts: SECOND, fault: database(DatabaseHow::Stop) },
        Step { lane: 0, at: 8 * SECOND, lasts: SECOND / 2, fault: database(DatabaseHow::KillInCommit) },
    ];
    let mut at = 20 * SECOND;
    for number in 0.. {
        if at + 10 * SECOND > length {
            break;
        }
        let fault: Box<dyn Fault> = match number % 4 {
            0 => node(world, number % 5, How::Stop),
            1 => database(DatabaseHow::Stop),
            2 => node(world, number % 5, How::KillAndForget),
            _ => database(DatabaseHow::KillInCommit),
        };
        steps.push(Step { lane: 0, at, lasts: 2 * SECOND, fault });
        at += 20 * SECOND;
    }
    steps.retain(|step| step.at + step.lasts + 2 * SECOND <= length);
    steps
}

fn node(world: &StockWorld, number: usize, how: How) -> Box<NodeFault> {
    Box::new(NodeFault { node: world.nodes.nodes[number].clone(), how })
}

fn node_faults(world: &StockWorld, lasts: RangeInclusive<u64>, how: How) -> Choice {
    let nodes = world.nodes.nodes.clone();
    Choice::new(lasts, nodes.len(), move |target| NodeFault { node: nodes[target].clone(), how })
}

fn database_faults(world: &StockWorld, lasts: RangeInclusive<u64>, how: DatabaseHow) -> Choice {
    let server = world.database.clone();
    Choice::new(lasts, 1, move |_| DatabaseFault { server: server.clone(), how })
}

fn member_faults(members: &[Arc<Member>], lasts: RangeInclusive<u64>, how: &MemberHow) -> Choice {
    let (members, how) = (members.to_vec(), how.clone());
    let count = members.len();
    Choice::new(lasts, count, move |target| MemberFault { member: members[target].clone(), how: how.clone() })
}

fn levels_faults(world: &StockWorld, lasts: RangeInclusive<u64>, how: How) -> Choice {
    let levels: Vec<_> = world.levels.iter().cloned().collect();
    Choice::new(lasts, levels.len(), move |target| NodeFault { node: levels[target].clone(), how })
}

/// Those who work under leases stop at the moments that matter, and everybody at any moment.
fn pauses(leased: &[Arc<Member>], all: &[Arc<Member>]) -> Vec<Choice> {
    let moments = MOMENTS.map(|moment| member_faults(leased, 2_500..=3_500, &MemberHow::PauseAt(moment)));
    let mut menu: Vec<_> = moments.into();
    menu.push(member_faults(all, 2_200..=3_500, &MemberHow::Pause));
    menu.push(member_faults(all, 100..=500, &MemberHow::Kill));
    menu
}
