//! W5: many leases in one process, which is a fresh one so that its memory is theirs.

use std::time::Duration;

use super::Bench;
use super::leases::{Held, Holding};
use crate::child::{Child, Job, Orders};
use crate::contender::Kind;
use crate::table::{Goal, Report, Row, Unit};

/// Renewals are due at a third of it.
const TTL: Duration = Duration::from_secs(30);
/// How long an unrelated caller is alone first.
const IDLE: Duration = Duration::from_secs(5);
/// How long the goals want the leases held.
const FULL_HOLD: Duration = Duration::from_secs(180);
/// How long taking and giving back may take.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (leases, hold) = (bench.args.leases, bench.args.hold());
    let holding = Holding { leases, ttl: TTL, idle: IDLE, hold };
    let orders = Orders { urls: bench.servers.urls(), job: Job::Leases(holding) };
    let mut child = Child::start(&orders, bench.args.current_thread).await?;
    child.go().await?;
    let held: Held = child.answer(IDLE + hold + PATIENCE).await?;
    // Counted at once: everything had arrived before the child answered, and what is left would soon expire.
    bench.count_left(Kind::Redlock, report).await?;
    bench.clear(Kind::Redlock, report).await?;
    rows(&held, f64::from(leases), report);
    let (hold, ttl) = (hold.as_secs_f64(), TTL.as_secs());
    report.notes.push(format!("{leases} leases with a ttl of {ttl} s, held for {hold} s; one run"));
    if hold < FULL_HOLD.as_secs_f64() {
        report.notes.push(format!("short: the goals speak of {} s (name w5, or --full)", FULL_HOLD.as_secs()));
    }
    Ok(())
}

fn rows(held: &Held, leases: f64, report: &mut Report) {
    let row = |measure: &str, value, unit| Row::new(measure, Kind::Redlock, value, unit);
    let count = |count: usize| count as f64;
    report.rows.extend([
        row("leases lost", count(held.lost), Unit::Plain).goal(Goal::AtMost(0.0)),
        row("releases unconfirmed", count(held.unconfirmed), Unit::Plain),
        row("client CPU while held", held.cores, Unit::Cores).goal(Goal::AtMost(0.5)),
        row("client CPU of the unrelated caller alone", held.cores_idle, Unit::Cores),
    ]);
    match held.bytes {
        Some(bytes) => {
            let bytes = row("memory a lease", bytes as f64 / leases, Unit::Bytes);
            report.rows.push(bytes.goal(Goal::AtMost(1536.0)));
        }
        None => report.notes.push("memory a lease: this system does not tell".to_owned()),
    }
    report.rows.extend([
        row("unrelated acquire p99, idle", held.p99_idle, Unit::Seconds),
        row("unrelated acquire p99, meanwhile", held.p99, Unit::Seconds)
            .ratio(held.p99 / held.p99_idle, "idle")
            .goal(Goal::AtMost(3.0)),
        row("acquired", leases / held.acquired_in, Unit::PerSecond),
        row("released", leases / held.released_in, Unit::PerSecond),
    ]);
}
