//! The repository whose levels live in Redis: changed there by a script, written back to the database by a
//! flusher.
//!
//! A record becomes resident when it is first changed here. From then on its levels and open holds are in
//! a hash without expiry, on one Redis that must not evict; every change goes into a journal, a stream,
//! in the same script; and a flusher writes the journal back, in order and exactly once. The row says that
//! it is resident, and other repositories refuse it until it is [`released`](Resident::release).
//!
//! # What it may lose, and when
//!
//! An answer says that *Redis* has done it. The database has it when the flusher has been there, as a rule
//! some milliseconds later, or as late as [`ResidentConfig::lag`] lets it be. If Redis loses its memory in
//! between, it is lost: without persistence
//! everything that was not written back when Redis died, with `appendfsync everysec` about the last second
//! of that, with `appendfsync always` nothing. What is lost was answered and is not in the log; units that
//! were sold by it are available again. What the database has is never lost and never done twice. All
//! instances have to name the same Redis: one that names another one takes the records over, and what the
//! first has not written back is lost.
//!
//! A Redis that was restarted, with its data or without, is another one (`run_id`): nothing is sold before
//! what its journal still has was written back and the levels were loaded anew from the database.
//!
//! # What does not follow
//!
//! What the journal says is done again by the rules on what the database has, and must come to the same. If it does
//! not, because somebody has changed one of the two by hand or one of them was restored from a copy, the record is set
//! apart: it is not sold any more ([`RepositoryError::ResidentDiverged`]), what was sold is kept, everything else goes
//! on, and somebody decides ([`Resident::reload`]).
//!
//! A journal entry that cannot be read may be of a later version. So nothing after it is written back until an instance
//! that can read it has been there, or somebody has removed it by hand: then what it was about is set apart.
//!
//! # Requests that come again
//!
//! A script call looks its ids up among those that Redis remembers: all whose changes have not been written
//! back, and at least as many more as make a generation. Ids that callers have chosen are looked for in the
//! log of the database too, for many callers in one query; ids made here need not be. The script refuses a
//! request whose look was before the last time that ids were forgotten, and it is looked for again: an id
//! is therefore always either in Redis or was in the log when it was looked for, whatever was slow. One gap
//! is left, and no unit is lost in it: when two *different* requests are sent under one id at the same
//! moment, one here and one to a repository that goes past Redis, both are carried out; the one here is
//! logged under another id.

mod apart;
mod carry;
mod decide;
mod flush;
mod known;
mod link;
mod pace;
mod queue;
mod reconcile;
mod refusal;
mod replay;
mod residence;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock::Redlock;

use self::flush::Flusher;
use self::link::Link;
use self::queue::{Place, Queue};
use self::residence::{Residences, unavailable};
use super::StockRepository;
use crate::contention::Meters;
use crate::error::RepositoryError;
use crate::hold::Hold;
use crate::log::LoggedEntry;
use crate::operation::StockKey;
use crate::record::StockRecord;
use crate::request::{OrderId, Request};
use crate::store::{BoxFuture, Page, PageSize, Store};
use crate::workbench::Answer;

pub use self::decide::{Diverged, KeptChange, Reloaded};
pub use self::reconcile::Reconciliation;

/// How long a request is tried again unless [`ResidentConfig::patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many changes may wait to be written back unless [`ResidentConfig::backlog`] says otherwise.
const BACKLOG: u64 = 1_000_000;

/// Where resident levels live, and how far the database may be behind.
#[derive(Debug, Clone)]
pub struct ResidentConfig {
    url: String,
    backlog: u64,
    lag: Duration,
    patience: Duration,
}

impl ResidentConfig {
    /// Levels live in this Redis, `redis://…`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), backlog: BACKLOG, lag: Duration::ZERO, patience: PATIENCE }
    }

    /// How many changes may wait to be written back, of all instances together; past that they are refused
    /// as [`RepositoryError::Overloaded`]. One million unless set, which takes some 300 MB of Redis.
    #[must_use]
    pub fn backlog(mut self, changes: u64) -> Self {
        self.backlog = changes;
        self
    }

    /// How long changes may wait before they are written back; not at all unless set. The same in all instances: one
    /// without a lag writes back what others would let wait.
    ///
    /// Writing back takes time of the machine and the database that a rush could do with. With a lag, a rush that is no
    /// longer than that has all of it, and the work is done afterwards, without a break until nothing waits. Nothing
    /// waits that somebody asks for ([`settle`](Resident::settle), a log, holds, a release, the sweep of a hold), nor
    /// once half of the [`backlog`](Self::backlog) has gathered.
    ///
    /// What it costs: if Redis loses its memory, all of what waits is lost; the time of a hold begins when it is written
    /// back; who asks when much is waiting may be refused as [`RepositoryError::Overloaded`] until that is done; and
    /// Redis needs memory for it. A flusher counts from when it first saw something wait; one that begins anew counts
    /// anew.
    #[must_use]
    pub fn lag(mut self, time: Duration) -> Self {
        self.lag = time;
        self
    }

    /// How long a request is tried again while Redis does not answer, or something else that passes is in its way.
    /// Ten seconds unless set.
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }
}

/// Levels in Redis, written back to the database. Needs a Tokio runtime, and stops flushing when it is
/// dropped; [`close`](Self::close) flushes first.
#[derive(Debug)]
pub struct Resident {
    store: Arc<dyn Store>,
    link: Arc<Link>,
    queue: Queue,
    residences: Residences,
    flusher: Arc<Flusher>,
    patience: Duration,
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.flusher.stop();
    }
}

impl Resident {
    /// A repository on this store. The flushers of all instances take turns by a lease of these locks.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ResidentUnavailable`] if Redis does not answer, or cannot keep levels: it evicts,
    /// it is a replica, or a cluster.
    pub async fn open(
        store: Arc<dyn Store>,
        redlock: Redlock,
        config: ResidentConfig,
    ) -> Result<Self, RepositoryError> {
        let link = Arc::new(Link::new(&config.url).map_err(unavailable)?);
        link.get().await.map_err(unavailable)?;
        let meters = Meters::new("resident");
        let flusher = Arc::new(Flusher::new(store.clone(), link.clone(), redlock, meters.clone(), &config));
        tokio::spawn(flusher.clone().run());
        let queue = Queue::new(store.clone(), link.clone(), config.backlog, meters);
        let residences = Residences::new(store.clone(), link.clone(), flusher.clone());
        Ok(Self { store, link, queue, residences, flusher, patience: config.patience })
    }

    /// Waits until everything that was answered before has been written back.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Overloaded`] if it is not within this time.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: flushing goes on.
    pub async fn settle(&self, within: Duration) -> Result<(), RepositoryError> {
        self.flusher.settle_within(within).await
    }

    /// Writes everything back, for so long at most, and stops flushing. Records stay resident.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle); what is left is written back by another instance, or this one when it
    /// is opened again.
    ///
    /// # Cancel safety
    ///
    /// A dropped future stops flushing at once.
    pub async fn close(self, within: Duration) -> Result<(), RepositoryError> {
        self.finish(within).await
    }

    /// As [`close`](Self::close), for those who share it.
    ///
    /// # Errors
    ///
    /// As [`settle`](Self::settle).
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: flushing goes on, or ends soon after.
    pub async fn finish(&self, within: Duration) -> Result<(), RepositoryError> {
        let settled = self.settle(within).await;
        self.flusher.stop();
        self.flusher.ended().await;
        settled
    }

    /// Ends a record's residence: what was sold is written back, and every repository may change it again.
    /// False where it was not resident. An instance that still sells it makes it resident again.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ResidentDiverged`] if something sold has not arrived in the database,
    /// [`RepositoryError::Overloaded`] if that takes too long; it stays resident then.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may leave the record closed for sale; the next change takes it back.
    pub async fn release(&self, key: StockKey) -> Result<bool, RepositoryError> {
        self.residences.release(key).await
    }

    /// Ends the residence of every record; how many there were. Before another repository takes over.
    ///
    /// # Errors
    ///
    /// As [`release`](Self::release), for the first record that fails.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    pub async fn release_all(&self) -> Result<u64, RepositoryError> {
        let (mut released, mut after) = (0, None);
        loop {
            let page = self.store.residents(after, PageSize::default()).await?;
            for row in &page.items {
                released += u64::from(self.release(row.record.key).await?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(released);
            }
        }
    }

    /// The records of which not everything can be written back, because it does not follow from the database. They
    /// are not sold until somebody has decided ([`reload`](Self::reload)); all others are.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`] if Redis or the database does not answer.
    pub async fn diverged(&self) -> Result<Vec<Diverged>, RepositoryError> {
        self.residences.diverged().await
    }

    /// Ends a record's residence, whatever is the matter with it: what was kept of it is written back if it follows
    /// from the database by now. What does not is thrown away with `discard`, and the levels are those of the
    /// database. The requests of what was thrown away may be carried out anew; those of them that changed other
    /// records too are conflicts from then on, since half of them is in the log.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ResidentDiverged`] if something does not follow, without `discard`; nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// As [`release`](Self::release).
    pub async fn reload(&self, key: StockKey, discard: bool) -> Result<Reloaded, RepositoryError> {
        self.residences.reload(key, discard).await
    }

    /// Compares what Redis has of a record with what the database has and the journal says on top of it;
    /// `None` where it is not resident.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`]; [`RepositoryError::ResidentDiverged`] if the journal does not follow from the
    /// database.
    pub async fn reconcile(&self, key: StockKey) -> Result<Option<Reconciliation>, RepositoryError> {
        reconcile::reconcile(self.store.as_ref(), &self.link, key).await
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ResidentUnavailable`] if it does not.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn ping(&self) -> Result<(), RepositoryError> {
        self.link.waiting().await.map(drop).map_err(unavailable)
    }

    async fn read(&self, key: StockKey) -> Result<StockRecord, RepositoryError> {
        let until = Instant::now() + self.patience;
        loop {
            let place = match self.residences.known(key) {
                Some(place) => place,
                None => match self.residences.find(key).await? {
                    Some(place) => place,
                    None => {
                        let row = self.store.read(key).await?.ok_or(RepositoryError::NotFound { key })?;
                        if row.residence.is_none() {
                            return Ok(row.record);
                        }
                        self.residences.ensure(key).await?
                    }
                },
            };
            let seen = self.link.look(key).await.map_err(unavailable)?;
            let is_current = seen.is_open && seen.epoch == place.epoch.to_string();
            if let Some(figures) = seen.figures.filter(|_| is_current) {
                let Place { id, product_id, .. } = place;
                return Ok(StockRecord { id, product_id, key, levels: figures.levels, version: figures.version });
            }
            self.residences.forget(key, place.epoch);
            if Instant::now() >= until {
                return Err(RepositoryError::Overloaded);
            }
        }
    }
}

impl StockRepository for Resident {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async { self.carry_out(request.identify()?).await })
    }

    /// The record as Redis has it, or the database where it is not resident.
    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(self.read(key))
    }

    /// As the database has it, once everything that was answered before has been written back.
    fn logs(
        &self,
        key: StockKey,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'_, Result<Page<LoggedEntry>, RepositoryError>> {
        Box::pin(async move {
            self.flusher.settle_record(key).await?;
            Ok(self.store.logs(key, before, size).await?)
        })
    }

    /// As the database has it, once everything that was answered before has been written back.
    fn holds<'a>(
        &'a self,
        order_id: &'a OrderId,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<Hold>, RepositoryError>> {
        Box::pin(async move {
            self.flusher.settle().await?;
            Ok(self.store.holds(order_id, before, size).await?)
        })
    }
}
