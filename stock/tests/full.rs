//! A database in which nothing more fits, with each repository: it is named, nothing is half done, and
//! when there is room again everything goes on.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;

use backends::{Backend, sim_locks};
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository, suite};
use stock::request::{Change, Request};
use stock::store::url::SqliteUrl;
use stock::store::{self, DatabaseUrl};
use testkit::SqlServer;

/// Locks one unit after the other, so many at once, until nothing more fits; how many were answered.
async fn fill(repository: &dyn StockRepository, key: StockKey, at_once: usize) -> u64 {
    let mut answered = 0;
    let error = loop {
        let changes = vec![Change::new(key, Operation::Lock, suite::quantity(1)); at_once];
        match repository.apply(Request::batch(changes)).await {
            Ok(answer) => answered += answer.records.len() as u64,
            Err(error) => break error,
        }
        assert!(answered < 100_000, "it does not fill up");
    };
    assert_eq!(error.code(), "store_full", "{error:?}");
    answered
}

/// The disk fills up in the middle of a rush: nothing is half done, and what was answered is there.
async fn fills_up_on_mariadb(over: impl Fn(&Backend) -> Arc<dyn StockRepository>) {
    let server = SqlServer::builder()
        .arg("--innodb-file-per-table=0")
        .arg("--innodb-data-file-path=ibdata1:12M:autoextend:max:16M")
        .start()
        .await
        .unwrap();
    let backend = Backend::on(server).await;
    let repository = over(&backend);
    let key = suite::make(repository.as_ref(), 100_000).await;
    let answered = fill(repository.as_ref(), key, 200).await;
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert_eq!((audit.record.version, audit.record.levels.locked()), (answered, answered));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_on_a_full_mariadb() {
    fills_up_on_mariadb(Backend::row_lock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_on_a_full_mariadb() {
    fills_up_on_mariadb(|backend| backend.redlocked(&sim_locks())).await;
}

/// SQLite ends a transaction by itself when nothing more fits, and whoever counts on having to end it is wrong from
/// then on. There is a single writer.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_works_again_when_there_is_room() {
    let backend = Backend::sqlite().await;
    let key = suite::make(backend.row_lock().as_ref(), 100_000).await;
    backend.by_hand("CREATE TABLE filler (x)").await;
    let fill_it = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
                   INSERT INTO filler SELECT randomblob(4000) FROM n";
    backend.by_hand(fill_it).await;
    let pages = u32::try_from(backend.by_hand("PRAGMA page_count").await[0].unwrap()).unwrap();
    let path = backend.url.strip_prefix("sqlite:").unwrap();
    let url = DatabaseUrl::Sqlite(SqliteUrl::new(path).max_pages(pages + 5));
    let store = store::open(&url).await.unwrap();
    let row_lock: Arc<dyn StockRepository> = Arc::new(RowLock::new(store.clone()));
    let redlocked: Arc<dyn StockRepository> = Arc::new(Redlocked::new(store.clone(), sim_locks()));

    let mut answered = 0;
    for repository in [&row_lock, &redlocked, &row_lock] {
        answered += fill(repository.as_ref(), key, 1).await;
    }
    backend.by_hand("DROP TABLE filler").await;
    for repository in [&row_lock, &redlocked] {
        repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
        answered += 1;
    }
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert_eq!((audit.record.version, audit.record.levels.locked()), (answered, answered));
}

/// The same where the file says so itself, in whatever statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_sqlite_ended_by_itself_is_over() {
    let backend = Backend::sqlite().await;
    let repositories = [backend.row_lock(), backend.redlocked(&sim_locks())];
    let key = suite::make(repositories[0].as_ref(), 10).await;
    for repository in &repositories {
        let trigger = "CREATE TRIGGER ends BEFORE INSERT ON product_stock_logs \
                       BEGIN SELECT RAISE(ROLLBACK, 'out of luck'); END";
        backend.by_hand(trigger).await;
        for _ in 0..2 {
            let lock = Change::new(key, Operation::Lock, suite::quantity(1));
            let error = repository.change(lock).await.unwrap_err();
            assert!(format!("{error:?}").contains("out of luck"), "{error:?}");
        }
        backend.by_hand("DROP TRIGGER ends").await;
        repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
    }
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.version, 2);
}
