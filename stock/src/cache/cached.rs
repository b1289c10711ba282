//! A repository with the cache in front of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::keeper::Keeper;
use super::local::Mark;
use super::pending::Errand;
use super::remote::Reading;
use super::shared::Shared;
use super::{Hits, Level, Read, Settings};
use crate::error::RepositoryError;
use crate::hold::Hold;
use crate::log::LoggedEntry;
use crate::operation::{Id, Quantity, StockKey};
use crate::record::StockRecord;
use crate::repository::StockRepository;
use crate::request::{OrderId, Request};
use crate::store::{BoxFuture, Creation, Filter, MAX_PAGE, Page, PageSize, Store};
use crate::workbench::Answer;

/// What was read longer ago than this is not brought to Redis: it may have been newer versions' turn to
/// expire meanwhile.
const FRESH: Duration = Duration::from_secs(5);

/// After how long a record of an unknown outcome is dropped once more: the transaction in doubt has
/// ended by then.
const DOUBT: Duration = Duration::from_secs(30);

/// A repository whose records are close at hand. Reads of single records are answered by the nearest
/// level that has them; everything else is the repository's own.
#[derive(Debug, Clone)]
pub struct Cached {
    inner: Arc<dyn StockRepository>,
    shared: Arc<Shared>,
    _keeper: Option<Arc<Task>>,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What warming up has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warmed {
    /// Records that Redis had.
    pub redis: usize,
    /// Records that came from the database.
    pub database: usize,
    /// Keys without a record, and records that live elsewhere.
    pub missing: usize,
}

impl Cached {
    /// Puts a cache in front of a repository. Connects to nothing yet: a task that lives as long as the
    /// last clone of this value sees to that, and until it has, or without a Redis, there is only this
    /// process.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(inner: Arc<dyn StockRepository>, settings: &Settings) -> Self {
        let shared = Arc::new(Shared::new(settings));
        let keeper = settings.redis.clone().map(|place| {
            let keeper = Keeper::new(shared.clone(), place, settings);
            Arc::new(Task(tokio::spawn(async { match keeper.run().await {} })))
        });
        Self { inner, shared, _keeper: keeper }
    }

    /// How many reads each level has answered so far.
    #[must_use]
    pub fn hits(&self) -> Hits {
        self.shared.hits()
    }

    /// Waits until Redis has everything that was committed so far, at most so long; whether it has. To be
    /// asked for before the end, so that no older value stays there.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it only waits.
    pub async fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while !self.shared.pending.is_empty() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        true
    }

    /// Waits until the cache is whole: Redis answers and other instances are heard; at most so long. Whether it is; never
    /// where there is no Redis.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it only waits.
    pub async fn connected(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.shared.remote.is_some() && Instant::now() < until {
            if self.shared.local.hears() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        false
    }

    /// Brings records close before anybody asks for them: what Redis has of a thousand at a time in one
    /// pipeline, the rest in one query.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Store`]. A Redis that does not answer is none.
    pub async fn warm(&self, keys: &[StockKey]) -> Result<Warmed, RepositoryError> {
        let mut warmed = Warmed::default();
        for keys in keys.chunks(MAX_PAGE as usize) {
            let mark = self.shared.local.mark();
            let found = self.ask_redis(keys).await;
            found.iter().flatten().for_each(|record| self.shared.local.put(*record, mark));
            let missing = keys.iter().zip(&found).filter_map(|(key, record)| record.is_none().then_some(*key));
            let missing: Vec<_> = missing.collect();
            warmed.redis += keys.len() - missing.len();
            if missing.is_empty() {
                continue;
            }
            let rows = self.inner.store().read_many(&missing).await?;
            let here = rows.iter().filter(|row| row.residence.is_none());
            let records: Vec<_> = here.map(|row| row.record).collect();
            records.iter().for_each(|record| self.keep(*record, mark));
            warmed.database += records.len();
            warmed.missing += missing.len() - records.len();
        }
        Ok(warmed)
    }

    /// For each key its record, if Redis has it and it is not older than what was heard of.
    async fn ask_redis(&self, keys: &[StockKey]) -> Vec<Option<StockRecord>> {
        let nothing = || vec![None; keys.len()];
        let Some(remote) = &self.shared.remote else { return nothing() };
        match remote.read(keys).await {
            Reading::Found(mut found) => {
                for record in &mut found {
                    *record = record.filter(|record| record.version >= self.shared.local.floor(record.key));
                }
                found
            }
            Reading::NewGeneration => {
                self.shared.start_over();
                nothing()
            }
            Reading::Silence => nothing(),
        }
    }

    /// Keeps a record on both levels.
    fn keep(&self, record: StockRecord, mark: Mark) {
        self.shared.local.put(record, mark);
        self.shared.send(Errand::Put(record));
    }

    async fn find(&self, key: StockKey) -> Result<Read, RepositoryError> {
        let found = self.look(key).await?;
        self.shared.answered(found.level);
        Ok(found)
    }

    async fn look(&self, key: StockKey) -> Result<Read, RepositoryError> {
        if let Some(record) = self.shared.local.get(key) {
            return Ok(Read { record, level: Level::Local });
        }
        let floor = self.shared.local.floor(key);
        match self.shared.flights.join(key, self.fetch(key)).await {
            // A flight that had begun before may bring what is too old for this reader.
            Some(Ok(found)) if found.record.version < floor => self.fetch_from_database(key).await,
            Some(found) => found,
            None => self.fetch_from_database(key).await,
        }
    }

    async fn fetch(&self, key: StockKey) -> Result<Read, RepositoryError> {
        let mark = self.shared.local.mark();
        if let [Some(record)] = self.ask_redis(&[key]).await[..] {
            self.shared.local.put(record, mark);
            return Ok(Read { record, level: Level::Redis });
        }
        self.fetch_from_database(key).await
    }

    async fn fetch_from_database(&self, key: StockKey) -> Result<Read, RepositoryError> {
        let (mark, asked) = (self.shared.local.mark(), Instant::now());
        let record = self.inner.get(key).await?;
        self.shared.local.put(record, mark);
        if asked.elapsed() < FRESH {
            self.shared.send(Errand::Put(record));
        }
        Ok(Read { record, level: Level::Database })
    }

    /// Carries a request out and notes what came of it.
    async fn carry_out(self, request: Request) -> Result<Answer, RepositoryError> {
        let mark = self.shared.local.mark();
        let keys: Vec<_> = request.changes.iter().map(|change| change.key).collect();
        let outcome = self.inner.apply(request).await;
        match &outcome {
            // What a replayed answer says may be long ago.
            Ok(answer) if !answer.replayed => answer.records.iter().for_each(|record| self.committed(*record, mark)),
            Err(RepositoryError::OutcomeUnknown { .. }) => self.doubt(keys),
            _ => {}
        }
        outcome
    }

    fn committed(&self, record: StockRecord, mark: Mark) {
        self.keep(record, mark);
        self.shared.flights.cut(record.key);
    }

    /// Nobody knows what has become of these records, and it may yet happen.
    fn doubt(&self, keys: Vec<StockKey>) {
        let shared = self.shared.clone();
        let drop_them = move || {
            for &key in &keys {
                shared.local.forget(key);
                shared.flights.cut(key);
                shared.send(Errand::Doubt(key));
            }
        };
        drop_them();
        tokio::spawn(async move {
            tokio::time::sleep(DOUBT).await;
            drop_them();
        });
    }
}

impl StockRepository for Cached {
    fn store(&self) -> &Arc<dyn Store> {
        self.inner.store()
    }

    /// As the repository behind it; but goes on when the future is dropped, so that what was committed
    /// is noted in any case.
    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        let done = tokio::spawn(self.clone().carry_out(request));
        Box::pin(async {
            match done.await {
                Ok(outcome) => outcome,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        })
    }

    fn create(
        &self,
        product_id: Id,
        key: StockKey,
        stock: Quantity,
    ) -> BoxFuture<'_, Result<Creation, RepositoryError>> {
        Box::pin(async move {
            let mark = self.shared.local.mark();
            let creation = self.inner.create(product_id, key, stock).await?;
            if let Creation::Created(record) = creation {
                self.committed(record, mark);
            }
            Ok(creation)
        })
    }

    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(async move { Ok(self.find(key).await?.record) })
    }

    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Read, RepositoryError>> {
        Box::pin(self.find(key))
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<StockRecord>, RepositoryError>> {
        self.inner.list(filter, after, size)
    }

    fn logs(
        &self,
        key: StockKey,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'_, Result<Page<LoggedEntry>, RepositoryError>> {
        self.inner.logs(key, before, size)
    }

    fn holds<'a>(
        &'a self,
        order_id: &'a OrderId,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<Hold>, RepositoryError>> {
        self.inner.holds(order_id, before, size)
    }
}
