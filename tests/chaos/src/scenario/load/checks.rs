//! What a service must not do under load: grow, leak, let queues grow, or stay slow.

use std::time::Duration;

use super::rush::Sample;
use super::usage::Usage;
use crate::clock::{Nanos, nanos, seconds};
use crate::record::{History, Span};

/// How soon throughput must be back after a fault.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// What part of the throughput before the first fault counts as back.
const BACK: f64 = 0.5;

/// Over how long throughput is looked at.
const SPAN: Duration = Duration::from_millis(500);

/// What memory may grow by over the run, beside a quarter of what it was before the first fault.
const GROWTH_MB: u64 = 48;

/// Open files, and tasks, that may be there in the end and were not in the beginning, beside the database's
/// connections, which stay.
const SLACK: u64 = 16;

/// What part of the time, outside of faults, the service has to have more to do than it takes on.
const SATURATED: f64 = 0.5;

/// What was seen of a service under load.
#[derive(Debug)]
pub(super) struct Seen {
    /// Before anybody asked, and when the last client had gone.
    pub(super) rest: Usage,
    pub(super) after: Usage,
    /// Meanwhile.
    pub(super) usages: Vec<(Nanos, Usage)>,
    pub(super) samples: Vec<Sample>,
    /// How many connections to the database it may keep.
    pub(super) connections: u64,
    /// How many requests it takes on at once, and how many buyers there were.
    pub(super) queue: u64,
    pub(super) buyers: u64,
}

/// Says what was found, and what of it must not be.
pub(super) fn check(seen: &Seen, history: &mut History) {
    saturated(seen, history);
    memory(seen, history);
    files(seen, history);
    tasks(seen, history);
    queue(seen, history);
    let ended = seen.samples.last().map_or(history.ended, |sample| sample.at);
    back(ended, history);
}

/// Before the first fault.
fn first(history: &History) -> Nanos {
    history.faults.iter().map(|fault| fault.from).min().unwrap_or(Nanos::MAX)
}

/// It is load only if more is asked for than is taken on, nearly all of the time.
fn saturated(seen: &Seen, history: &mut History) {
    let margin = nanos(BACK_WITHIN);
    let is_hurt = |at: Nanos| history.faults.iter().any(|fault| (fault.from..fault.to + margin).contains(&at));
    let calm: Vec<_> = seen.samples.iter().filter(|sample| !is_hurt(sample.at)).collect();
    let full = calm.iter().filter(|sample| sample.overloaded > 0).count();
    let share = of(full, calm.len());
    history
        .notes
        .push(format!("more was asked for than was taken on in {:.0} % of the time between faults", share * 100.0));
    if share < SATURATED {
        history.broken.push(format!("the service was saturated in only {:.0} % of the time", share * 100.0));
    }
}

fn memory(seen: &Seen, history: &mut History) {
    let first = first(history);
    let most_of = |usages: &mut dyn Iterator<Item = &(Nanos, Usage)>| {
        usages.map(|(_, usage)| usage.memory_mb).max().unwrap_or(seen.rest.memory_mb)
    };
    let before = most_of(&mut seen.usages.iter().filter(|(at, _)| *at < first));
    let most = most_of(&mut seen.usages.iter());
    let (rest, after) = (seen.rest.memory_mb, seen.after.memory_mb);
    history.notes.push(format!(
        "memory: {rest} MB at rest, {before} MB before the first fault, {most} MB at most, {after} MB after"
    ));
    if most > before + before / 4 + GROWTH_MB {
        history.broken.push(format!("memory grew from {before} to {most} MB"));
    }
}

fn files(seen: &Seen, history: &mut History) {
    let most = seen.usages.iter().map(|(_, usage)| usage.files).max().unwrap_or(0);
    let (rest, after) = (seen.rest.files, seen.after.files);
    history.notes.push(format!("open files: {rest} at rest, {most} at most, {after} after"));
    if after > rest + seen.connections + SLACK {
        history.broken.push(format!("connections leaked: {rest} files were open at rest, {after} are after"));
    }
}

fn tasks(seen: &Seen, history: &mut History) {
    let most = seen.usages.iter().map(|(_, usage)| usage.tasks).max().unwrap_or(0);
    let (rest, after) = (seen.rest.tasks, seen.after.tasks);
    history.notes.push(format!("tasks: {rest} at rest, {most} at most, {after} after"));
    if after > rest + seen.connections + SLACK {
        history.broken.push(format!("tasks leaked: there were {rest} at rest, and {after} are left"));
    }
}

/// While the database stands still nothing comes to its end, and buyers go on to ask.
fn queue(seen: &Seen, history: &mut History) {
    let most = seen.usages.iter().map(|(_, usage)| usage.under_way).max().unwrap_or(0);
    let Seen { queue, buyers, .. } = seen;
    history.notes.push(format!("{most} requests of {buyers} buyers were under way at most, the queue takes {queue}"));
    if most > *queue {
        history.broken.push(format!("the queue is not bounded: {most} requests were under way, and it takes {queue}"));
    }
}

/// After each fault throughput is back in time; they rushed until `ended`.
fn back(ended: Nanos, history: &mut History) {
    let faults = history.faults.clone();
    let warm = history.started + nanos(Duration::from_millis(800));
    let before = rate(&history.done, warm, first(history));
    history.notes.push(format!("{before:.0} operations a second before the first fault"));
    for Span { name, to, .. } in &faults {
        let limit = to + nanos(BACK_WITHIN);
        let mut at = *to;
        while rate(&history.done, at, at + nanos(SPAN)) < before * BACK && at < limit {
            at += nanos(SPAN) / 5;
        }
        let took = seconds(*to, at);
        // Nobody can tell where the run, or the next fault, comes before that.
        let is_over = ended < limit || faults.iter().any(|next| (to..&limit).contains(&&next.from));
        if at < limit {
            history.notes.push(format!("back {took:.1} s after {name}"));
        } else if is_over {
            history.notes.push(format!("not back after {name} when something else came"));
        } else {
            history.broken.push(format!("throughput is not back {took:.1} s after {name}"));
        }
    }
}

fn rate(done: &[(Nanos, u64)], from: Nanos, to: Nanos) -> f64 {
    let sum: u64 = done.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, done)| done).sum();
    let sum = u32::try_from(sum).map_or(f64::MAX, f64::from);
    sum / seconds(from, to).max(0.001)
}

fn of(part: usize, whole: usize) -> f64 {
    let float = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}
