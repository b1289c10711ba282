//! W2: how much goes through when many tasks work, each on its own key.

use std::time::Instant;

use super::{Bench, fresh_key};
use crate::contender::{Contender, Kind};
use crate::sheet::{Sheet, Turn};
use crate::table::{Goal, Report, Row, Unit};
use crate::usage::processor_time;

const KINDS: [Kind; 4] = [Kind::Redlock, Kind::Floor, Kind::Scripts, Kind::Rslock];
const TASKS: usize = 64;
const RATE: &str = "cycles";
const PROCESSOR: &str = "client CPU a cycle";

pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let contenders = bench.connect(&KINDS).await?;
    let mut sheet = Sheet::default();
    for _ in 0..bench.args.rounds {
        for (kind, contender) in &contenders {
            sheet.add(*kind, turn(contender, bench).await?);
            contender.settle().await;
            bench.clear(*kind, report).await?;
        }
    }
    for kind in KINDS {
        let row = Row::new(RATE, kind, sheet.median(kind, RATE), Unit::PerSecond);
        let row = row.ratio(sheet.ratio((kind, RATE), (Kind::Floor, RATE)), "floor");
        report.rows.push(row.goal((kind == Kind::Redlock).then_some(Goal::AtLeast(1.0))));
    }
    let ratio = sheet.ratio((Kind::Redlock, RATE), (Kind::Scripts, RATE));
    let row = Row::new(RATE, Kind::Redlock, sheet.median(Kind::Redlock, RATE), Unit::PerSecond);
    report.rows.push(row.ratio(ratio, "scripts").goal(Goal::AtLeast(1.3)));
    for kind in KINDS {
        let row = Row::new(PROCESSOR, kind, sheet.median(kind, PROCESSOR), Unit::Seconds);
        report.rows.push(row.ratio(sheet.ratio((kind, PROCESSOR), (Kind::Floor, PROCESSOR)), "floor"));
    }
    report.notes.push("scripts: the Lua scripts of this crate, one a command, over redis-rs".to_owned());
    Ok(())
}

async fn turn(contender: &Contender, bench: &Bench) -> anyhow::Result<Turn> {
    let (started, processor) = (Instant::now(), processor_time());
    let until = started + bench.args.seconds;
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(cycle(contender.clone(), until))).collect();
    let mut cycles = 0;
    for task in tasks {
        cycles += task.await??;
    }
    let (seconds, cycles) = (started.elapsed().as_secs_f64(), f64::from(cycles));
    let processor = processor_time().saturating_sub(processor).as_secs_f64();
    Ok(Turn::from([(RATE, cycles / seconds), (PROCESSOR, processor / cycles)]))
}

async fn cycle(contender: Contender, until: Instant) -> anyhow::Result<u32> {
    let (key, mut cycles) = (fresh_key(), 0);
    while Instant::now() < until {
        let held = contender.acquire(&key).await?;
        contender.release(held).await?;
        cycles += 1;
    }
    Ok(cycles)
}
