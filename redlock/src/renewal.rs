//! The one renewal task of a lock manager: renews leases, and notices when one is over.
//!
//! One ordered list of what is due serves every lease; a lease is in it at most once. The task
//! starts with the first lease and stops with the manager.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::{Handle, Id, RuntimeFlavor};
use tokio::sync::Notify;

use crate::chance::Chance;
use crate::clock::{Clock, Moment};
use crate::lease::{Core, Due, RECHECK};
use crate::round::Round;

/// Most rounds of which the last answers are waited for, to give leases back to nodes that have lost
/// them. Past it a lease waits for its next renewal.
const HEALS: usize = 16 * 1024;

/// How many other runtimes are remembered.
const RUNTIMES: usize = 4;

/// Most renewals under way. After a stall everything is due at once; the nodes answer no faster
/// if all of it waits for them.
const MOST: usize = 1024;

/// What is due within this time is done at once, so that it travels together. A ttl is longer than
/// three of it, or renewal could not be relied on anyway.
const TOGETHER: Duration = Duration::from_millis(4);

/// How long after its last round a lease with this ttl is renewed: after a third of it, or up to a
/// quarter of that sooner, so that leases which were taken together are not renewed together for ever.
pub(crate) fn pause(ttl: Duration, chance: &Chance) -> Duration {
    chance.between(ttl / 4, ttl / 3)
}

/// What is due, and when.
#[derive(Debug)]
pub(crate) struct Renewals {
    clock: Clock,
    list: Mutex<List>,
    changed: Notify,
}

#[derive(Default)]
struct List {
    due: BTreeMap<(Moment, u64), Weak<Core>>,
    running: bool,
    /// When the task looks again by itself; it need not be told of what is due later.
    looks_at: Option<Moment>,
    closed: bool,
    /// Where the task lives.
    home: Option<Id>,
    /// Other runtimes where leases were taken, the last one last: the task moves there if its own ends.
    elsewhere: Vec<Handle>,
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List").field("due", &self.due.len()).finish_non_exhaustive()
    }
}

impl List {
    /// Remembers a runtime other than the task's own.
    fn meet(&mut self, runtime: &Handle) {
        let id = runtime.id();
        let is_last = self.elsewhere.last().is_some_and(|last| last.id() == id);
        if self.home == Some(id) || is_last {
            return;
        }
        self.elsewhere.retain(|other| other.id() != id);
        if self.elsewhere.len() == RUNTIMES {
            let rests = self.elsewhere.iter().position(|other| !is_always_on(other));
            self.elsewhere.remove(rests.unwrap_or(0));
        }
        self.elsewhere.push(runtime.clone());
    }

    /// The runtime to move to: of those that always run the last one, else the last one.
    fn next_home(&mut self) -> Option<Handle> {
        match self.elsewhere.iter().rposition(is_always_on) {
            Some(place) => Some(self.elsewhere.remove(place)),
            None => self.elsewhere.pop(),
        }
    }

    /// True where the caller has to start the task.
    fn insert(&mut self, lease: &Arc<Core>, at: Moment) -> bool {
        if let Some(noted) = lease.swap_note(Some(at)) {
            self.due.remove(&(noted, lease.id()));
        }
        self.due.insert((at, lease.id()), Arc::downgrade(lease));
        !self.closed && !std::mem::replace(&mut self.running, true)
    }
}

/// A runtime of a single thread rests while nobody waits in it.
fn is_always_on(runtime: &Handle) -> bool {
    runtime.runtime_flavor() == RuntimeFlavor::MultiThread
}

impl Renewals {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, list: Mutex::default(), changed: Notify::new() })
    }

    /// Notes down when to look at `lease` next, and sees to it that somebody will.
    pub(crate) fn note(self: &Arc<Self>, lease: &Arc<Core>) {
        let Some(at) = lease.next() else {
            return;
        };
        let runtime = Handle::try_current().ok();
        // At once: a task that ends meanwhile has either met this runtime, or leaves its place to this lease.
        let mut list = self.lock();
        let start = list.insert(lease, at);
        match &runtime {
            Some(runtime) if start => list.home = Some(runtime.id()),
            Some(runtime) => list.meet(runtime),
            None => {}
        }
        let is_sooner = list.looks_at.is_none_or(|looks| at < looks);
        drop(list);
        if start {
            let running = Running { renewals: Arc::clone(self) };
            if let Some(runtime) = runtime {
                runtime.spawn(run(running));
            }
        } else if is_sooner {
            self.changed.notify_one();
        }
    }

    /// The leases that stand, at most so many.
    pub(crate) fn leases(&self, most: usize) -> Vec<Arc<Core>> {
        let now = self.clock.now();
        let noted: Vec<_> = self.lock().due.values().filter_map(Weak::upgrade).take(most).collect();
        // Looked at, and perhaps dropped for good, outside of the list's lock.
        noted.into_iter().filter(|lease| lease.remaining(now).is_some()).collect()
    }

    /// Takes `lease` off the list.
    pub(crate) fn forget(&self, lease: &Core) {
        let mut list = self.lock();
        if let Some(noted) = lease.swap_note(None) {
            list.due.remove(&(noted, lease.id()));
        }
    }

    /// Stops the task.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn insert_next(&self, lease: &Arc<Core>) {
        if let Some(at) = lease.next() {
            self.lock().insert(lease, at);
        }
    }

    fn take_due(&self) -> Option<Arc<Core>> {
        let now = self.clock.now();
        let mut list = self.lock();
        while let Some(entry) = list.due.first_entry() {
            if entry.key().0 > now {
                return None;
            }
            if let Some(lease) = entry.remove().upgrade() {
                lease.swap_note(None);
                return Some(lease);
            }
        }
        None
    }

    /// How long the task may sleep; `None` until it is told.
    fn pause(&self, is_full: bool) -> Option<Duration> {
        let now = self.clock.now();
        let mut list = self.lock();
        let next = list.due.first_key_value().map(|((at, _), _)| at.since(now));
        let pause = if is_full { Some(RECHECK) } else { next.map(|next| next.clamp(TOGETHER, RECHECK)) };
        list.looks_at = pause.map(|pause| now.after(pause));
        pause
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that the task is gone when it is, also if its runtime was dropped under it.
struct Running {
    renewals: Arc<Renewals>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut list = self.renewals.lock();
        (list.running, list.looks_at) = (false, None);
        // Taken, so that a runtime that is gone as well is tried once.
        let elsewhere = if list.closed || list.due.is_empty() { None } else { list.next_home() };
        if let Some(runtime) = elsewhere {
            (list.running, list.home) = (true, Some(runtime.id()));
            drop(list);
            runtime.spawn(run(Running { renewals: Arc::clone(&self.renewals) }));
        }
    }
}

/// A renewal under way: cut short, with the runtime it was in, it is asked for again.
struct UnderWay<'a> {
    renewals: &'a Renewals,
    lease: Arc<Core>,
    is_over: bool,
}

impl UnderWay<'_> {
    async fn finish(mut self) -> (Arc<Core>, Option<(Arc<Round>, Duration)>) {
        let extended = self.lease.renew().await;
        self.is_over = true;
        (Arc::clone(&self.lease), extended)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.lease.renew_again();
            self.renewals.insert_next(&self.lease);
        }
    }
}

async fn run(running: Running) {
    let renewals = &*running.renewals;
    let mut rounds = FuturesUnordered::new();
    // Apart from the rounds: a node that is silent holds up heals, and must not hold up renewals.
    let mut heals = FuturesUnordered::new();
    while !renewals.lock().closed {
        while rounds.len() < MOST
            && let Some(lease) = renewals.take_due()
        {
            match lease.due() {
                Due::Over => {}
                Due::At(at) => {
                    renewals.lock().insert(&lease, at);
                }
                Due::Renew => {
                    // The deadline stays noted while the round is under way.
                    renewals.insert_next(&lease);
                    rounds.push(UnderWay { renewals, lease, is_over: false }.finish());
                }
            }
        }
        let pause = renewals.pause(rounds.len() == MOST);
        tokio::select! {
            biased;
            Some((lease, extended)) = rounds.next() => {
                renewals.insert_next(&lease);
                if let Some((round, ttl)) = extended.filter(|_| heals.len() < HEALS) {
                    heals.push(async move { lease.heal(&round, ttl).await });
                }
            }
            Some(()) = heals.next() => {}
            () = renewals.changed.notified() => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}
