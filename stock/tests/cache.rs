//! The cache, on real Redis servers that are slow, gone, stopped and back.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backends::Backend;
use stock::cache::{self, Cached, Level, Read, RedisPlace, Settings, Warmed};
use stock::error::RepositoryError;
use stock::operation::{Operation, StockKey};
use stock::record::StockRecord;
use stock::repository::suite::{self, fresh_key, make, quantity};
use stock::repository::{RowLock, StockRepository};
use stock::request::{Change, Request, RequestId};
use stock::store::{BoxFuture, Store};
use stock::workbench::Answer;
use testkit::{RedisServer, Reply, Restart, eventually};
use tokio::sync::Semaphore;

/// How long anything may take to be heard of on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A repository that counts reads, and holds them up at a gate after they have read.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn StockRepository>,
    reads: AtomicU64,
    gate: Semaphore,
}

impl Watched {
    /// With an open gate.
    fn new(store: &Arc<dyn Store>) -> Arc<Self> {
        let inner = Arc::new(RowLock::new(store.clone()));
        Arc::new(Self { inner, reads: AtomicU64::new(0), gate: Semaphore::new(Semaphore::MAX_PERMITS) })
    }

    fn close(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    fn open(&self) {
        self.gate.add_permits(1_000);
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl StockRepository for Watched {
    fn store(&self) -> &Arc<dyn Store> {
        self.inner.store()
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        self.inner.apply(request)
    }

    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(async move {
            let found = self.inner.get(key).await;
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            found
        })
    }
}

fn settings(redis: &RedisServer) -> Settings {
    let place = RedisPlace::new(redis.addr().ip().to_string(), redis.port());
    // Patient, because the machine may be busy; where the bound matters a test sets its own.
    Settings { redis: Some(place), patience: Duration::from_secs(2), ..Settings::default() }
}

/// An instance with a cache, on a store that others may use too.
struct Instance {
    repository: Arc<Watched>,
    cached: Cached,
}

impl Instance {
    fn new(backend: &Backend, settings: &Settings) -> Self {
        let repository = Watched::new(&backend.store);
        let cached = Cached::new(repository.clone(), settings);
        Self { repository, cached }
    }

    /// One that hears the others by now.
    async fn connected(backend: &Backend, redis: &RedisServer) -> Self {
        let instance = Self::new(backend, &settings(redis));
        instance.hears().await;
        instance
    }

    /// Waits until records are kept for longer than a moment: an instance that hears nothing keeps them
    /// for half a second.
    async fn hears(&self) {
        let key = make(&self.cached, 1).await;
        let blind = Settings::default().blind;
        eventually(SOON, || async {
            self.cached.read(key).await.unwrap();
            tokio::time::sleep(blind + Duration::from_millis(50)).await;
            self.read(key).await.level == Level::Local
        })
        .await;
    }

    async fn read(&self, key: StockKey) -> Read {
        self.cached.read(key).await.unwrap()
    }

    async fn lock(&self, key: StockKey) -> StockRecord {
        self.cached.change(Change::new(key, Operation::Lock, quantity(1))).await.unwrap()
    }
}

/// The hash of a record, as an outside program would read it.
async fn hash(redis: &RedisServer, key: &str) -> Vec<(String, String)> {
    let Reply::List(items) = redis.command(&["HGETALL", key]).await.unwrap() else { panic!("no hash") };
    let words: Vec<_> = items.iter().map(|item| item.text().unwrap().to_owned()).collect();
    words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

async fn version_in(redis: &RedisServer, key: &str) -> Option<u64> {
    let found = hash(redis, key).await.into_iter().find(|(field, _)| field == "version");
    found.map(|(_, version)| version.parse().unwrap())
}

fn name(key: StockKey) -> String {
    format!("product_stock:{}:{}", key.variant_id, key.warehouse_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_repository_is_a_repository() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let cached = Cached::new(backend.row_lock(), &settings(&redis.unwrap()));
    suite::check(Arc::new(cached.clone()), backend.store.clone()).await;
    assert!(cached.hits().local > 0, "{:?}", cached.hits());
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_instances_side_by_side_lose_nothing() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::shared());
    let redis = redis.unwrap();
    let instance = || Arc::new(Cached::new(backend.row_lock(), &settings(&redis))) as Arc<dyn StockRepository>;
    suite::together(&[instance(), instance()], backend.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_level_answers_and_says_so() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let (first, second) = tokio::join!(Instance::connected(&backend, &redis), Instance::connected(&backend, &redis));
    let key = make(backend.row_lock().as_ref(), 10).await;
    let before = first.cached.hits();
    assert_eq!(first.read(key).await.level, Level::Database);
    assert_eq!(first.read(key).await.level, Level::Local);
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(0) }).await;
    assert_eq!(second.read(key).await.level, Level::Redis);
    assert_eq!(second.read(key).await.level, Level::Local);
    let hits = first.cached.hits();
    assert_eq!((hits.local - before.local, hits.database - before.database), (1, 1));

    let record = first.lock(key).await;
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(1) }).await;
    let expected = [
        ("id", record.id.to_string()),
        ("product_id", "1".into()),
        ("stock", "10".into()),
        ("available_stock", "9".into()),
        ("locked_stock", "1".into()),
        ("reserved_stock", "0".into()),
        ("version", "1".into()),
    ];
    assert_eq!(hash(&redis, &name(key)).await, expected.map(|(field, value)| (field.to_owned(), value)));
    let Reply::Int(ttl) = redis.command(&["PTTL", &name(key)]).await.unwrap() else { panic!("no time to live") };
    assert!((200_000..=300_000).contains(&ttl), "{ttl} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_does_not_bring_back_what_it_read() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let (slow, quick) = tokio::join!(Instance::connected(&backend, &redis), Instance::connected(&backend, &redis));
    let key = make(backend.row_lock().as_ref(), 10).await;
    slow.repository.close();
    let (reads, cached) = (slow.repository.reads(), slow.cached.clone());
    let reading = tokio::spawn(async move { cached.read(key).await.unwrap() });
    eventually(SOON, || async { slow.repository.reads() > reads }).await;

    // It has read version 0 and not come back with it yet.
    quick.lock(key).await;
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(1) }).await;
    slow.repository.open();
    assert_eq!(reading.await.unwrap().record.version, 0, "it began before the change");

    // Whatever it has sent to Redis comes before this.
    let other = slow.lock(make(&slow.cached, 1).await).await;
    eventually(SOON, || async { version_in(&redis, &name(other.key)).await == Some(1) }).await;
    assert_eq!(version_in(&redis, &name(key)).await, Some(1));
    eventually(SOON, || async { slow.read(key).await.record.version == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reader_goes_to_the_database_for_all() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let instance = Instance::connected(&backend, &redis).await;
    let key = make(backend.row_lock().as_ref(), 10).await;
    let before = instance.repository.reads();
    instance.repository.close();
    let mut readers = tokio::task::JoinSet::new();
    let started = Arc::new(AtomicU64::new(0));
    for _ in 0..50 {
        let (cached, started) = (instance.cached.clone(), started.clone());
        readers.spawn(async move {
            started.fetch_add(1, Ordering::SeqCst);
            cached.read(key).await.unwrap()
        });
    }
    eventually(SOON, || async { started.load(Ordering::SeqCst) == 50 && instance.repository.reads() > before }).await;
    // One that goes away hands over to the others.
    instance.repository.open();
    for read in readers.join_all().await {
        assert_eq!(read.record.version, 0);
    }
    assert_eq!(instance.repository.reads() - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_elsewhere_are_heard_of() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let (first, second) = tokio::join!(Instance::connected(&backend, &redis), Instance::connected(&backend, &redis));
    let key = make(&first.cached, 10).await;
    for version in 1..=5 {
        first.read(key).await;
        assert_eq!(first.read(key).await.level, Level::Local);
        let reads = first.repository.reads();
        second.lock(key).await;
        eventually(SOON, || async { first.read(key).await.record.version == version }).await;
        assert_eq!(first.repository.reads(), reads, "Redis had it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_reads_what_it_has_written_whatever_redis_says() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let instance = Instance::connected(&backend, &redis).await;
    let key = make(&instance.cached, 10).await;
    instance.read(key).await;
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(0) }).await;
    let old = hash(&redis, &name(key)).await;
    instance.lock(key).await;
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(1) }).await;

    // It comes back as it was a moment before, as a replica would that takes over.
    redis.restart(Restart::Empty).await.unwrap();
    let mut command = vec!["HSET".to_owned(), name(key)];
    command.extend(old.into_iter().flat_map(|(field, value)| [field, value]));
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    redis.command(&command).await.unwrap();
    instance.hears().await;
    assert_eq!(instance.read(key).await.record.version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_given_again_is_not_news() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let key = make(backend.row_lock().as_ref(), 10).await;
    let request = Request::one(Change::new(key, Operation::Lock, quantity(1))).id(RequestId::make());
    backend.row_lock().apply(request.clone()).await.unwrap();
    backend.row_lock().change(Change::new(key, Operation::Lock, quantity(1))).await.unwrap();
    let instance = Instance::connected(&backend, &redis).await;
    let answer = instance.cached.apply(request).await.unwrap();
    assert!(answer.replayed && answer.records[0].version == 1, "{answer:?}");
    assert_eq!(instance.read(key).await.record.version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_comes_back_is_used_again() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let (first, second) = tokio::join!(Instance::connected(&backend, &redis), Instance::connected(&backend, &redis));
    let key = make(&first.cached, 10).await;
    first.read(key).await;
    redis.kill().await.unwrap();
    second.lock(key).await;
    assert_eq!(second.read(key).await.record.version, 1, "its own change");
    // No hint can come: what is local is dropped, and kept for a moment only.
    eventually(SOON, || async { first.read(key).await.record.version == 1 }).await;

    redis.restart(Restart::Empty).await.unwrap();
    tokio::join!(first.hears(), second.hears());
    // What was committed meanwhile is brought there.
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(1) }).await;
    first.read(key).await;
    second.lock(key).await;
    let reads = first.repository.reads();
    eventually(SOON, || async { first.read(key).await.record.version == 2 }).await;
    assert_eq!(first.repository.reads(), reads, "Redis had it");
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_redis_that_hangs_delays_nobody_for_long() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let settings = Settings { blind: Duration::ZERO, patience: Duration::from_millis(50), ..settings(&redis) };
    let instance = Instance::new(&backend, &settings);
    let key = make(&instance.cached, 1_000_000).await;
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(0) }).await;
    redis.pause().await.unwrap();

    let mut slowest = Duration::ZERO;
    let started = Instant::now();
    let mut version = 0;
    while started.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        version += 1;
        assert_eq!(instance.lock(key).await.version, version);
        assert_eq!(instance.read(key).await.record.version, version);
        let missing = instance.cached.read(fresh_key()).await;
        assert!(matches!(missing, Err(RepositoryError::NotFound { .. })), "{missing:?}");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert!(version > 20, "{version} changes in three seconds");

    redis.resume().await.unwrap();
    eventually(SOON, || async { version_in(&redis, &name(key)).await == Some(version) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_records_are_at_hand() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let (first, second) = tokio::join!(Instance::connected(&backend, &redis), Instance::connected(&backend, &redis));
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(make(backend.row_lock().as_ref(), 10).await);
    }
    let mut wanted = keys.clone();
    wanted.push(fresh_key());
    let reads = (first.repository.reads(), second.repository.reads());
    assert_eq!(first.cached.warm(&wanted).await.unwrap(), Warmed { redis: 0, database: 20, missing: 1 });
    for key in &keys {
        eventually(SOON, async || version_in(&redis, &name(*key)).await == Some(0)).await;
    }
    assert_eq!(second.cached.warm(&wanted).await.unwrap(), Warmed { redis: 20, database: 0, missing: 1 });
    for key in keys {
        assert_eq!(first.read(key).await.level, Level::Local);
        assert_eq!(second.read(key).await.level, Level::Local);
    }
    assert_eq!((first.repository.reads(), second.repository.reads()), reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_clearing_forgets_newer_versions() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    let (first, second) = tokio::join!(Instance::connected(&backend, &redis), Instance::connected(&backend, &redis));
    let key = make(&first.cached, 10).await;
    first.lock(key).await;
    first.lock(key).await;
    eventually(SOON, || async { second.read(key).await.record.version == 2 }).await;

    // The database as it was before.
    let variant = key.variant_id;
    backend.by_hand(&format!("DELETE FROM product_stock_logs WHERE variant_id = {variant}")).await;
    let before = "available_stock = 10, locked_stock = 0, version = 0";
    backend.by_hand(&format!("UPDATE product_stocks SET {before} WHERE variant_id = {variant}")).await;
    assert_eq!(first.read(key).await.record.version, 2, "nobody has told");

    let place = settings(&redis).redis.unwrap();
    let (generation, removed) = cache::clear(&place).await.unwrap();
    assert!(generation == 1 && removed >= 1, "{generation}, {removed}");
    for instance in [&first, &second] {
        eventually(SOON, || async { instance.read(key).await.record.version == 0 }).await;
    }
    let later = Instance::connected(&backend, &redis).await;
    assert_eq!(later.lock(key).await.version, 1);
    for instance in [&first, &second] {
        eventually(SOON, || async { instance.read(key).await.record.version == 1 }).await;
    }
    let name = format!("product_stock:g1:{}:0", key.variant_id);
    eventually(SOON, || async { version_in(&redis, &name).await == Some(1) }).await;
    assert_eq!(redis.keys("product_stock:[0-9]*:0").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_redis_there_is_this_process_for_a_moment() {
    let backend = Backend::sqlite().await;
    let (first, second) =
        (Instance::new(&backend, &Settings::default()), Instance::new(&backend, &Settings::default()));
    let key = make(&first.cached, 10).await;
    second.read(key).await;
    first.lock(key).await;
    assert_eq!(first.read(key).await, Read { record: first.cached.get(key).await.unwrap(), level: Level::Local });
    eventually(SOON, || async { second.read(key).await.record.version == 1 }).await;
}
