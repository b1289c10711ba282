//! Transactions that are interrupted at a known moment: the database is killed between COMMIT and its
//! answer, the answer is lost, or the program itself fails. What was asked for is done once, or nobody
//! knows and it can be asked for again.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backends::{Backend, sim_locks};
use stock::config::LEASE;
use stock::error::RepositoryError;
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository, suite};
use stock::request::{Change, Request, RequestId};
use stock::store;
use stock::workbench::Answer;
use testkit::{Mode, Proxy, SqlServer, eventually};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(30);

type Outcome = Result<Answer, RepositoryError>;

/// All is written, and COMMIT is about to be sent.
const ROW_LOCK: &str = "row-lock-written";
const REDLOCK: &str = "redlocked-before-commit";

/// Rows have been read for a new lease.
const CLAIMED: &str = "redlocked-claimed";

/// Does something when this moment comes for the first time; whether it has.
fn once_at(moment: &str, act: impl Fn() + Send + Sync + 'static) -> Arc<AtomicBool> {
    let (come, flag) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let told = come.clone();
    let act = move || {
        if !flag.swap(true, Ordering::SeqCst) {
            act();
            told.store(true, Ordering::SeqCst);
        }
    };
    fail::cfg_callback(moment, act).unwrap();
    come
}

/// A repository that reaches its database through a proxy.
struct Apart {
    backend: Backend,
    proxy: Arc<Proxy>,
    repository: Arc<dyn StockRepository>,
    moment: &'static str,
}

impl Apart {
    async fn new(backend: Backend, moment: &'static str) -> Self {
        let proxy = Arc::new(Proxy::start(backend.server().addr()).await);
        let direct = format!(":{}/", backend.server().port());
        let url = backend.url.replace(&direct, &format!(":{}/", proxy.addr().port())).parse().unwrap();
        let repository: Arc<dyn StockRepository> = match moment {
            ROW_LOCK => Arc::new(RowLock::new(store::open(&url).await.unwrap())),
            _ => Arc::new(Redlocked::new(store::open_for_leases(&url, LEASE).await.unwrap(), sim_locks())),
        };
        Self { backend, proxy, repository, moment }
    }

    /// From COMMIT on, this is what becomes of what is sent.
    fn at_commit(&self, mode: Mode) -> Arc<AtomicBool> {
        let proxy = self.proxy.clone();
        once_at(self.moment, move || proxy.set(mode))
    }

    /// The ways there are broken; new ones are open.
    fn cut(&self) {
        self.proxy.reset_connections();
        self.proxy.set(Mode::Forward);
    }

    async fn entries(&self, key: StockKey) -> u64 {
        // Our own connections were broken too.
        eventually(SOON, async || self.backend.store.read(key).await.is_ok()).await;
        suite::explained(self.backend.store.as_ref(), key).await.log.entries
    }
}

/// What the case is.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// Whether the caller gives an id.
    named: bool,
    /// Whether COMMIT reaches the database before it is killed.
    committed: bool,
    /// Whether the database stays away for longer than anybody looks for the answer.
    away: bool,
}

const CASES: [Case; 5] = [
    Case { named: true, committed: true, away: false },
    Case { named: false, committed: true, away: false },
    Case { named: true, committed: false, away: false },
    Case { named: false, committed: false, away: false },
    Case { named: false, committed: true, away: true },
];

/// The server is killed when it has got COMMIT, or just before; its answer never comes.
async fn killed_between_commit_and_its_answer(apart: &Apart, case: Case) {
    let lock = |key| Change::new(key, Operation::Lock, suite::quantity(1));
    let key = suite::make(apart.repository.as_ref(), 10).await;
    apart.repository.change(lock(key)).await.unwrap();
    let mut request = Request::one(lock(key));
    request.request_id = case.named.then(RequestId::make);
    let come = apart.at_commit(if case.committed { Mode::BlackHoleReplies } else { Mode::BlackHoleRequests });
    let asked = tokio::spawn({
        let (repository, request) = (apart.repository.clone(), request.clone());
        async move { repository.apply(request).await }
    });
    eventually(SOON, async || come.load(Ordering::SeqCst)).await;
    fail::remove(apart.moment);
    if case.committed {
        eventually(SOON, async || apart.entries(key).await == 2).await;
    }
    let outcome = killed(apart, case, asked).await;
    let id = id_of(&outcome, case);
    if let Some(given) = &request.request_id {
        assert_eq!(*given, id);
    }
    let was_there = apart.entries(key).await == 2;
    assert!(was_there || outcome.is_err(), "{case:?}: it was answered");
    let again = apart.repository.apply(request.id(id)).await.unwrap();
    assert_eq!(again.replayed, was_there, "{case:?}: {again:?}");
    assert_eq!(apart.entries(key).await, 2, "{case:?}: once");
}

/// Kills the server and starts it again, at once or when nobody waits any more; what was told.
async fn killed(apart: &Apart, case: Case, asked: JoinHandle<Outcome>) -> Outcome {
    let server = apart.backend.server();
    server.kill().await.unwrap();
    let killed = Instant::now();
    apart.cut();
    if case.away {
        let outcome = asked.await.unwrap();
        server.restart().await.unwrap();
        return outcome;
    }
    server.restart().await.unwrap();
    let is_back = killed.elapsed();
    let outcome = asked.await.unwrap();
    assert!(outcome.is_ok() || is_back > Duration::from_secs(3), "{case:?}, back after {is_back:?}: {outcome:?}");
    outcome
}

/// What it can be asked for again by; anything but an answer is an unknown outcome.
fn id_of(outcome: &Outcome, case: Case) -> RequestId {
    match outcome {
        Ok(answer) => {
            assert!(!answer.replayed && !case.away, "{case:?}: {answer:?}");
            answer.request_id.clone()
        }
        Err(RepositoryError::OutcomeUnknown { request_id, .. }) => request_id.clone(),
        Err(error) => panic!("{case:?}: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_with_mariadb_killed_at_commit() {
    let apart = Apart::new(Backend::mariadb().await, ROW_LOCK).await;
    for case in CASES {
        killed_between_commit_and_its_answer(&apart, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_with_mariadb_killed_at_commit() {
    let apart = Apart::new(Backend::mariadb().await, REDLOCK).await;
    for case in CASES {
        killed_between_commit_and_its_answer(&apart, case).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn container_mysql9_killed_at_commit() {
    for moment in [ROW_LOCK, REDLOCK] {
        let apart = Apart::new(Backend::on(SqlServer::container_mysql9().await.unwrap()).await, moment).await;
        for case in [CASES[0], CASES[3]] {
            killed_between_commit_and_its_answer(&apart, case).await;
        }
    }
}

/// The answer to COMMIT is lost, and while it is looked for somebody has one of the rows locked: any other one tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_holds_keeps_nobody_from_the_outcome() {
    let apart = Apart::new(Backend::mariadb().await, REDLOCK).await;
    let mut keys = [suite::make(apart.repository.as_ref(), 10).await, suite::make(apart.repository.as_ref(), 10).await];
    keys.sort_unstable();
    for (round, held) in (1..).zip(keys) {
        let changes = keys.map(|key| Change::new(key, Operation::Lock, suite::quantity(1)));
        let come = apart.at_commit(Mode::BlackHoleReplies);
        let asked = tokio::spawn({
            let repository = apart.repository.clone();
            async move { repository.apply(Request::batch(changes.into())).await }
        });
        eventually(SOON, async || come.load(Ordering::SeqCst)).await;
        fail::remove(apart.moment);
        eventually(SOON, async || apart.entries(held).await == round).await;
        let mut holder = apart.backend.store.begin().await.unwrap();
        holder.claim(&[held]).await.unwrap();
        apart.cut();
        let answer = asked.await.unwrap().unwrap();
        assert!(!answer.replayed);
        holder.rollback().await;
        for key in keys {
            assert_eq!(apart.entries(key).await, round);
        }
    }
}

/// InnoDB shows what was committed to others a moment before it is on the disk. A repeat that is answered in this
/// moment must not be the only one who knows: it commits a change of its own, which comes to the disk after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_after_a_commit_of_its_own() {
    let backend = Backend::mariadb().await;
    for repository in [backend.row_lock(), backend.redlocked(&sim_locks())] {
        let key = suite::make(repository.as_ref(), 10).await;
        let request = Request::one(Change::new(key, Operation::Lock, suite::quantity(1))).id(RequestId::make());
        let first = repository.apply(request.clone()).await.unwrap();
        let commits = commits(&backend).await;
        let updated = updated_at(&backend, key).await;
        let again = repository.apply(request).await.unwrap();
        assert_eq!(again, Answer { replayed: true, ..first });
        assert!(self::commits(&backend).await > commits, "nothing was committed");
        assert!(updated_at(&backend, key).await > updated, "what was committed was nothing");
        let audit = suite::explained(backend.store.as_ref(), key).await;
        assert_eq!((audit.record.version, audit.log.entries), (1, 1));
        // A refusal rests on nothing that could get lost.
        let commits = self::commits(&backend).await;
        repository.change(Change::new(key, Operation::Lock, suite::quantity(10))).await.unwrap_err();
        assert_eq!(self::commits(&backend).await, commits);
    }
}

async fn commits(backend: &Backend) -> u64 {
    let rows = backend.server().query("", "SHOW GLOBAL STATUS LIKE 'Com_commit'").await.unwrap();
    rows[0][1].as_ref().unwrap().parse().unwrap()
}

async fn updated_at(backend: &Backend, key: StockKey) -> i64 {
    let sql = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', updated_at) FROM product_stocks WHERE variant_id = ";
    backend.by_hand(&format!("{sql}{}", key.variant_id)).await[0].unwrap()
}

/// A transaction that panics takes its own requests along, and nothing else: there are only two places for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_transaction_ends_that_transaction() {
    let backend = Backend::sqlite().await;
    let repository = backend.redlocked(&sim_locks());
    let keys = [suite::make(repository.as_ref(), 100).await, suite::make(repository.as_ref(), 100).await];
    let lock = |key| Change::new(key, Operation::Lock, suite::quantity(1));
    for changes in [vec![lock(keys[0])], vec![lock(keys[0]), lock(keys[1])], vec![lock(keys[1])]] {
        once_at(CLAIMED, || panic!("as it was told to"));
        let outcome = tokio::time::timeout(SOON, repository.apply(Request::batch(changes.clone()))).await;
        let error = outcome.expect("it is answered").unwrap_err();
        assert_eq!(error.code(), "outcome_unknown", "{error:?}");
        let outcome = tokio::time::timeout(SOON, repository.apply(Request::batch(changes))).await;
        outcome.expect("its records go on").unwrap();
    }
    for key in keys {
        assert_eq!(suite::explained(backend.store.as_ref(), key).await.log.entries, 2);
    }
}
