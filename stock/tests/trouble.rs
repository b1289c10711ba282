//! Requests and databases as nobody wants them: each has an error of its own, and nothing is half done.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use backends::{Backend, migrated, sim_locks};
use stock::config::LEASE;
use stock::operation::{Id, Operation, Quantity, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository, suite};
use stock::request::{Change, OrderId, Request, RequestId};
use stock::store::{self, Access, DatabaseUrl, PageSize, StoreError, Writers};
use stock::workbench::Workbench;
use testkit::SqlServer;

fn lock(key: StockKey, units: u64) -> Change {
    Change::new(key, Operation::Lock, suite::quantity(units))
}

/// Quantities and ids that cannot be are refused before anybody asks the database, with a message
/// that does not repeat them at length.
#[test]
fn what_cannot_be_asked_for_is_named() {
    assert_eq!(Quantity::new(1 << 53).unwrap_err().code(), "invalid_quantity");
    assert!(Id::new(1 << 53).is_err());
    let large = "x".repeat(100_000);
    for error in [RequestId::new(&large).unwrap_err(), OrderId::new(&large).unwrap_err()] {
        assert_eq!(error.code(), "invalid_request");
        assert!(format!("{error} {error:?}").len() < 300);
    }
}

/// Where the tables are missing, or not those of this version, that is what the error says.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_version_are_named() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        backend.store.check_schema().await.unwrap();
        let (repositories, key) = (both(&backend), suite::make(backend.row_lock().as_ref(), 1).await);
        backend.by_hand("DELETE FROM _sqlx_migrations WHERE version = 4").await;
        let error = backend.store.check_schema().await.unwrap_err();
        assert!(matches!(error, StoreError::OlderSchema { missing: 4 }), "{error:?}");
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'later', TRUE, '', 0)";
        backend.by_hand(newer).await;
        let error = backend.store.check_schema().await.unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema(_)), "{error:?}");

        for missing in
            ["ALTER TABLE product_stock_logs RENAME COLUMN position TO place", "DROP TABLE product_stock_logs"]
        {
            backend.by_hand(missing).await;
            for repository in &repositories {
                let error = repository.change(lock(key, 1)).await.unwrap_err();
                assert_eq!(error.code(), "store_schema", "{error:?}");
            }
        }
        assert_eq!(repositories[0].get(key).await.unwrap().version, 0);
    }
}

/// Both repositories that write to the database.
fn both(backend: &Backend) -> [Arc<dyn StockRepository>; 2] {
    [backend.row_lock(), backend.redlocked(&sim_locks())]
}

/// A database that is dropped in the middle of a sale is missing, for whoever has a connection and whoever comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_dropped_is_named() {
    let backend = Backend::mariadb().await;
    let (repositories, key) = (both(&backend), suite::make(backend.row_lock().as_ref(), 10).await);
    for repository in &repositories {
        repository.change(lock(key, 1)).await.unwrap();
    }
    let name = backend.url.rsplit('/').next().unwrap();
    backend.server().query("", &format!("DROP DATABASE {name}")).await.unwrap();
    for repository in &repositories {
        let error = repository.change(lock(key, 1)).await.unwrap_err();
        assert_eq!(error.code(), "store_schema", "{error:?}");
    }
    let error = store::open(&backend.url.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingDatabase(_)), "{error:?}");
    assert!(error.to_string().contains("does not exist"), "{error}");
}

/// A server that turns read-only in the middle of a sale.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_turns_read_only_is_named() {
    let backend = Backend::mariadb().await;
    for sql in ["CREATE USER clerk@'%' IDENTIFIED BY 'hush'", "GRANT SELECT, INSERT, UPDATE ON *.* TO clerk@'%'"] {
        backend.server().query("", sql).await.unwrap();
    }
    let url: DatabaseUrl = backend.url.replace("root@", "clerk:hush@").parse().unwrap();
    let row_lock = RowLock::new(store::open(&url).await.unwrap());
    let redlocked = Redlocked::new(store::open_for_leases(&url, LEASE).await.unwrap(), sim_locks());
    let repositories: [&dyn StockRepository; 2] = [&row_lock, &redlocked];
    let key = suite::make(&row_lock, 10).await;
    for repository in repositories {
        repository.change(lock(key, 1)).await.unwrap();
    }
    backend.server().query("", "SET GLOBAL read_only = 1").await.unwrap();
    for repository in repositories {
        let error = repository.change(lock(key, 1)).await.unwrap_err();
        assert_eq!(error.code(), "store_read_only", "{error:?}");
    }
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.version, 2);
}

/// A file that may be read and not written. Root may write whatever the file's permissions say, so it is the file
/// itself that asks for a newer SQLite to be written by.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_read_only_is_named() {
    let backend = Backend::sqlite().await;
    let key = suite::make(backend.row_lock().as_ref(), 10).await;
    backend.store.close().await;
    let mut file = std::fs::OpenOptions::new().write(true).open(backend.url.strip_prefix("sqlite:").unwrap()).unwrap();
    file.seek(SeekFrom::Start(18)).unwrap();
    file.write_all(&[3]).unwrap();
    drop(file);
    let store = store::open(&backend.url.parse().unwrap()).await.unwrap();
    let row_lock = RowLock::new(store.clone());
    let redlocked = Redlocked::new(store.clone(), sim_locks());
    let repositories: [&dyn StockRepository; 2] = [&row_lock, &redlocked];
    for repository in repositories {
        let error = repository.change(lock(key, 1)).await.unwrap_err();
        assert_eq!(error.code(), "store_read_only", "{error:?}");
        assert_eq!(repository.get(key).await.unwrap().version, 0);
    }
}

/// A server that is too old is refused before anything is done there.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_named() {
    let server = SqlServer::builder().arg("--version=10.5.29-MariaDB").start().await.unwrap();
    for access in [Access::default(), Access { writers: Writers::HoldLeases, ..Access::default() }] {
        let error = store::open_with(&server.url("test").parse().unwrap(), access).await.unwrap_err();
        assert!(matches!(&error, StoreError::TooOld { found, .. } if found.contains("10.5.29")), "{error:?}");
        assert_eq!(error.code(), "store_too_old");
    }
}

/// A record whose levels live in Redis belongs to the repository that goes there.
#[tokio::test(flavor = "multi_thread")]
async fn levels_in_redis_are_left_alone() {
    for backend in [Backend::sqlite().await, Backend::shared().await] {
        check_residents(&backend).await;
    }
}

async fn check_residents(backend: &Backend) {
    let repository = backend.row_lock();
    let (key, other) = (suite::make(repository.as_ref(), 10).await, suite::make(repository.as_ref(), 10).await);
    let sql = "UPDATE product_stocks SET resident_epoch = 1, resident_sequence = 0 WHERE variant_id = ";
    backend.by_hand(&format!("{sql}{}", key.variant_id)).await;
    for changes in [vec![lock(key, 1)], vec![lock(other, 1), lock(key, 1)]] {
        let error = repository.apply(Request::batch(changes)).await.unwrap_err();
        assert_eq!(error.code(), "resident", "{error:?}");
    }
    for key in [key, other] {
        assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.version, 0);
    }
}

/// A row that somebody holds is left out by those who do not wait, and keeps nobody from the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_row_keeps_nobody_from_the_others() {
    check_skipping(&Backend::shared().await).await;
}

async fn check_skipping(backend: &Backend) {
    let other = migrated(&backend.url).await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(suite::make(backend.row_lock().as_ref(), 10).await);
    }
    keys.sort_unstable();
    let mut holder = backend.store.begin().await.unwrap();
    assert_eq!(holder.claim(&keys[1..2]).await.unwrap().len(), 1);

    let mut skipping = other.begin().await.unwrap();
    let free = skipping.claim_free(&keys).await.unwrap();
    assert_eq!(free.iter().map(|row| row.record.key).collect::<Vec<_>>(), [keys[0], keys[2]]);
    skipping.rollback().await;
    // Sets are looked up, not searched for: only their own rows are locked.
    let mut waiting = other.begin().await.unwrap();
    let claim = [keys[0], keys[2]];
    let claimed = tokio::time::timeout(std::time::Duration::from_secs(3), waiting.claim(&claim));
    let rows = claimed.await.expect("nobody holds these").unwrap();
    let change = Change::new(keys[0], Operation::Lock, suite::quantity(1));
    let changed = rows[0].change(&change, None, None, (&RequestId::make(), 0)).unwrap();
    let write = [stock::record::RowWrite::new(&rows[0], changed.row)];
    let written = tokio::time::timeout(std::time::Duration::from_secs(3), waiting.write(&write));
    written.await.expect("nobody holds it").unwrap();
    waiting.rollback().await;
    holder.rollback().await;
}

/// Pruning takes the oldest entries, and what is left still explains the levels.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_log_ends_the_memory_of_its_requests_and_nothing_else() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        check_pruning(&backend).await;
    }
}

async fn check_pruning(backend: &Backend) {
    let repository = backend.row_lock();
    let keys = [suite::make(repository.as_ref(), 10).await, suite::make(repository.as_ref(), 10).await];
    let request = Request::batch(keys.map(|key| lock(key, 1)).into()).id(RequestId::make());
    repository.apply(request.clone()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    repository.change(lock(keys[0], 1)).await.unwrap();
    let newest = repository.logs(keys[0], None, PageSize::clamped(1)).await.unwrap().items.remove(0);

    // A page of one entry; but what was left of the request would be taken for another one.
    let prune = || backend.store.prune_logs(newest.created_at, PageSize::clamped(1));
    assert_eq!((prune().await.unwrap(), prune().await.unwrap()), (2, 0));
    for (key, entries) in keys.into_iter().zip([1, 0]) {
        let audit = suite::explained(backend.store.as_ref(), key).await;
        assert_eq!((audit.pruned_version, audit.log.entries), (1, entries));
    }
    assert!(!repository.apply(request).await.unwrap().replayed, "nobody remembers it");
    suite::explained(backend.store.as_ref(), keys[0]).await;
}

/// A transaction's requests lie between each other in the log. While it is pruned page by page, each of them is
/// remembered or forgotten, and never taken for another one.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_pruned_in_parts() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        let mut keys = Vec::new();
        for _ in 0..4 {
            keys.push(suite::make(backend.row_lock().as_ref(), 1_000).await);
        }
        keys.sort_unstable();
        let mut requests = Vec::new();
        for _ in 0..5 {
            let both = [[keys[0], keys[2]], [keys[1], keys[3]]];
            let both = both.map(|keys| Request::batch(keys.map(|key| lock(key, 1)).into()).id(RequestId::make()));
            together(backend.store.as_ref(), &keys, &both).await;
            requests.extend(both);
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        backend.row_lock().change(lock(keys[0], 1)).await.unwrap();
        let newest = backend.row_lock().logs(keys[0], None, PageSize::clamped(1)).await.unwrap().items.remove(0);

        for pages in 1..=5 {
            let page = backend.store.prune_logs(newest.created_at, PageSize::clamped(1)).await.unwrap();
            assert_eq!(page, 4, "the whole of page {pages}");
            for key in &keys {
                suite::explained(backend.store.as_ref(), *key).await;
            }
            for (number, request) in requests.iter().enumerate() {
                let id = request.request_id.clone().unwrap();
                let left = backend.store.find_requests(&[id]).await.unwrap().len();
                assert_eq!(left, if number < pages * 2 { 0 } else { 2 });
            }
        }
        assert_eq!(backend.store.prune_logs(newest.created_at, PageSize::clamped(1)).await.unwrap(), 0);
    }
}

/// Carries requests out in one transaction.
async fn together(store: &dyn store::Store, keys: &[StockKey], requests: &[Request]) {
    let (mut transaction, mut bench) = (store.begin().await.unwrap(), Workbench::new());
    transaction.claim(keys).await.unwrap().into_iter().for_each(|row| bench.put_row(row, None));
    for request in requests {
        bench.apply(&request.clone().identify().unwrap()).unwrap();
    }
    let writes = bench.into_writes();
    transaction.write(&writes.rows).await.unwrap();
    transaction.append(&writes.entries).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Instances that lock elsewhere find out, and a set that really changes is adopted.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_set_of_lock_nodes_stays_until_another_is_adopted() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        check_agreeing(&backend).await;
    }
}

async fn check_agreeing(backend: &Backend) {
    let ttl = std::time::Duration::from_secs(10);
    let (mine, other) = (store::LockNodes::new(["a", "b"], ttl), store::LockNodes::new(["a", "c"], ttl));
    assert_eq!(backend.store.agree_on_lock_nodes(&mine).await.unwrap(), mine);
    assert_eq!(backend.store.agree_on_lock_nodes(&other).await.unwrap(), mine);
    backend.store.adopt_lock_nodes(&other).await.unwrap();
    assert_eq!(backend.store.agree_on_lock_nodes(&mine).await.unwrap(), other);
}

/// Records by variant, by product, and by variants in a warehouse, page by page.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_page_by_page() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        check_listing(&backend).await;
    }
}

async fn check_listing(backend: &Backend) {
    use stock::store::Filter;

    let (repository, product) = (backend.row_lock(), Id::new(5).unwrap());
    let mut made = Vec::new();
    for (variant, warehouse) in [(1, 0), (1, 1), (2, 0), (3, 0)] {
        let key = StockKey::new(variant, warehouse).unwrap();
        made.push(repository.create(product, key, suite::quantity(1)).await.unwrap().record());
    }
    let variants = [3, 2, 9, 2].map(|id| Id::new(id).unwrap()).to_vec();
    for (filter, expected) in [
        (Filter::Variant(Id::new(1).unwrap()), vec![made[0], made[1]]),
        (Filter::Product(product), made.clone()),
        (Filter::Variants { variant_ids: variants, warehouse_id: Id::new(0).unwrap() }, vec![made[2], made[3]]),
        (Filter::Product(Id::new(6).unwrap()), vec![]),
    ] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = repository.list(&filter, after, PageSize::clamped(1)).await.unwrap();
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    }
    let keys: Vec<_> = made.iter().map(|record| record.key).collect();
    let rows = backend.store.read_many(&keys).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.record).collect::<Vec<_>>(), made);
}

/// The same on MySQL, whose planner and dialect differ from MariaDB's in places.
#[tokio::test(flavor = "multi_thread")]
async fn container_sets_and_lists_on_mysql9() {
    let backend = Backend::on(SqlServer::container_mysql9().await.unwrap()).await;
    check_skipping(&backend).await;
    check_residents(&backend).await;
    check_listing(&backend).await;
    check_agreeing(&backend).await;
    // Last, because it takes whatever is oldest.
    check_pruning(&backend).await;
}
