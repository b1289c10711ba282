//! What goes wrong when: a plan that follows from a seed, and carrying it out.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::clock::now;
use crate::faults::Fault;
use crate::record::{Record, Span};

/// Quiet at the beginning, so that there is something to compare with.
const HEAD: Duration = Duration::from_millis(800);

/// Quiet at the end: what is back after five seconds shows there.
const TAIL: Duration = Duration::from_millis(1_500);

/// One fault: when it begins, counted from the start, and how long it lasts. Faults of one lane come one after another,
/// also where undoing one of them takes longer than planned.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) lane: usize,
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Box<dyn Fault>,
}

/// A kind of fault, for one of several targets.
pub(crate) struct Choice {
    /// How many milliseconds it lasts.
    pub(crate) lasts: RangeInclusive<u64>,
    pub(crate) targets: usize,
    pub(crate) make: Box<dyn Fn(usize) -> Box<dyn Fault>>,
}

impl Choice {
    pub(crate) fn new<F: Fault + 'static>(
        lasts: RangeInclusive<u64>,
        targets: usize,
        make: impl Fn(usize) -> F + 'static,
    ) -> Self {
        Self { lasts, targets, make: Box::new(move |target| Box::new(make(target))) }
    }
}

/// Faults one after another in each of `lanes` lanes. A target belongs to one lane, so never more than `lanes` are hurt
/// at once, and none twice.
pub(crate) fn random(seed: u64, length: Duration, lanes: usize, menu: &[Choice]) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut steps = Vec::new();
    for lane in 0..lanes {
        let mine = |choice: &Choice| (lane..choice.targets).step_by(lanes).collect::<Vec<_>>();
        let menu: Vec<_> = menu.iter().filter(|choice| !mine(choice).is_empty()).collect();
        let mut at = HEAD + Duration::from_millis(rng.random_range(0..400));
        while !menu.is_empty() {
            let choice = menu[rng.random_range(0..menu.len())];
            let mine = mine(choice);
            let lasts = Duration::from_millis(rng.random_range(choice.lasts.clone()));
            if at + lasts + TAIL > length {
                break;
            }
            let fault = (choice.make)(mine[rng.random_range(0..mine.len())]);
            steps.push(Step { lane, at, lasts, fault });
            at += lasts + Duration::from_millis(rng.random_range(100..900));
        }
    }
    steps
}

/// Carries the plan out; returns when the last fault is undone.
///
/// # Errors
///
/// The first fault that could not be done or undone; those of other lanes are undone all the same.
pub(crate) async fn carry_out(steps: Vec<Step>, record: &Arc<Record>) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut lanes: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
    for step in steps {
        lanes.entry(step.lane).or_default().push(step);
    }
    let mut running = JoinSet::new();
    for mut lane in lanes.into_values() {
        lane.sort_by_key(|step| step.at);
        let record = record.clone();
        running.spawn(async move {
            for step in lane {
                one(step, started, &record).await?;
            }
            Ok(())
        });
    }
    let done: Vec<_> = running.join_all().await;
    done.into_iter().collect()
}

async fn one(step: Step, started: Instant, record: &Record) -> anyhow::Result<()> {
    let Step { at, lasts, fault, .. } = step;
    if let Err(reason) = fault.available() {
        record.note(format!("not done: {}: {reason}", fault.name()));
        return Ok(());
    }
    sleep_until(started + at).await;
    let (from, begun) = (now(), Instant::now());
    fault.inject().await.with_context(|| format!("{} cannot be done", fault.name()))?;
    sleep_until(begun + lasts).await;
    let bites = fault.bites().await;
    fault.undo().await.with_context(|| format!("{} cannot be undone", fault.name()))?;
    if bites {
        record.fault(Span { name: fault.name(), from, to: now() });
    } else {
        record.note(format!("not done: {}: it did not come to that", fault.name()));
    }
    Ok(())
}
