//! W3p: four processes of four tasks each want one key.

use std::time::Duration;

use super::contest::{BUSY, Contest, HELD, LEAST, Record, SECTIONS, WAITS};
use super::{Bench, fresh_key};
use crate::child::{Child, Job, Orders};
use crate::contender::Kind;
use crate::sheet::{Sheet, Turn};
use crate::table::{Goal, Report, Row, Unit};

const KINDS: [Kind; 2] = [Kind::Redlock, Kind::Rslock];
const PROCESSES: usize = 4;
const TASKS: u32 = 4;

/// Figures that are compared with `rslock`, and what ours should come to.
const MEASURES: [(&str, Unit, Option<Goal>); 6] = [
    (SECTIONS, Unit::PerSecond, Some(Goal::AtLeast(1.5))),
    (HELD, Unit::Seconds, None),
    (BUSY, Unit::Plain, None),
    (WAITS[0], Unit::Seconds, None),
    (WAITS[1], Unit::Seconds, Some(Goal::AtMost(0.2))),
    (WAITS[2], Unit::Seconds, None),
];

pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let mut sheet = Sheet::default();
    for _ in 0..bench.args.rounds {
        for kind in KINDS {
            sheet.add(kind, turn(bench, kind).await?);
            bench.clear(kind, report).await?;
        }
    }
    for (measure, unit, goal) in MEASURES {
        for kind in KINDS {
            let ratio = sheet.ratio((kind, measure), (Kind::Rslock, measure));
            let row = Row::new(measure, kind, sheet.median(kind, measure), unit).ratio(ratio, "rslock");
            report.rows.push(row.goal(goal.filter(|_| kind == Kind::Redlock)));
        }
    }
    report.rows.extend(KINDS.map(|kind| Row::new(LEAST, kind, sheet.median(kind, LEAST), Unit::Plain)));
    report.notes.push("1 ms of work in every section".to_owned());
    Ok(())
}

/// All processes are connected before any of them begins.
async fn turn(bench: &Bench, kind: Kind) -> anyhow::Result<Turn> {
    let time = bench.args.seconds;
    let contest =
        Contest { key: fresh_key(), tasks: TASKS, work: Duration::from_millis(1), thought: Duration::ZERO, time };
    let orders = Orders { urls: bench.servers.urls(), job: Job::Contest { kind, contest } };
    let mut children = Vec::with_capacity(PROCESSES);
    for _ in 0..PROCESSES {
        children.push(Child::start(&orders, bench.args.current_thread).await?);
    }
    for child in &mut children {
        child.go().await?;
    }
    let mut all = Record::default();
    for child in children {
        all.add(child.answer(time).await?);
    }
    Ok(all.turn(time))
}
