//! What every guarded repository must do, whatever it is made of: run against each of them on each
//! store. A check panics where the repository is wrong.

pub mod batches;
pub mod holds;
pub mod requests;

use std::sync::Arc;
use std::time::Duration;

use super::StockRepository;
use crate::error::RepositoryError;
use crate::log::Audit;
use crate::operation::{Id, Operation, Quantity, StockKey};
use crate::record::StockRecord;
use crate::request::{Change, ExpiresIn, OrderId};
use crate::store::{self, Creation, Store};

use Operation::{Add, Deduct, Lock, Release, Reserve, Reset, Unlock};

/// How many tasks rush one record.
const TASKS: u64 = 16;

/// How long a rush may take, on a slow machine with every commit synced.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every check, one after another.
///
/// # Panics
///
/// If the repository is wrong.
pub async fn check(repository: Arc<dyn StockRepository>, store: Arc<dyn Store>) {
    records_are_made_once(repository.as_ref()).await;
    records_that_are_not_there_are_not_found(repository.as_ref()).await;
    orders_live_through_their_operations(repository.as_ref(), store.as_ref()).await;
    refusals_change_nothing(repository.as_ref(), store.as_ref()).await;
    requests::a_request_that_comes_again_gets_its_first_answer(repository.as_ref(), store.as_ref()).await;
    requests::a_refused_request_is_decided_anew(repository.as_ref()).await;
    requests::the_log_tells_what_was_asked_for(repository.as_ref()).await;
    holds::an_order_moves_what_it_holds(repository.as_ref(), store.as_ref()).await;
    holds::a_hold_lives_until_it_is_ended(repository.as_ref(), store.as_ref()).await;
    holds::what_is_not_paid_in_time_has_expired_beside_what_is(repository.as_ref(), store.as_ref()).await;
    holds::the_holds_of_an_order_are_listed(repository.as_ref()).await;
    batches::a_batch_is_done_whole_or_not_at_all(repository.as_ref(), store.as_ref()).await;
    batches::a_request_has_a_bounded_number_of_changes(repository.as_ref(), store.as_ref()).await;
    together(&[repository], store).await;
}

/// Every check that several repositories on one database must pass at once, whatever kinds they are.
///
/// # Panics
///
/// If one of them is wrong, or they are not compatible.
pub async fn together(repositories: &[Arc<dyn StockRepository>], store: Arc<dyn Store>) {
    requests::a_request_sent_at_once_is_carried_out_once(repositories, store.as_ref()).await;
    batches::opposite_batches_do_not_lock_each_other_out(repositories, store.as_ref()).await;
    a_rush_sells_what_there_is(repositories, store.as_ref()).await;
}

/// A second create gives the first record back.
///
/// # Panics
///
/// If it does not.
pub async fn records_are_made_once(repository: &dyn StockRepository) {
    let (key, product) = (fresh_key(), Id::new(7).expect("small"));
    let made = repository.create(product, key, quantity(10)).await.expect("created");
    let Creation::Created(record) = made else { panic!("{made:?} is not new") };
    assert_eq!((record.key, record.product_id, record.version), (key, product, 0));
    assert_eq!((record.levels.stock(), record.levels.available()), (10, 10));

    let again = repository.create(product, key, quantity(99)).await.expect("found");
    assert_eq!(again, Creation::Existing(record), "it must be as it was");
    assert_eq!(repository.get(key).await.expect("read"), record);
}

/// Reading and changing what is not there says so.
///
/// # Panics
///
/// If it does not.
pub async fn records_that_are_not_there_are_not_found(repository: &dyn StockRepository) {
    let missing = fresh_key();
    let read = repository.get(missing).await.expect_err("nothing there");
    assert_eq!(read.code(), "not_found");
    let changed = repository.change(Change::new(missing, Lock, quantity(1))).await.expect_err("nothing there");
    assert!(matches!(changed, RepositoryError::NotFound { key } if key == missing), "{changed:?}");
}

/// All seven operations, with the levels after each.
///
/// # Panics
///
/// If a level, the version or the log is wrong.
pub async fn orders_live_through_their_operations(repository: &dyn StockRepository, store: &dyn Store) {
    let key = make(repository, 10).await;
    // What is done, and the available, locked and reserved units after it.
    let steps = [
        (Lock, 5, (5, 5, 0)),
        (Unlock, 1, (6, 4, 0)),
        (Reserve, 3, (6, 1, 3)),
        (Release, 1, (7, 1, 2)),
        (Deduct, 2, (7, 1, 0)),
        (Add, 4, (11, 1, 0)),
        (Reset, 6, (5, 1, 0)),
        (Unlock, 1, (6, 0, 0)),
        (Reset, 0, (0, 0, 0)),
    ];
    for (version, (operation, units, expected)) in (1..).zip(steps) {
        let after = repository.change(Change::new(key, operation, quantity(units))).await.expect("applied");
        let levels = after.levels;
        let found = (levels.available(), levels.locked(), levels.reserved());
        assert_eq!(found, expected, "after {operation} of {units}");
        assert_eq!(after.version, version, "after {operation} of {units}");
        assert_eq!(repository.get(key).await.expect("read"), after);
    }
    let audit = explained(store, key).await;
    assert_eq!((audit.log.entries, audit.log.deducted), (9, 2));
}

/// Each refusal, with its code; the record stays as it was.
///
/// # Panics
///
/// If something is not refused, or changes all the same.
pub async fn refusals_change_nothing(repository: &dyn StockRepository, store: &dyn Store) {
    let key = make(repository, 10).await;
    repository.change(Change::new(key, Lock, quantity(4))).await.expect("locked");
    let before = repository.change(Change::new(key, Reserve, quantity(2))).await.expect("reserved");
    let refusals = [
        (Lock, 7, "insufficient_stock"),
        (Unlock, 3, "insufficient_locked"),
        (Reserve, 3, "insufficient_locked"),
        (Release, 3, "insufficient_reserved"),
        (Deduct, 3, "insufficient_reserved"),
        (Add, (1 << 53) - 1, "overflow"),
        (Reset, 3, "below_committed"),
        (Lock, 0, "invalid_quantity"),
    ];
    for (operation, units, code) in refusals {
        let refused = repository.change(Change::new(key, operation, quantity(units))).await;
        assert_eq!(refused.expect_err("too much").code(), code, "{operation} of {units}");
    }
    assert_eq!(repository.get(key).await.expect("read"), before);
    assert_eq!(explained(store, key).await.log.entries, 2);
}

/// Sixteen tasks buy one record empty, through all the repositories at once. Nothing is sold twice,
/// nothing is lost, and every change is logged once.
///
/// # Panics
///
/// If it is not so.
pub async fn a_rush_sells_what_there_is(repositories: &[Arc<dyn StockRepository>], store: &dyn Store) {
    let stock = 100;
    let key = make(repositories[0].as_ref(), stock).await;
    let mut buyers = tokio::task::JoinSet::new();
    for (repository, number) in repositories.iter().cycle().zip(0..TASKS) {
        buyers.spawn(buy_out(repository.clone(), key, number));
    }
    let told = tokio::time::timeout(PATIENCE, buyers.join_all()).await.expect("in time");

    let (sold, changes) = told.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!(sold, stock, "sold what there was");
    let Audit { record, log, .. } = explained(store, key).await;
    assert_eq!(record.levels.stock(), 0, "all of it has left");
    assert_eq!(record.version, changes, "every answered change raised the version once");
    assert_eq!((log.entries, log.deducted), (changes, sold), "and was logged once");
}

/// Buys until nothing is left; how many units, and in how many changes.
async fn buy_out(repository: Arc<dyn StockRepository>, key: StockKey, number: u64) -> (u64, u64) {
    let (mut sold, mut changes) = (0, 0);
    let mut basket = 1 + number % 3;
    loop {
        match repository.change(Change::new(key, Lock, quantity(basket))).await {
            Ok(_) => changes += 1,
            Err(RepositoryError::Refused(_)) => {
                // Others still hold what they may put back.
                let left: StockRecord = repository.get(key).await.expect("read");
                if left.levels.stock() == 0 {
                    return (sold, changes);
                }
                basket = 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
        let puts_back = changes % 5 == 1;
        let rest: &[Operation] = if puts_back { &[Unlock] } else { &[Reserve, Deduct] };
        for operation in rest {
            repository.change(Change::new(key, *operation, quantity(basket))).await.expect("it is ours");
            changes += 1;
        }
        sold += if puts_back { 0 } else { basket };
    }
}

/// The record and its log, which must agree.
///
/// # Panics
///
/// If they do not, or there is no such record.
pub async fn explained(store: &dyn Store, key: StockKey) -> Audit {
    let audit = store::audit(store, key).await.expect("read").expect("there");
    if let Err(discrepancy) = audit.reconcile() {
        panic!("{discrepancy}");
    }
    audit
}

/// A new record with so many units.
///
/// # Panics
///
/// If it cannot be made.
pub async fn make(repository: &dyn StockRepository, stock: u64) -> StockKey {
    let key = fresh_key();
    let product = Id::new(1).expect("small");
    repository.create(product, key, quantity(stock)).await.expect("created");
    key
}

/// A key nobody has used: the database may be shared with other tests.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn fresh_key() -> StockKey {
    StockKey::new(rand::random_range(0..1 << 53), 0).expect("below the limit")
}

/// So many units.
///
/// # Panics
///
/// Above 2^53 − 1.
#[must_use]
pub fn quantity(units: u64) -> Quantity {
    Quantity::new(units).expect("below the limit")
}

/// An order nobody has placed.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn fresh_order() -> OrderId {
    OrderId::new(&format!("order-{:016x}", rand::random::<u64>())).expect("short")
}

/// So many seconds.
///
/// # Panics
///
/// For zero, and above ten years.
#[must_use]
pub fn seconds(seconds: u64) -> ExpiresIn {
    ExpiresIn::seconds(seconds).expect("allowed")
}
