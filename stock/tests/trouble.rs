//! Requests and databases as nobody wants them: each has an error of its own, and nothing is half done.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use backends::{Backend, migrated};
use stock::operation::{Id, Operation, Quantity};
use stock::repository::{RowLock, StockRepository, suite};
use stock::request::{Change, OrderId, Request, RequestId};
use stock::store::{self, DatabaseUrl, PageSize, StoreError};
use testkit::SqlServer;

fn lock(key: stock::operation::StockKey, units: u64) -> Change {
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

/// The disk fills up in the middle of a rush: nothing is half done, and what was answered is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_is_named_and_nothing_is_half_done() {
    let server = SqlServer::builder()
        .arg("--innodb-file-per-table=0")
        .arg("--innodb-data-file-path=ibdata1:12M:autoextend:max:16M")
        .start()
        .await
        .unwrap();
    let backend = Backend::on(server).await;
    let repository = backend.row_lock();
    let key = suite::make(repository.as_ref(), 100_000).await;
    let mut answered = 0;
    let error = loop {
        match repository.apply(Request::batch(vec![lock(key, 1); 200])).await {
            Ok(answer) => answered += answer.records.len() as u64,
            Err(error) => break error,
        }
        assert!(answered < 100_000, "it does not fill up");
    };
    assert_eq!(error.code(), "store_full", "{error:?}");
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert_eq!((audit.record.version, audit.record.levels.locked()), (answered, answered));
}

/// Where the tables are missing, or not those of this version, that is what the error says.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_version_are_named() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        backend.store.check_schema().await.unwrap();
        let (repository, key) = (backend.row_lock(), suite::make(backend.row_lock().as_ref(), 1).await);
        backend.by_hand("DELETE FROM _sqlx_migrations WHERE version = 4").await;
        let error = backend.store.check_schema().await.unwrap_err();
        assert!(matches!(error, StoreError::OlderSchema { missing: 4 }), "{error:?}");
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'later', TRUE, '', 0)";
        backend.by_hand(newer).await;
        let error = backend.store.check_schema().await.unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema(_)), "{error:?}");

        backend.by_hand("ALTER TABLE product_stock_logs RENAME COLUMN position TO place").await;
        let error = repository.change(lock(key, 1)).await.unwrap_err();
        assert_eq!(error.code(), "store_schema", "{error:?}");
        backend.by_hand("DROP TABLE product_stock_logs").await;
        let error = repository.change(lock(key, 1)).await.unwrap_err();
        assert_eq!(error.code(), "store_schema", "{error:?}");
        assert_eq!(repository.get(key).await.unwrap().version, 0);
    }
}

/// A server that turns read-only in the middle of a sale.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_turns_read_only_is_named() {
    let backend = Backend::mariadb().await;
    for sql in ["CREATE USER clerk@'%' IDENTIFIED BY 'hush'", "GRANT SELECT, INSERT, UPDATE ON *.* TO clerk@'%'"] {
        backend.server().query("", sql).await.unwrap();
    }
    let url: DatabaseUrl = backend.url.replace("root@", "clerk:hush@").parse().unwrap();
    let repository = RowLock::new(store::open(&url).await.unwrap());
    let key = suite::make(&repository, 10).await;
    repository.change(lock(key, 1)).await.unwrap();
    backend.server().query("", "SET GLOBAL read_only = 1").await.unwrap();
    let error = repository.change(lock(key, 1)).await.unwrap_err();
    assert_eq!(error.code(), "store_read_only", "{error:?}");
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.version, 1);
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

    let prune = || backend.store.prune_logs(newest.created_at, PageSize::clamped(1));
    assert_eq!((prune().await.unwrap(), prune().await.unwrap(), prune().await.unwrap()), (1, 1, 0));
    for (key, entries) in keys.into_iter().zip([1, 0]) {
        let audit = suite::explained(backend.store.as_ref(), key).await;
        assert_eq!((audit.pruned_version, audit.log.entries), (1, entries));
    }
    assert!(!repository.apply(request).await.unwrap().replayed, "nobody remembers it");
    suite::explained(backend.store.as_ref(), keys[0]).await;
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
    use stock::operation::StockKey;
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
