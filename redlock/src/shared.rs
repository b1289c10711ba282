//! What every handle, guard and background task of one manager shares, and what they do with all
//! of its nodes at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::chance::Chance;
use crate::clock::Clock;
use crate::deadline::Deadlines;
use crate::error::{Cause, NodeError};
use crate::fencing::{FencingToken, MAX_TOKEN};
use crate::line::{Keys, Lines};
use crate::meeting::Meeting;
use crate::memory::Memory;
use crate::node::{Reply, Request};
use crate::quorum::quorum;
use crate::renewal::Renewals;
use crate::resource::{Claim, owner_value};
use crate::round::{Aftermath, Asked, Nodes, Round};
use crate::terms::Terms;

/// Most acquisitions under way.
const ACQUISITIONS: usize = 1024;

/// How long there may be no room for another one.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// How often to look whether nodes are still owed something, and how many looks one question to them serves.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_PER_QUESTION: u32 = 20;

/// What every handle, guard and background task of one manager shares.
pub(crate) struct Shared {
    pub(crate) nodes: Nodes,
    pub(crate) terms: Terms,
    pub(crate) wait: Option<Duration>,
    pub(crate) prefix: String,
    pub(crate) owner: String,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) memory: Memory,
    pub(crate) renewals: Arc<Renewals>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) deadlines: Arc<Deadlines>,
    /// Tells releases by this manager from those by others.
    pub(crate) name: Arc<str>,
    releases: Arc<Releases>,
    last_id: AtomicU64,
    meeting: Meeting,
    /// Room for acquisitions under way. Without a bound a herd on free keys would have the nodes answer
    /// too late, to all of them, again and again.
    room: Semaphore,
}

impl Shared {
    pub(crate) fn new(
        nodes: Nodes,
        terms: Terms,
        identity: (String, String),
        wait: Option<Duration>,
        time: (Clock, Chance),
    ) -> Self {
        let (prefix, owner) = identity;
        let (clock, chance) = time;
        let hears = nodes.iter().filter(|node| node.hears()).count() >= quorum(nodes.len());
        let name = owner_value("", chance.bytes()).into();
        Self {
            nodes,
            terms,
            wait,
            prefix,
            owner,
            clock,
            chance,
            memory: Memory::default(),
            renewals: Renewals::new(clock),
            lines: Lines::new(clock, terms.node_timeout, hears),
            deadlines: Arc::default(),
            name,
            releases: Arc::default(),
            last_id: AtomicU64::new(0),
            meeting: Meeting::default(),
            room: Semaphore::new(ACQUISITIONS),
        }
    }

    /// A value no other attempt ever has.
    pub(crate) fn fresh_value(&self) -> String {
        owner_value(&self.owner, self.chance.bytes())
    }

    /// Before its first lock a manager meets every node, at most for the node timeout: only who
    /// has met two nodes can see that they are one server.
    pub(crate) async fn meet(&self) {
        if !self.meeting.is_over() {
            self.meeting.hold(&self.nodes, self.terms.node_timeout).await;
        }
    }

    /// Room for one more acquisition. `None` where there is none within `left`, or a second: those that
    /// have it may not be polled any more, so that nobody counts on it.
    pub(crate) async fn room(&self, left: Option<Duration>) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.room.try_acquire() {
            return Some(permit);
        }
        let patience = left.map_or(ROOM_PATIENCE, |left| left.min(ROOM_PATIENCE));
        // Never closed.
        tokio::time::timeout(patience, self.room.acquire()).await.ok()?.ok()
    }

    /// The top of `span` tokens to ask for, none below `floor`: the time of day in microseconds, so
    /// that counters that were lost do not start from nothing, and above the last one this process
    /// saw, so that nodes agree.
    pub(crate) fn proposal(&self, keys: &[String], floor: FencingToken, span: u32) -> FencingToken {
        let span = u64::from(span);
        let by_time = FencingToken::new(self.clock.unix_micros().min(MAX_TOKEN)).unwrap_or(FencingToken::ZERO);
        let first = by_time.max(floor);
        let by_memory = self.memory.largest(keys).and_then(|last| last.above(span));
        first.above(span - 1).max(by_memory).unwrap_or(first)
    }

    /// Waits until no release is under way and no node is owed one.
    pub(crate) async fn all_released(&self) {
        self.releases.none_left().await;
        let owed = |node: usize| self.nodes[node].owed() > 0;
        let mut looks = 0;
        while (0..self.nodes.len()).any(owed) {
            // Asked something, a node sends what it owes, also where the runtime is gone that it was used in;
            // that may be so any time.
            if looks % LOOKS_PER_QUESTION == 0 {
                Round::ask(&self.nodes, |node| match owed(node) {
                    true => Asked::Request(Request::Info),
                    false => Asked::Answer(Ok(Reply::Done)),
                });
            }
            looks += 1;
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends the release of `claim` to every node that may hold it; needs no runtime, and nobody
    /// has to wait for it. `reached` tells of each node whether it may.
    /// `won` says whether there was a lease, so that there is somebody to tell.
    pub(crate) fn release(&self, claim: &Arc<Claim>, reached: impl Fn(usize) -> bool, won: bool) -> Arc<Round> {
        let line = won.then(|| (Arc::clone(&self.lines), Arc::clone(claim.shared_keys())));
        let then = Box::new(Leaving { line, _under_way: self.releases.begin() });
        let by = won.then(|| Arc::clone(&self.name));
        let ttl = self.terms.max_ttl;
        Round::ask_and_then(&self.nodes, Some(then), |node| {
            if reached(node) {
                Asked::Request(Request::Release { claim: Arc::clone(claim), by: by.clone(), ttl })
            } else {
                Asked::Answer(Err(NodeError::unsent(Cause::Refused, "the node never saw the request")))
            }
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.renewals.close();
    }
}

/// What a round of releases leaves to be done.
struct Leaving {
    /// Who wants to know how many others wait.
    line: Option<(Arc<Lines>, Keys)>,
    _under_way: Release,
}

impl Aftermath for Leaving {
    fn decided(&mut self, listeners: usize) {
        if let Some((lines, keys)) = self.line.take() {
            lines.left(&keys, listeners);
        }
    }
}

/// Counts the releases under way.
#[derive(Default)]
struct Releases {
    count: Mutex<usize>,
    none: Notify,
}

impl Releases {
    fn begin(self: &Arc<Self>) -> Release {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Release { of: Arc::clone(self) }
    }

    async fn none_left(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            none.as_mut().enable();
            if *self.count.lock().unwrap_or_else(PoisonError::into_inner) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// One release under way.
struct Release {
    of: Arc<Releases>,
}

impl Drop for Release {
    fn drop(&mut self) {
        let mut count = self.of.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.of.none.notify_waiters();
        }
    }
}
