//! The task to which all requests of this process go. It owns the lanes and starts what they ask for:
//! leases and transactions. It ends with the last handle of the repository, when everything asked for
//! is done.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redlock::{Guard, LockError, Redlock};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::counters::Counters;
use super::failpoint;
use super::job::{Job, Outcome};
use super::lanes::Lanes;
use super::lease::Wanted;
use super::part::{Fate, Owner, Part};
use super::run::{Places, Run};
use crate::error::RepositoryError;
use crate::request::Identified;
use crate::store::Store;

/// How many requests may wait in this process, for all records together.
const ROOM: usize = 32_768;

/// How many transactions are under way at once: the next one forms and begins while the first waits
/// for the disk.
const COMMITTERS: usize = 2;

/// How often in a row nothing may come before those who were answered together are waited for no longer.
const PAUSES: u32 = 3;

/// How often leases are looked at that nobody uses.
const SWEEP: Duration = Duration::from_millis(5);

/// Where requests are handed in.
#[derive(Debug)]
pub(super) struct Desk {
    asks: mpsc::UnboundedSender<Ask>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// What comes from outside.
enum Ask {
    Job(Box<Job>),
    Close(oneshot::Sender<()>),
}

/// What comes from the tasks that were started.
enum News {
    Leased {
        wanted: Wanted,
        outcome: Result<Guard, LockError>,
        waited: Duration,
    },
    Ran {
        fates: Vec<(Part, Fate)>,
        alone: bool,
    },
    /// It has panicked, and the requests were dropped with it, which answers them.
    Vanished {
        owners: Vec<Owner>,
        alone: bool,
    },
}

impl Desk {
    /// Starts the task; to be called on a runtime.
    pub(super) fn open(store: Arc<dyn Store>, redlock: Redlock, counters: Arc<Counters>) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        let (teller, news) = mpsc::unbounded_channel();
        let clerk = Clerk {
            lanes: Lanes::new(counters.clone()),
            store,
            redlock,
            counters: counters.clone(),
            asked,
            news,
            teller,
            running: 0,
            places: Arc::default(),
            came_together: 0,
            closing: None,
        };
        tokio::spawn(clerk.work());
        Self { asks, room: Arc::new(Semaphore::new(ROOM)), counters }
    }

    /// Hands a request in and waits for what it comes to.
    pub(super) async fn ask(&self, request: Identified, wait: Duration) -> Outcome {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            self.counters.overloaded();
            return Err(RepositoryError::Overloaded);
        };
        let (caller, mut answer) = oneshot::channel();
        let job = Box::new(Job::new(request, wait, caller, room));
        let handed_in = self.asks.send(Ask::Job(job));
        handed_in.map_err(|_| RepositoryError::Overloaded)?;
        if let Some(early) = failpoint::answer_early(&mut answer).await {
            return early;
        }
        // Every job answers, also one that is dropped.
        answer.await.unwrap_or(Err(RepositoryError::Overloaded))
    }

    /// Waits until everything is done and released.
    pub(super) async fn close(&self) {
        let (closed, wait) = oneshot::channel();
        if self.asks.send(Ask::Close(closed)).is_ok() {
            let _ = wait.await;
        }
    }
}

/// The task's own.
struct Clerk {
    lanes: Lanes,
    store: Arc<dyn Store>,
    redlock: Redlock,
    counters: Arc<Counters>,
    asked: mpsc::UnboundedReceiver<Ask>,
    news: mpsc::UnboundedReceiver<News>,
    teller: mpsc::UnboundedSender<News>,
    /// How many transactions are under way.
    running: usize,
    places: Arc<Places>,
    /// How many requests went into the last transaction.
    came_together: usize,
    /// Set when no more requests come: those who wait for the end.
    closing: Option<Vec<oneshot::Sender<()>>>,
}

impl Clerk {
    async fn work(mut self) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut released = JoinSet::new();
        while self.closing.is_none() || !self.lanes.is_empty() {
            tokio::select! {
                biased;
                Some(news) = self.news.recv() => self.hear(news),
                ask = self.asked.recv(), if self.closing.is_none() => self.take(ask),
                _ = sweep.tick(), if !self.lanes.is_empty() => {
                    for guard in self.lanes.sweep(self.closing.is_some()) {
                        if self.closing.is_some() {
                            released.spawn(guard.release());
                        }
                    }
                }
            }
            self.gather().await;
            self.start();
        }
        self.asked.close();
        released.join_all().await;
        while let Ok(ask) = self.asked.try_recv() {
            match ask {
                Ask::Job(job) => job.answer(Err(RepositoryError::Overloaded)),
                Ask::Close(closed) => self.closing.get_or_insert_default().push(closed),
            }
        }
        for closed in self.closing.into_iter().flatten() {
            let _ = closed.send(());
        }
    }

    fn take(&mut self, ask: Option<Ask>) {
        match ask {
            Some(Ask::Job(job)) => self.lanes.join(*job),
            Some(Ask::Close(closed)) => self.closing.get_or_insert_default().push(closed),
            None => self.closing = Some(Vec::new()),
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Leased { wanted, outcome, waited } => {
                if outcome.is_ok() {
                    self.counters.acquired(waited);
                }
                self.lanes.leased(&wanted, outcome, waited);
            }
            News::Ran { fates, alone } => {
                self.running -= usize::from(!alone);
                for (part, fate) in fates {
                    self.lanes.finish(part, fate);
                }
            }
            News::Vanished { owners, alone } => {
                self.running -= usize::from(!alone);
                owners.into_iter().for_each(|owner| self.lanes.vanished(owner));
            }
        }
    }

    /// Takes everything in that is there by now. Where several came together the last time, those who
    /// have just been answered get a moment to come again; somebody who is alone waits for nobody.
    async fn gather(&mut self) {
        let mut pauses = 0;
        loop {
            let mut quiet = true;
            while let Ok(news) = self.news.try_recv() {
                self.hear(news);
                quiet = false;
            }
            while self.closing.is_none()
                && let Ok(ask) = self.asked.try_recv()
            {
                self.take(Some(ask));
                quiet = false;
            }
            pauses = if quiet { pauses + 1 } else { 0 };
            if self.came_together <= 1 || pauses > PAUSES {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Starts what can be started.
    fn start(&mut self) {
        for part in self.lanes.take_alone() {
            self.run(vec![part], Some(self.places.clone()));
        }
        while self.running < COMMITTERS && self.lanes.is_ready() {
            let parts = self.lanes.take_batch();
            if parts.is_empty() {
                continue;
            }
            self.came_together = parts.iter().map(|part| part.jobs.len()).sum();
            self.running += 1;
            self.run(parts, None);
        }
        for wanted in self.lanes.take_wanted() {
            self.lease(wanted);
        }
    }

    /// Carries parts out; alone, where there are places for that.
    fn run(&self, parts: Vec<Part>, places: Option<Arc<Places>>) {
        let (owners, alone) = (parts.iter().map(|part| part.owner).collect(), places.is_some());
        let run = Run::new(self.store.clone(), self.counters.clone(), parts, places);
        let teller = self.teller.clone();
        tokio::spawn(async move {
            // Somebody has to say that it is over, or nothing would ever be done for these records again.
            let news = match AssertUnwindSafe(run.finish()).catch_unwind().await {
                Ok(fates) => News::Ran { fates, alone },
                Err(_) => News::Vanished { owners, alone },
            };
            let _ = teller.send(news);
        });
    }

    fn lease(&self, mut wanted: Wanted) {
        let (teller, redlock) = (self.teller.clone(), self.redlock.clone());
        tokio::spawn(async move {
            let since = Instant::now();
            let outcome = wanted.take(&redlock).await;
            let _ = teller.send(News::Leased { wanted, outcome, waited: since.elapsed() });
        });
    }
}
