//! Several changes, all or nothing.

use std::sync::Arc;

use super::{explained, fresh_key, fresh_order, make, quantity};
use crate::error::RepositoryError;
use crate::operation::{Operation, StockKey};
use crate::repository::StockRepository;
use crate::request::{Change, MAX_CHANGES, Request, RequestId};
use crate::store::{PageSize, Store};

use Operation::{Add, Lock, Reserve, Unlock};

/// Everything is done, in the given order and several times to one record, or nothing is.
///
/// # Panics
///
/// If it is not so.
pub async fn a_batch_is_done_whole_or_not_at_all(repository: &dyn StockRepository, store: &dyn Store) {
    let (first, second) = (make(repository, 5).await, make(repository, 5).await);
    let order = fresh_order();
    let lock = |key, units| Change::new(key, Lock, quantity(units)).order(order.clone());
    let pay = Change::new(second, Reserve, quantity(2)).order(order.clone());
    let changes = vec![lock(second, 1), lock(first, 5), lock(second, 1), pay];
    let answer = repository.apply(Request::batch(changes).id(RequestId::make())).await.expect("applied");
    let told: Vec<_> = answer.records.iter().map(|record| (record.key, record.version)).collect();
    assert_eq!(told, [(second, 1), (first, 1), (second, 2), (second, 3)]);
    assert_eq!(answer.records[3].levels.reserved(), 2);

    for (last, code) in [
        (lock(first, 1), "insufficient_stock"),
        (Change::new(fresh_key(), Add, quantity(1)), "not_found"),
        (Change::new(second, Unlock, quantity(1)).order(fresh_order()), "hold_not_found"),
    ] {
        let changes = vec![Change::new(first, Add, quantity(9)), lock(second, 1), lock(second, 1), last];
        // Of these the third would be possible without the first two.
        let changes = if code == "insufficient_stock" { changes[1..].to_vec() } else { changes };
        let error = repository.apply(Request::batch(changes)).await.expect_err("the last one is not possible");
        assert_eq!(error.code(), code, "{error:?}");
    }
    assert_eq!(explained(store, first).await.record, answer.records[1]);
    assert_eq!(explained(store, second).await.record, answer.records[3]);
    let holds = repository.holds(&order, None, PageSize::default()).await.expect("listed");
    let units: Vec<_> = holds.items.iter().map(|hold| (hold.key, hold.held.locked, hold.held.reserved)).collect();
    assert_eq!(units.len(), 2);
    assert!(units.contains(&(first, 5, 0)) && units.contains(&(second, 0, 2)), "{units:?}");
}

/// Batches that name the same records in opposite orders wait for each other, and not in a circle.
///
/// # Panics
///
/// If one of them fails, or a unit is lost.
pub async fn opposite_batches_do_not_lock_each_other_out(repositories: &[Arc<dyn StockRepository>], store: &dyn Store) {
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.push(make(repositories[0].as_ref(), 1_000).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (repository, number) in repositories.iter().cycle().zip(0..8) {
        let mut keys = keys.clone();
        keys.rotate_left(number % 4);
        if number % 2 == 1 {
            keys.reverse();
        }
        tasks.spawn(lock_in_this_order(repository.clone(), keys));
    }
    tokio::time::timeout(super::PATIENCE, tasks.join_all()).await.expect("in time");
    for key in keys {
        assert_eq!(explained(store, key).await.record.levels.locked(), 80);
    }
}

async fn lock_in_this_order(repository: Arc<dyn StockRepository>, keys: Vec<StockKey>) {
    let order = fresh_order();
    for _ in 0..10 {
        let lock = |&key| Change::new(key, Lock, quantity(1)).order(order.clone());
        repository.apply(Request::batch(keys.iter().map(lock).collect())).await.expect("applied");
    }
}

/// As many changes as a request may have, and one more.
///
/// # Panics
///
/// If the first is refused or the second is not.
pub async fn a_request_has_a_bounded_number_of_changes(repository: &dyn StockRepository, store: &dyn Store) {
    let key = make(repository, 1).await;
    let add = Change::new(key, Add, quantity(1));
    let answer = repository.apply(Request::batch(vec![add.clone(); MAX_CHANGES])).await.expect("applied");
    assert_eq!(answer.records.len(), MAX_CHANGES);
    for count in [0, MAX_CHANGES + 1] {
        let error = repository.apply(Request::batch(vec![add.clone(); count])).await.expect_err("refused");
        assert!(matches!(error, RepositoryError::Invalid(_)), "{error:?}");
        assert_eq!(error.code(), "invalid_request");
    }
    assert_eq!(explained(store, key).await.log.entries, MAX_CHANGES as u64);
}
