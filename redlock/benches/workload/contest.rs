//! Tasks that all want one key.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::contender::Contender;
use crate::sheet::Turn;
use crate::times::Times;

/// Sections a second, of all tasks.
pub(crate) const SECTIONS: &str = "sections";
/// Mean time from the grant to the release.
pub(crate) const HELD: &str = "time held";
/// Share of the time in which somebody held the lock and worked.
pub(crate) const BUSY: &str = "sections/s × time held";
/// What everybody would wait if all waited alike: tasks × time held.
pub(crate) const FAIR: &str = "fair share";
/// Percentiles of the wait for the lock.
pub(crate) const WAITS: [&str; 3] = ["wait p50", "wait p99", "wait max"];
/// What the least served task got.
pub(crate) const LEAST: &str = "least served task / mean";

/// What is fought over, and how.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Contest {
    pub(crate) key: String,
    pub(crate) tasks: u32,
    /// Between the grant and the release.
    pub(crate) work: Duration,
    /// Between the release and the next request.
    pub(crate) thought: Duration,
    pub(crate) time: Duration,
}

/// What the tasks of one process met.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Sections, by task.
    sections: Vec<u32>,
    /// Sum of the times held, in seconds.
    held: f64,
    /// Every wait, in microseconds; also the last of each task, which ends after the time is up.
    waits: Vec<u64>,
}

/// Lets all tasks fight until the time is up.
pub(crate) async fn contest(contender: &Contender, contest: &Contest) -> anyhow::Result<Record> {
    let until = Instant::now() + contest.time;
    let tasks = 0..contest.tasks;
    let tasks: Vec<_> = tasks.map(|_| tokio::spawn(fight(contender.clone(), contest.clone(), until))).collect();
    let mut all = Record::default();
    for task in tasks {
        all.add(task.await??);
    }
    Ok(all)
}

/// Work of a length that can be relied on: the runtime's timers go by whole milliseconds, so that
/// its sleep of one takes two.
async fn work(time: Duration) -> anyhow::Result<()> {
    Ok(tokio::task::spawn_blocking(move || std::thread::sleep(time)).await?)
}

async fn fight(contender: Contender, contest: Contest, until: Instant) -> anyhow::Result<Record> {
    let (mut sections, mut held_for, mut waits) = (0, Duration::ZERO, Vec::new());
    while Instant::now() < until {
        let asked = Instant::now();
        let held = contender.acquire(&contest.key).await?;
        let granted = Instant::now();
        waits.push(u64::try_from((granted - asked).as_micros())?);
        if !contest.work.is_zero() && granted < until {
            work(contest.work).await?;
        }
        if granted < until {
            sections += 1;
            held_for += granted.elapsed();
        }
        contender.release(held).await?;
        if !contest.thought.is_zero() {
            sleep(contest.thought).await;
        }
    }
    Ok(Record { sections: vec![sections], held: held_for.as_secs_f64(), waits })
}

impl Record {
    /// Puts another process's figures, or another task's, to these.
    pub(crate) fn add(&mut self, other: Self) {
        self.sections.extend(other.sections);
        self.held += other.held;
        self.waits.extend(other.waits);
    }

    /// The figures of a turn that took `time`.
    pub(crate) fn turn(&self, time: Duration) -> Turn {
        let waits: Times = self.waits.iter().map(|micros| Duration::from_micros(*micros)).collect();
        let (tasks, total) = (self.sections.len() as f64, self.sections.iter().map(|n| f64::from(*n)).sum::<f64>());
        let (rate, held) = (total / time.as_secs_f64(), self.held / total);
        let least = self.sections.iter().min().copied().map_or(f64::NAN, f64::from);
        Turn::from([
            (SECTIONS, rate),
            (HELD, held),
            (BUSY, rate * held),
            (FAIR, tasks * held),
            (WAITS[0], waits.percentile(50.0)),
            (WAITS[1], waits.percentile(99.0)),
            (WAITS[2], waits.max()),
            (LEAST, least * tasks / total),
        ])
    }
}
