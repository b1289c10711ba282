//! Who waits for what in this process: a lane a record, first come, first served. Decides without I/O
//! which leases to take and to let go of, and what goes into a transaction.
//!
//! A request over several records stands in the lanes of all of them. It has its turn when it is the
//! first in each; by then none of these lanes holds a lease, and one over all of them is taken. All
//! requests join their lanes in the order in which they arrive, so they never wait in a circle.

mod lane;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock::{Guard, LockError};

use self::lane::{Entry, Held, Lane, Lease};
use super::counters::Counters;
use super::job::{Job, Outcome};
use super::lease::{Wanted, not_locked};
use super::part::{Fate, Owner, Part};
use crate::error::RepositoryError;
use crate::operation::StockKey;

/// How many requests may wait for one record.
const MAX_WAITING: usize = 4_096;

/// How many changes go into one transaction, unless a single request has more.
const MAX_CHANGES: usize = 1_000;

/// How many leases are taken for one request whose leases turn out to be stale, or are lost.
const LEASES: u32 = 3;

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<StockKey, Lane>,
    groups: HashMap<u64, Group>,
    next_group: u64,
    /// Those that may go into the next transaction.
    ready: VecDeque<Owner>,
    /// Leases to be taken.
    wanted: Vec<Wanted>,
    /// Parts to be carried out alone.
    alone: Vec<Part>,
    counters: Arc<Counters>,
}

/// A request over several records.
#[derive(Debug)]
struct Group {
    keys: Vec<StockKey>,
    /// `None` while it is carried out.
    job: Option<Job>,
    /// In how many of its lanes it is the first.
    heads: usize,
    guard: Option<Guard>,
    floor: u64,
}

impl Lanes {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        let (lanes, groups, ready) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { lanes, groups, next_group: 0, ready, wanted: Vec::new(), alone: Vec::new(), counters }
    }

    /// Whether nothing is to be done and no lease is held.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether something may go into a transaction.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The leases that have to be taken now.
    pub(super) fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// The parts that have to be carried out alone now.
    pub(super) fn take_alone(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.alone)
    }

    /// A request has arrived.
    pub(super) fn join(&mut self, job: Job) {
        let keys = job.request.keys();
        let is_full = |key| self.lanes.get(key).is_some_and(|lane| lane.queue.len() >= MAX_WAITING);
        if keys.iter().any(is_full) {
            self.counters.overloaded();
            return job.answer(Err(RepositoryError::Overloaded));
        }
        if let [key] = keys[..] {
            self.lane(key).queue.push_back(Entry::One(job));
            return self.advance(key);
        }
        let id = self.next_group;
        self.next_group += 1;
        for key in &keys {
            self.lane(*key).queue.push_back(Entry::Many(id));
        }
        let group = Group { keys: keys.clone(), job: Some(job), heads: 0, guard: None, floor: 0 };
        self.groups.insert(id, group);
        keys.into_iter().for_each(|key| self.advance(key));
    }

    /// A lease was taken, or not.
    pub(super) fn leased(&mut self, wanted: &Wanted, outcome: Result<Guard, LockError>, waited: Duration) {
        match (wanted.owner, outcome) {
            (Owner::Lane(key), Ok(guard)) => {
                self.lane(key).lease = Lease::Held(Held::new(guard, waited));
                self.advance(key);
            }
            (Owner::Lane(key), Err(error)) => {
                let lane = self.lane(key);
                lane.lease = Lease::None;
                lane.give_up(|| not_locked(key, &error));
                self.advance(key);
            }
            (Owner::Group(id), Ok(guard)) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.guard = Some(guard);
                    self.ready.push_back(wanted.owner);
                }
            }
            (Owner::Group(id), Err(error)) => {
                let key = wanted.keys[0];
                if let Some(job) = self.groups.get_mut(&id).and_then(|group| group.job.take()) {
                    job.answer(Err(not_locked(key, &error)));
                }
                self.disband(id);
            }
        }
    }

    /// What goes into the next transaction.
    pub(super) fn take_batch(&mut self) -> Vec<Part> {
        let (mut parts, mut room) = (Vec::new(), MAX_CHANGES);
        while room > 0
            && let Some(owner) = self.ready.pop_front()
        {
            let part = match owner {
                Owner::Lane(key) => self.part_of_lane(key, room),
                Owner::Group(id) => self.part_of_group(id),
            };
            if let Some(part) = part {
                let changes: usize = part.jobs.iter().map(|job| job.request.changes().len()).sum();
                room = room.saturating_sub(changes);
                parts.push(part);
            }
        }
        parts
    }

    fn part_of_lane(&mut self, key: StockKey, room: usize) -> Option<Part> {
        let now = Instant::now();
        let lane = self.lanes.get_mut(&key)?;
        lane.is_ready = false;
        let held = match std::mem::take(&mut lane.lease) {
            Lease::Held(held) => held,
            // Its lease ran out while it stood in the list, and is being taken again.
            other => {
                lane.lease = other;
                return None;
            }
        };
        if !held.is_usable(now) {
            lane.lease = Lease::Held(held);
            self.advance(key);
            return None;
        }
        let jobs = lane.take_jobs(room);
        let rows = held.row.into_iter().collect();
        let part = Part { owner: Owner::Lane(key), lease: held.guard.lease().clone(), keys: vec![key], rows, jobs };
        lane.lease = Lease::Busy(held);
        Some(part)
    }

    fn part_of_group(&mut self, id: u64) -> Option<Part> {
        let group = self.groups.get_mut(&id)?;
        let lease = group.guard.as_ref()?.lease().clone();
        let jobs = group.job.take().into_iter().collect();
        Some(Part { owner: Owner::Group(id), lease, keys: group.keys.clone(), rows: Vec::new(), jobs })
    }

    /// The fate of a part is known.
    pub(super) fn finish(&mut self, part: Part, fate: Fate) {
        match fate {
            Fate::Done { rows, outcomes } => {
                for (job, outcome) in part.jobs.into_iter().zip(outcomes) {
                    job.answer(outcome);
                }
                match part.owner {
                    Owner::Group(id) => self.disband(id),
                    Owner::Lane(key) => {
                        let row = rows.first().copied().filter(|row| row.residence.is_none());
                        self.lane(key).lease.free(row);
                        self.advance(key);
                    }
                }
            }
            Fate::Alone => {
                self.counters.alone();
                self.alone.push(part);
            }
            Fate::Stale { key, stored } => {
                let fence = part.fence();
                tracing::info!(%key, fence, stored, "a lease was stale; taking another one");
                self.counters.stale();
                // Above the largest floor there is none to ask for.
                let leases = if stored > redlock::MAX_FENCE_FLOOR { 0 } else { LEASES };
                self.retake(part, stored, leases, || RepositoryError::StaleFence { key, fence, stored });
            }
            Fate::Lost => {
                self.counters.lost();
                let key = part.keys[0];
                self.retake(part, 0, LEASES, || RepositoryError::LeaseLost { key });
            }
        }
    }

    /// A transaction with this owner's part has vanished, and its requests with it: they have been answered. What
    /// became of the row nobody knows, so the lease goes too.
    pub(super) fn vanished(&mut self, owner: Owner) {
        match owner {
            Owner::Group(id) => self.disband(id),
            Owner::Lane(key) => {
                self.lane(key).lease = Lease::None;
                self.advance(key);
            }
        }
    }

    /// Lets go of a part's lease and puts its jobs back to the front, for another one.
    fn retake(&mut self, part: Part, floor: u64, leases: u32, error: impl Fn() -> RepositoryError) {
        let mut kept = Vec::new();
        for mut job in part.jobs {
            job.retakes += 1;
            if job.retakes < leases { kept.push(job) } else { job.answer(Err(error())) }
        }
        match part.owner {
            Owner::Lane(key) => {
                let lane = self.lane(key);
                (lane.lease, lane.floor) = (Lease::None, lane.floor.max(floor));
                kept.into_iter().rev().for_each(|job| lane.queue.push_front(Entry::One(job)));
                self.advance(key);
            }
            Owner::Group(id) => {
                let Some(group) = self.groups.get_mut(&id) else { return };
                group.guard = None;
                group.floor = group.floor.max(floor);
                match kept.pop() {
                    None => self.disband(id),
                    Some(job) => {
                        group.job = Some(job);
                        self.want_for_group(id);
                    }
                }
            }
        }
    }

    /// Looks what a lane needs next.
    fn advance(&mut self, key: StockKey) {
        let now = Instant::now();
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let free = matches!(lane.lease, Lease::None | Lease::Held(_));
        match lane.queue.front() {
            _ if !free => {}
            None => match &mut lane.lease {
                Lease::Held(held) => held.idle_since = Some(now),
                _ => {
                    self.lanes.remove(&key);
                }
            },
            Some(Entry::Many(id)) => {
                let id = *id;
                // A lease that lingers is let go of: the one over all records includes this one.
                lane.lease = Lease::InGroup;
                if let Some(group) = self.groups.get_mut(&id) {
                    group.heads += 1;
                    if group.heads == group.keys.len() {
                        self.want_for_group(id);
                    }
                }
            }
            Some(Entry::One(job)) => {
                if let Lease::Held(held) = &mut lane.lease {
                    if held.is_usable(now) {
                        held.idle_since = None;
                        if !std::mem::replace(&mut lane.is_ready, true) {
                            self.ready.push_back(Owner::Lane(key));
                        }
                        return;
                    }
                    self.counters.yielded();
                }
                let (until, floor) = (job.until, std::mem::take(&mut lane.floor));
                let before = match std::mem::replace(&mut lane.lease, Lease::Asked) {
                    Lease::Held(held) => Some(held.guard),
                    _ => None,
                };
                self.wanted.push(Wanted { owner: Owner::Lane(key), keys: vec![key], floor, until, before });
            }
        }
    }

    fn want_for_group(&mut self, id: u64) {
        let Some(group) = self.groups.get(&id) else { return };
        let until = group.job.as_ref().map_or_else(Instant::now, |job| job.until);
        let (keys, floor) = (group.keys.clone(), group.floor);
        self.wanted.push(Wanted { owner: Owner::Group(id), keys, floor, until, before: None });
    }

    /// The request over several records is over; its lanes go on.
    fn disband(&mut self, id: u64) {
        let Some(group) = self.groups.remove(&id) else { return };
        drop(group.guard);
        for key in group.keys {
            let lane = self.lane(key);
            lane.queue.pop_front();
            lane.lease = Lease::None;
            self.advance(key);
        }
    }

    /// Lets go of leases under which nothing has been done for a while; all of them, when closing.
    pub(super) fn sweep(&mut self, closing: bool) -> Vec<Guard> {
        let now = Instant::now();
        let idle = self.lanes.extract_if(|_, lane| lane.is_idle(now, closing));
        let guard = |lane: Lane| if let Lease::Held(held) = lane.lease { Some(held.guard) } else { None };
        idle.filter_map(|(_, lane)| guard(lane)).collect()
    }

    fn lane(&mut self, key: StockKey) -> &mut Lane {
        self.lanes.entry(key).or_default()
    }
}

/// Outcomes for all jobs of a part that failed as a whole.
pub(super) fn all_failed(part: &Part, error: impl Fn(&Job) -> RepositoryError) -> Fate {
    let outcomes: Vec<Outcome> = part.jobs.iter().map(|job| Err(error(job))).collect();
    Fate::Done { rows: Vec::new(), outcomes }
}
