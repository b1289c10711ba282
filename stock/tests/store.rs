//! What the databases themselves promise: migrations, checks, errors sorted, sessions set up.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use backends::{Backend, migrated};
use stock::operation::Operation;
use stock::record::{RowWrite, StockRow};
use stock::repository::suite::{explained, fresh_key, make, quantity};
use stock::repository::{RowLock, StockRepository};
use stock::request::{Change, OrderId, Request, RequestId};
use stock::store::{self, DatabaseUrl, StoreError};
use stock::workbench::Workbench;
use tempfile::TempDir;
use testkit::SqlServer;

async fn open(url: &str) -> Result<std::sync::Arc<dyn store::Store>, StoreError> {
    store::open(&url.parse::<DatabaseUrl>().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_start_at_once_migrate_once() {
    let folder = TempDir::new().unwrap();
    // Several files, because it takes luck to meet in the moment in which a new one turns WAL on.
    let files = (0..20).map(|file| format!("sqlite:{}", folder.path().join(format!("{file}.db")).display()));
    let server = SqlServer::start().await.unwrap();
    server.create_database("migrate").await.unwrap();
    for url in files.chain([server.url("migrate")]) {
        let starts: Vec<_> = (0..4).map(|_| tokio::spawn(migrated_owned(url.clone()))).collect();
        for start in starts {
            start.await.unwrap();
        }
    }
}

async fn migrated_owned(url: String) {
    migrated(&url).await;
}

#[tokio::test]
async fn a_database_without_tables_is_told_from_one_that_is_down() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("stock.db");
    let store = open(&format!("sqlite:{}", path.display())).await.unwrap();
    assert!(path.exists(), "a missing file is made");
    let error = store.read(fresh_key()).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingTable(_)), "{error:?}");

    let server = SqlServer::start().await.unwrap();
    server.create_database("empty").await.unwrap();
    let store = open(&server.url("empty")).await.unwrap();
    let error = store.read(fresh_key()).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingTable(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_or_file_that_cannot_be_reached_is_unavailable() {
    for url in ["mysql://root:hush@127.0.0.1:1/stock", "sqlite:/nowhere/stock.db"] {
        let error = open(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hush"));
    }
}

#[tokio::test]
async fn a_schema_from_a_newer_version_is_refused() {
    let backend = Backend::mariadb().await;
    let database = backend.url.rsplit('/').next().unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) VALUES (9999, 'later', TRUE, '', 0)";
    backend.server().query(database, newer).await.unwrap();
    let error = backend.store.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema(_)), "{error:?}");
}

#[tokio::test]
async fn the_tables_refuse_levels_that_cannot_be() {
    let backend = Backend::mariadb().await;
    let database = backend.url.rsplit('/').next().unwrap();
    let key = make(backend.row_lock().as_ref(), 10).await;
    for wrong in [
        "stock = 11",
        "available_stock = -1, locked_stock = 11",
        "available_stock = 11, locked_stock = -1",
        "available_stock = 11, reserved_stock = -1",
        "available_stock = 9007199254740992, stock = 9007199254740992",
        "version = -1",
    ] {
        let sql = format!("UPDATE product_stocks SET {wrong} WHERE variant_id = {}", key.variant_id);
        let refused = backend.server().query(database, &sql).await.unwrap_err().to_string();
        assert!(refused.contains("CONSTRAINT"), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn a_read_only_server_is_told_from_a_broken_one() {
    let backend = Backend::mariadb().await;
    // Root may write to a read-only server; an ordinary user may not.
    for sql in [
        "CREATE USER clerk@'%' IDENTIFIED BY 'hush'",
        "GRANT SELECT, INSERT, UPDATE ON *.* TO clerk@'%'",
        "SET GLOBAL read_only = 1",
    ] {
        backend.server().query("", sql).await.unwrap();
    }
    let url = backend.url.replace("root@", "clerk:hush@");
    let repository = RowLock::new(open(&url).await.unwrap());
    let product = stock::operation::Id::new(1).unwrap();
    let error = repository.create(product, fresh_key(), quantity(1)).await.unwrap_err();
    assert_eq!(error.code(), "store_read_only", "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hush"));
}

/// A writer that is stopped in the middle of a transaction holds the row; others give up after a
/// while, with an error that says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_held_for_long_is_a_conflict() {
    let backend = Backend::mariadb().await;
    let key = make(backend.row_lock().as_ref(), 10).await;
    let mut holder = backend.store.begin().await.unwrap();
    let held = holder.claim(&[key]).await.unwrap()[0];

    let mut other = backend.store.begin().await.unwrap();
    let error = other.claim(&[key]).await.unwrap_err();
    assert!(error.is_conflict(), "{error:?}");
    other.rollback().await;
    holder.rollback().await;
    assert_eq!(backend.store.read(key).await.unwrap(), Some(held));
}

/// SQLite has one writer at a time, and a transaction is one from its beginning: what it reads,
/// nobody overtakes. Writers of another process wait for a while and then say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_that_is_held_for_long_is_a_conflict() {
    let backend = Backend::sqlite().await;
    let other_process = migrated(&backend.url).await;
    let holder = backend.store.begin().await.unwrap();
    let error = other_process.begin().await.map(drop).unwrap_err();
    assert!(error.is_conflict(), "{error:?}");
    holder.rollback().await;
    other_process.begin().await.unwrap().rollback().await;
}

/// Written from an old reading, a record would undo what was done since.
#[tokio::test]
async fn a_stale_version_or_fence_is_never_written() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        let repository = backend.row_lock();
        let key = make(repository.as_ref(), 10).await;
        let old = backend.store.read(key).await.unwrap().unwrap();
        repository.change(Change::new(key, Operation::Lock, quantity(1))).await.unwrap();

        let stale = locked(&old, 5, None);
        let mut transaction = backend.store.begin().await.unwrap();
        let error = transaction.write(&[stale]).await.unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
        transaction.rollback().await;

        let fenced = locked(&backend.store.read(key).await.unwrap().unwrap(), 1, Some(7));
        let mut transaction = backend.store.begin().await.unwrap();
        transaction.write(&[fenced]).await.unwrap();
        let mut other = locked(&fenced.row, 1, Some(8));
        other.fence = 6;
        let error = transaction.write(&[other]).await.unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
        transaction.rollback().await;
    }
}

/// A row after a lock of so many units, over the one it was made from.
/// Rows, entries and holds at once: all of them as they were meant, or none, and whoever was there first is a conflict.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_at_once_is_written_as_it_is_or_not_at_all() {
    for backend in [Backend::sqlite().await, Backend::shared().await] {
        let repository = RowLock::new(backend.store.clone());
        let key = make(&repository, 100).await;
        let row = backend.store.begin().await.unwrap().claim(&[key]).await.unwrap()[0];
        let odd = [r"';_DROP_TABLE_stock_holds;--", r#"\"\\'"#, "%_?", "X'00'"];
        let ids = odd.map(|id| RequestId::new(&format!("{id}{}", key.variant_id)).unwrap());
        let writes = || {
            let mut bench = Workbench::new();
            bench.put_row(row, None);
            for id in &ids {
                let change = Change::new(key, Operation::Lock, quantity(1)).order(OrderId::new(r"'?\").unwrap());
                let request = Request::one(change).id(id.clone());
                bench.apply(&request.identify().unwrap()).unwrap();
            }
            bench.into_writes()
        };
        let mut first = backend.store.begin().await.unwrap();
        first.put(&writes()).await.unwrap();
        first.commit().await.unwrap();
        for id in &ids {
            assert!(backend.store.find_requests(std::slice::from_ref(id)).await.unwrap()[0].request_id == *id);
        }
        let mut late = backend.store.begin().await.unwrap();
        let error = late.put(&writes()).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
        late.rollback().await;
        assert_eq!(explained(backend.store.as_ref(), key).await.record.version, 4);
    }
}

fn locked(row: &StockRow, units: u64, fence: Option<u64>) -> RowWrite {
    let change = Change::new(row.record.key, Operation::Lock, quantity(units));
    let changed = row.change(&change, None, fence, (&RequestId::make(), 0)).unwrap();
    RowWrite::new(row, changed.row)
}

/// A transaction that is dropped, as when its caller goes away, lets go of its row by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transaction_leaves_neither_changes_nor_locks() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        let repository = backend.row_lock();
        let key = make(repository.as_ref(), 10).await;
        let mut transaction = backend.store.begin().await.unwrap();
        let row = transaction.claim(&[key]).await.unwrap()[0];
        transaction.write(&[locked(&row, 5, None)]).await.unwrap();
        drop(transaction);

        let after = repository.change(Change::new(key, Operation::Lock, quantity(1))).await.unwrap();
        assert_eq!((after.version, after.levels.locked()), (1, 1));
    }
}

/// Under MySQL's default isolation, looking for a record that is not there would lock the gap it
/// belongs in, and everybody who makes a record near it would wait.
#[tokio::test(flavor = "multi_thread")]
async fn looking_for_a_missing_record_locks_nothing() {
    let backend = Backend::mariadb().await;
    let key = fresh_key();
    let mut looking = backend.store.begin().await.unwrap();
    assert_eq!(looking.claim(&[key]).await.unwrap(), []);
    let product = stock::operation::Id::new(1).unwrap();
    let creating = backend.store.create(product, key, quantity(1));
    tokio::time::timeout(std::time::Duration::from_secs(2), creating).await.unwrap().unwrap();
    looking.rollback().await;
}
