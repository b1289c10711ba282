//! W1: what one caller waits for when nobody is in the way.

use super::Bench;
use super::cycles::cycles;
use crate::contender::Kind;
use crate::sheet::{Sheet, Turn};
use crate::table::{Goal, Report, Row, Unit};

const KINDS: [Kind; 3] = [Kind::Redlock, Kind::Floor, Kind::Rslock];
const PROCESSOR: &str = "client CPU a cycle";
/// What is measured, and what ours should be at most, compared with the floor.
const MEASURES: [(&str, Option<Goal>); 5] = [
    ("acquire p50", Some(Goal::AtMost(1.0))),
    ("acquire p99", None),
    ("release p50", Some(Goal::AtMost(1.1))),
    ("release p99", None),
    (PROCESSOR, None),
];

pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let contenders = bench.connect(&KINDS).await?;
    let mut sheet = Sheet::default();
    for _ in 0..bench.args.rounds {
        for (kind, contender) in &contenders {
            let cycles = cycles(contender, bench.args.seconds).await?;
            sheet.add(
                *kind,
                Turn::from([
                    ("acquire p50", cycles.acquire.percentile(50.0)),
                    ("acquire p99", cycles.acquire.percentile(99.0)),
                    ("release p50", cycles.release.percentile(50.0)),
                    ("release p99", cycles.release.percentile(99.0)),
                    (PROCESSOR, cycles.processor),
                ]),
            );
            contender.settle().await;
            bench.clear(*kind, report).await?;
        }
    }
    for (measure, goal) in MEASURES {
        for kind in KINDS {
            let row = Row::new(measure, kind, sheet.median(kind, measure), Unit::Seconds);
            let row = row.ratio(sheet.ratio((kind, measure), (Kind::Floor, measure)), "floor");
            report.rows.push(row.goal(goal.filter(|_| kind == Kind::Redlock)));
        }
    }
    Ok(())
}
