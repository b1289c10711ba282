//! Whatever comes in whatever order, no record is asked a second lease of, and nobody is forgotten.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use redlock::{Redlock, RestartGuard, SimNode};
use tokio::sync::{Semaphore, oneshot};

use super::*;
use crate::contention::Meters;
use crate::operation::{Operation, Quantity};
use crate::request::{Change, Request};

/// A lease that is held so long has to be taken again.
const TOO_LONG: Duration = Duration::from_millis(1);

/// Lanes, and what is under way for them.
struct World {
    lanes: Lanes,
    redlock: Redlock,
    rng: StdRng,
    room: Arc<Semaphore>,
    wanted: Vec<Wanted>,
    parts: Vec<Part>,
    answers: Vec<oneshot::Receiver<Outcome>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let redlock = Redlock::builder().node(SimNode::new("node")).restart_guard(RestartGuard::Off).build().unwrap();
        let lanes = Lanes::new(Arc::new(Counters::new(Meters::none())));
        let (rng, room) = (StdRng::seed_from_u64(seed), Arc::new(Semaphore::new(1_000)));
        Self { lanes, redlock, rng, room, wanted: Vec::new(), parts: Vec::new(), answers: Vec::new() }
    }

    /// A request about these records comes.
    fn join(&mut self, variants: &[u64]) {
        let one = Quantity::new(1).unwrap();
        let change = |variant: &u64| Change::new(key(*variant), Operation::Lock, one);
        let request = Request::batch(variants.iter().map(change).collect::<Vec<_>>()).identify().unwrap();
        let (caller, answer) = oneshot::channel();
        let room = Arc::clone(&self.room).try_acquire_owned().unwrap();
        self.lanes.join(Job::new(request, Duration::from_secs(5), caller, room));
        self.answers.push(answer);
        self.look();
    }

    /// Takes over what the lanes want by now.
    fn look(&mut self) {
        self.wanted.extend(self.lanes.take_wanted());
        let mut keys: Vec<_> = self.wanted.iter().flat_map(|wanted| &wanted.keys).collect();
        keys.sort_unstable();
        let asked = keys.len();
        keys.dedup();
        assert_eq!(asked, keys.len(), "a second lease is asked for: {:?}", self.wanted);
    }

    /// Takes one of the leases that are wanted, or fails to.
    async fn lease(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let mut wanted = self.wanted.swap_remove(self.rng.random_range(0..self.wanted.len()));
        let outcome = match self.rng.random_range(0..10) {
            0 => Err(LockError::InvalidMaxHold),
            1..=3 => {
                drop(wanted.before.take());
                let resource: Vec<_> = wanted.keys.iter().copied().map(StockKey::lock_key).collect();
                let asked = self.redlock.lock(resource).wait(Duration::from_secs(5));
                asked.fence_floor(wanted.floor).max_hold(TOO_LONG).await
            }
            _ => wanted.take(&self.redlock).await,
        };
        self.lanes.leased(&wanted, outcome, Duration::ZERO);
        self.look();
    }

    /// A transaction begins with what is ready.
    fn begin(&mut self) {
        for mut part in self.lanes.take_batch() {
            assert!(!part.jobs.is_empty(), "nothing is to be done under {:?}", part.owner);
            part.jobs.iter_mut().for_each(|job| job.begun = true);
            self.parts.push(part);
        }
        self.look();
    }

    /// A part meets one fate or another.
    fn finish(&mut self, kindly: bool) {
        if self.parts.is_empty() {
            return;
        }
        let part = self.parts.swap_remove(self.rng.random_range(0..self.parts.len()));
        let key = part.keys[0];
        match if kindly { 9 } else { self.rng.random_range(0..10) } {
            0 => self.lanes.finish(part, Fate::Alone),
            1 => self.lanes.finish(part, Fate::Lost),
            2 => {
                let stored = part.fence();
                self.lanes.finish(part, Fate::Stale { key, stored });
            }
            3 => {
                let owner = part.owner;
                drop(part);
                self.lanes.vanished(owner);
            }
            _ => {
                let fate = all_failed(&part, |_| RepositoryError::LeaseLost { key });
                self.lanes.finish(part, fate);
            }
        }
        self.parts.extend(self.lanes.take_alone());
        self.look();
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..12) {
            0..=2 => {
                let variant = self.rng.random_range(1..=3);
                self.join(&[variant]);
            }
            3 => {
                let mut variants = [1, 2, 3];
                variants.shuffle(&mut self.rng);
                self.join(&variants[..2]);
            }
            4..=6 => self.lease().await,
            7..=8 => self.begin(),
            9..=10 => self.finish(false),
            _ if self.rng.random_bool(0.5) => drop(self.lanes.sweep(false)),
            _ => tokio::time::sleep(TOO_LONG).await,
        }
    }

    /// Nothing comes any more, and what there is ends well.
    async fn end(&mut self) {
        while !self.wanted.is_empty() || self.lanes.is_ready() || !self.parts.is_empty() {
            self.lease().await;
            self.begin();
            self.finish(true);
        }
        drop(self.lanes.sweep(true));
        assert!(self.lanes.is_empty(), "a record waits for ever: {:?}", self.lanes);
        for answer in &mut self.answers {
            match answer.try_recv().unwrap() {
                // Dropped on the way.
                Err(RepositoryError::Overloaded) => panic!("a request was forgotten"),
                told => assert!(told.is_err()),
            }
        }
    }
}

fn key(variant: u64) -> StockKey {
    StockKey::new(variant, 0).unwrap()
}

#[tokio::test]
async fn whatever_happens_everybody_is_answered_and_no_lease_is_asked_for_twice() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step().await;
        }
        world.end().await;
    }
}
