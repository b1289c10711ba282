//! Fencing tokens in the rows: whoever comes late writes nothing, and nobody is locked out for ever.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::time::Duration;

use backends::{Backend, locks_on, sim_locks, sim_nodes};
use stock::operation::{MAX_INTEGER, Operation, StockKey};
use stock::record::{Changed, RowWrite};
use stock::repository::suite;
use stock::request::{Change, RequestId};

/// About the year 2096, in the microseconds that tokens are made of.
const YEARS_AHEAD: u64 = 4_000_000_000_000_000;

/// The tokens in the log of a record, oldest entry first.
async fn tokens(backend: &Backend, key: StockKey) -> Vec<Option<i64>> {
    let sql = "SELECT fence FROM product_stock_logs WHERE variant_id = {} ORDER BY version";
    backend.by_hand(&sql.replace("{}", &key.variant_id.to_string())).await
}

async fn set_fence(backend: &Backend, key: StockKey, fence: u64) {
    let sql = format!("UPDATE product_stocks SET fence = {fence} WHERE variant_id = {}", key.variant_id);
    backend.by_hand(&sql).await;
}

/// What is done under one lease has one token.
fn assert_growing(tokens: &[Option<i64>]) {
    assert!(tokens.iter().all(Option::is_some), "an entry has no token: {tokens:?}");
    assert!(tokens.is_sorted(), "they do not grow: {tokens:?}");
}

/// A holder gets its lease and is then held up before it comes to the row. The nodes lose the lease,
/// somebody else takes one and writes. Only then the first one gets to see the row.
async fn a_holder_that_comes_late_writes_nothing_under_its_old_lease(backend: &Backend) {
    let nodes = sim_nodes();
    let (repository, others) = (backend.redlocked(&locks_on(&nodes)), locks_on(&nodes));
    let key = suite::make(repository.as_ref(), 10).await;
    let mut transaction = backend.store.begin().await.unwrap();
    let before = transaction.claim(&[key]).await.unwrap()[0];

    let late =
        tokio::spawn(async move { repository.change(Change::new(key, Operation::Lock, suite::quantity(3))).await });
    testkit::eventually(Duration::from_secs(5), async || nodes.iter().all(|node| !node.is_empty())).await;
    for node in &nodes {
        node.stop();
        node.start(false);
    }
    let other = others.lock(key.lock_key()).await.unwrap();
    let change = Change::new(key, Operation::Lock, suite::quantity(5));
    let fence = Some(other.fence().get());
    let Changed { row: after, entry, .. } = before.change(&change, None, fence, (&RequestId::make(), 0)).unwrap();
    transaction.write(&[RowWrite::new(&before, after)]).await.unwrap();
    transaction.append(&[entry]).await.unwrap();
    transaction.commit().await.unwrap();
    // The late one must take its new lease behind this one.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(backend.store.read(key).await.unwrap(), Some(after), "somebody wrote under an old lease");
    other.release().await.unwrap();

    let answered = late.await.unwrap().unwrap();
    assert_eq!((answered.version, answered.levels.locked()), (2, 8));
    let stored = backend.store.read(key).await.unwrap().unwrap();
    assert!(stored.fence > after.fence, "{stored:?} was not written under a newer lease than {after:?}");
    assert_growing(&tokens(backend, key).await);
    suite::explained(backend.store.as_ref(), key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_holder_on_sqlite() {
    a_holder_that_comes_late_writes_nothing_under_its_old_lease(&Backend::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_holder_on_mariadb() {
    a_holder_that_comes_late_writes_nothing_under_its_old_lease(&Backend::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_years_ahead_is_passed_by() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        let nodes = sim_nodes();
        let repository = backend.redlocked(&locks_on(&nodes));
        let key = suite::make(repository.as_ref(), 10).await;
        set_fence(&backend, key, YEARS_AHEAD).await;
        let first = repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
        let first = backend.store.read(key).await.unwrap().filter(|row| row.record == first).unwrap();
        assert!(first.fence > YEARS_AHEAD, "{first:?}");
        // Other clients learn of it from the nodes.
        let other = backend.redlocked(&locks_on(&nodes));
        let second = other.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
        let second = backend.store.read(key).await.unwrap().filter(|row| row.record == second).unwrap();
        assert!(second.fence > first.fence, "{second:?} after {first:?}");
        assert_growing(&tokens(&backend, key).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_token_of_all_is_an_error_and_not_a_wait() {
    let backend = Backend::sqlite().await;
    let repository = backend.redlocked(&sim_locks());
    let key = suite::make(repository.as_ref(), 10).await;
    for stored in [redlock::MAX_FENCE_FLOOR + 1, MAX_INTEGER] {
        set_fence(&backend, key, stored).await;
        let error = repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap_err();
        assert_eq!(error.code(), "stale_fence", "{stored}: {error:?}");
    }
    assert_eq!(backend.store.read(key).await.unwrap().unwrap().record.version, 0);
}

/// Two lock clients, as two processes would have them.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_grow_with_the_version() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        let nodes = sim_nodes();
        let both = [backend.redlocked(&locks_on(&nodes)), backend.redlocked(&locks_on(&nodes))];
        let key = suite::make(both[0].as_ref(), 100).await;
        let buyers: Vec<_> = (0..8)
            .map(|number| {
                let repository = both[number % 2].clone();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
                    }
                })
            })
            .collect();
        for buyer in buyers {
            buyer.await.unwrap();
        }
        let tokens = tokens(&backend, key).await;
        assert_eq!(tokens.len(), 40);
        let leases: std::collections::BTreeSet<_> = tokens.iter().collect();
        assert!(leases.len() > 1, "both have written: {tokens:?}");
        assert_growing(&tokens);
        let record = backend.store.read(key).await.unwrap().unwrap();
        assert_eq!(i64::try_from(record.fence).ok(), tokens[39], "the row keeps the last one");
    }
}

/// Row locks need no lease; the token they find stays, for those who do.
#[tokio::test(flavor = "multi_thread")]
async fn row_locks_leave_the_token_as_it_is() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        let repository = backend.row_lock();
        let key = suite::make(repository.as_ref(), 10).await;
        set_fence(&backend, key, 7).await;
        let after = repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
        let row = backend.store.read(key).await.unwrap().unwrap();
        assert_eq!((row.fence, row.record.version, row.record), (7, 1, after));
        assert_eq!(tokens(&backend, key).await, [None]);
    }
}

/// The log alone shows that an old lease was written under, also with entries without one between.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_notices_a_token_out_of_order() {
    for backend in [Backend::sqlite().await, Backend::mariadb().await] {
        let (fenced, plain) = (backend.redlocked(&sim_locks()), backend.row_lock());
        let key = suite::make(plain.as_ref(), 10).await;
        for repository in [&fenced, &plain, &fenced] {
            repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
        }
        suite::explained(backend.store.as_ref(), key).await;
        let sql =
            format!("UPDATE product_stock_logs SET fence = 1 WHERE variant_id = {} AND version = 3", key.variant_id);
        backend.by_hand(&sql).await;
        let audit = stock::store::audit(backend.store.as_ref(), key).await.unwrap().unwrap();
        assert_eq!(audit.log.breaks, 1);
        assert!(audit.reconcile().is_err());
    }
}
