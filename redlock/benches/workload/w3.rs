//! W3: sixteen tasks of one process want one key.

use std::time::Duration;

use super::contest::{BUSY, Contest, FAIR, HELD, LEAST, SECTIONS, WAITS, contest};
use super::{Bench, fresh_key};
use crate::contender::{Contender, Kind};
use crate::sheet::Sheet;
use crate::table::{Goal, Report, Row, Unit};

const KINDS: [Kind; 2] = [Kind::Redlock, Kind::Rslock];
const TASKS: u32 = 16;

/// What the tasks do, and what ours should come to.
struct Variant {
    name: &'static str,
    work: Duration,
    thought: Duration,
    /// Sections a second, compared with `rslock`.
    sections: Option<Goal>,
    busy: Option<Goal>,
    /// Wait p99, compared with the fair share.
    wait: Option<Goal>,
}

const VARIANTS: [Variant; 3] = [
    Variant {
        name: "1 ms of work",
        work: Duration::from_millis(1),
        thought: Duration::ZERO,
        sections: None,
        busy: Some(Goal::AtLeast(0.95)),
        wait: Some(Goal::AtMost(1.5)),
    },
    Variant {
        name: "no work",
        work: Duration::ZERO,
        thought: Duration::ZERO,
        sections: Some(Goal::AtLeast(20.0)),
        busy: None,
        wait: None,
    },
    Variant {
        name: "1 ms of work, 5 ms of thought",
        work: Duration::from_millis(1),
        thought: Duration::from_millis(5),
        sections: Some(Goal::AtLeast(2.2)),
        busy: None,
        wait: None,
    },
];

pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let contenders = bench.connect(&KINDS).await?;
    for variant in &VARIANTS {
        let sheet = measure(variant, &contenders, bench, report).await?;
        variant.report(&sheet, report);
    }
    report.notes.push(format!("fair share: {TASKS} tasks × time held"));
    Ok(())
}

async fn measure(
    variant: &Variant,
    contenders: &[(Kind, Contender)],
    bench: &Bench,
    report: &mut Report,
) -> anyhow::Result<Sheet> {
    let (work, thought, time) = (variant.work, variant.thought, bench.args.seconds);
    let mut sheet = Sheet::default();
    for _ in 0..bench.args.rounds {
        for (kind, contender) in contenders {
            let terms = Contest { key: fresh_key(), tasks: TASKS, work, thought, time };
            sheet.add(*kind, contest(contender, &terms).await?.turn(time));
            contender.settle().await;
            bench.clear(*kind, report).await?;
        }
    }
    Ok(sheet)
}

impl Variant {
    fn report(&self, sheet: &Sheet, report: &mut Report) {
        let works = !self.work.is_zero();
        let row = |measure: &str, kind, unit| {
            Row::new(format!("{}: {measure}", self.name), kind, sheet.median(kind, measure), unit)
        };
        let ours = |kind: Kind, goal: Option<Goal>| goal.filter(|_| kind == Kind::Redlock);
        for kind in KINDS {
            let ratio = sheet.ratio((kind, SECTIONS), (Kind::Rslock, SECTIONS));
            let sections = row(SECTIONS, kind, Unit::PerSecond).ratio(ratio, "rslock");
            report.rows.push(sections.goal(ours(kind, self.sections)));
        }
        if works {
            report.rows.extend(KINDS.map(|kind| row(HELD, kind, Unit::Seconds)));
            report.rows.extend(KINDS.map(|kind| row(BUSY, kind, Unit::Plain).goal(ours(kind, self.busy))));
        }
        for measure in WAITS {
            for kind in KINDS {
                let mut wait = row(measure, kind, Unit::Seconds);
                if works {
                    wait = wait.ratio(sheet.ratio((kind, measure), (kind, FAIR)), "fair share");
                }
                let goal = self.wait.filter(|_| measure == WAITS[1]);
                report.rows.push(wait.goal(ours(kind, goal)));
            }
        }
        report.rows.extend(KINDS.map(|kind| row(LEAST, kind, Unit::Plain)));
    }
}
