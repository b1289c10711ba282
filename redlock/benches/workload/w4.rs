//! W4: what a stopped node costs, and a second one.

use super::Bench;
use super::cycles::cycles;
use crate::contender::{Contender, Kind};
use crate::sheet::{Sheet, Turn};
use crate::table::{Goal, Report, Row, Unit};

const KINDS: [Kind; 3] = [Kind::Redlock, Kind::Floor, Kind::Rslock];
/// By number of stopped nodes: p50 and p99.
const STATES: [[&str; 2]; 3] = [
    ["healthy: acquire p50", "healthy: acquire p99"],
    ["one stopped: acquire p50", "one stopped: acquire p99"],
    ["two stopped: acquire p50", "two stopped: acquire p99"],
];
const GOAL: Goal = Goal::AtMost(1.2);

pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let contenders = bench.connect(&KINDS).await?;
    let mut sheet = Sheet::default();
    for round in 0..bench.args.rounds {
        for (kind, contender) in &contenders {
            sheet.add(*kind, turn(bench, contender, round as usize).await?);
            contender.settle().await;
            bench.clear(*kind, report).await?;
        }
    }
    for (stopped, measures) in STATES.into_iter().enumerate() {
        for (measure, healthy) in measures.into_iter().zip(STATES[0]) {
            for kind in KINDS {
                let row = Row::new(measure, kind, sheet.median(kind, measure), Unit::Seconds);
                let row = row.ratio(sheet.ratio((kind, measure), (kind, healthy)), "healthy");
                report.rows.push(row.goal((kind == Kind::Redlock && stopped > 0).then_some(GOAL)));
            }
        }
    }
    report.notes.push("SIGSTOP: connections stay open and nothing answers; other nodes in every round".to_owned());
    Ok(())
}

async fn turn(bench: &Bench, contender: &Contender, round: usize) -> anyhow::Result<Turn> {
    let mut turn = Turn::new();
    for (stopped, [p50, p99]) in STATES.into_iter().enumerate() {
        if stopped > 0 {
            bench.servers.pause(round + stopped).await?;
        }
        let times = cycles(contender, bench.args.seconds).await?.acquire;
        turn.insert(p50, times.percentile(50.0));
        turn.insert(p99, times.percentile(99.0));
    }
    bench.servers.resume().await?;
    Ok(turn)
}
