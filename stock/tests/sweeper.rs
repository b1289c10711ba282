//! Holds that end: two sweepers, one lease, and a payment at the same moment.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::time::Duration;

use backends::{Backend, locks_on, sim_locks, sim_nodes};
use redlock::Redlock;
use stock::operation::{Operation, StockKey};
use stock::repository::StockRepository;
use stock::repository::suite::{explained, fresh_order, make, quantity, seconds};
use stock::request::{Change, OrderId, Request};
use stock::store::{MAX_PAGE, PageSize};
use stock::sweeper::{LOCK, SweepError, Sweeper, Swept};
use testkit::eventually;

const SOON: Duration = Duration::from_secs(20);

/// A hold of two units that ends in a second.
async fn hold(repository: &dyn StockRepository, key: StockKey) -> OrderId {
    let order = fresh_order();
    let change = Change::new(key, Operation::Lock, quantity(2)).order(order.clone()).expires_in(seconds(1));
    repository.change(change).await.unwrap();
    order
}

/// Waits until the time of so many holds is over.
async fn expired(backend: &Backend, count: usize) {
    let size = PageSize::clamped(MAX_PAGE);
    eventually(SOON, || async { backend.store.expired_holds(None, size).await.unwrap().items.len() == count }).await;
}

fn sweeper(backend: &Backend, redlock: &Redlock) -> Sweeper {
    Sweeper::new(backend.row_lock(), redlock.clone()).page(PageSize::clamped(3)).every(Duration::from_millis(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_holds_end_page_by_page_and_others_stay() {
    let backend = Backend::sqlite().await;
    let repository = backend.row_lock();
    let key = make(repository.as_ref(), 100).await;
    for _ in 0..8 {
        hold(repository.as_ref(), key).await;
    }
    let stays = Change::new(key, Operation::Lock, quantity(5)).order(fresh_order()).expires_in(seconds(600));
    repository.change(stays).await.unwrap();
    expired(&backend, 8).await;
    let sweeper = sweeper(&backend, &sim_locks());
    assert_eq!(sweeper.sweep().await.unwrap(), Swept { expired: 8, changed: 0, failed: 0 });
    assert_eq!(sweeper.sweep().await.unwrap(), Swept::default());
    let audit = explained(backend.store.as_ref(), key).await;
    assert_eq!((audit.record.levels.available(), audit.record.levels.locked()), (95, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_sweeps_at_a_time() {
    let backend = Backend::sqlite().await;
    let nodes = sim_nodes();
    let (first, second) = (locks_on(&nodes), locks_on(&nodes));
    let guard = first.try_lock(LOCK).await.unwrap();
    let refused = sweeper(&backend, &second).sweep().await.unwrap_err();
    assert!(matches!(refused, SweepError::Elsewhere), "{refused:?}");
    guard.release().await.unwrap();
    sweeper(&backend, &second).sweep().await.unwrap();
}

/// Two instances sweep again and again while every order pays at the moment its hold ends: each either
/// pays or loses its units, and never both.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_at_the_last_moment_counts_or_is_refused() {
    let backend = Backend::shared().await;
    let repository = backend.row_lock();
    let key = make(repository.as_ref(), 1_000).await;
    let nodes = sim_nodes();
    let sweepers: Vec<_> = (0..2)
        .map(|_| {
            let sweeper = sweeper(&backend, &locks_on(&nodes));
            tokio::spawn(async move { match sweeper.run().await {} })
        })
        .collect();
    let mut payments = tokio::task::JoinSet::new();
    for number in 0..40 {
        let repository = repository.clone();
        payments.spawn(async move {
            let order = hold(repository.as_ref(), key).await;
            tokio::time::sleep(Duration::from_millis(900 + number * 10)).await;
            let pay = Change::new(key, Operation::Reserve, quantity(2)).order(order);
            match repository.change(pay).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.code(), "hold_expired", "{error}");
                    false
                }
            }
        });
    }
    let paid = payments.join_all().await.into_iter().filter(|paid| *paid).count() as u64;
    // What nobody has paid for is available again.
    eventually(SOON, || async { repository.get(key).await.unwrap().levels.locked() == 0 }).await;
    sweepers.iter().for_each(tokio::task::JoinHandle::abort);
    let levels = explained(backend.store.as_ref(), key).await.record.levels;
    assert_eq!((levels.available(), levels.reserved()), (1_000 - 2 * paid, 2 * paid));
    assert!((1..40).contains(&paid), "{paid} of 40 paid: nobody raced");
}

/// A sweeper that was stopped in the middle of a pass goes on with a list from before.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_list_ends_nothing_that_has_changed() {
    let backend = Backend::sqlite().await;
    let repository = backend.row_lock();
    let key = make(repository.as_ref(), 100).await;
    let (swept, prolonged) = (hold(repository.as_ref(), key).await, hold(repository.as_ref(), key).await);
    expired(&backend, 2).await;
    let list = backend.store.expired_holds(None, PageSize::default()).await.unwrap().items;
    let more = Change::new(key, Operation::Lock, quantity(1)).order(prolonged).expires_in(seconds(600));
    repository.change(more).await.unwrap();
    sweeper(&backend, &sim_locks()).sweep().await.unwrap();

    let before = repository.get(key).await.unwrap();
    for hold in &list {
        let late = repository.apply(Request::expire(hold).unwrap()).await;
        if hold.order_id == swept {
            assert!(late.unwrap().replayed);
        } else {
            assert_eq!(late.unwrap_err().code(), "hold_changed");
        }
    }
    assert_eq!(repository.get(key).await.unwrap(), before);
}

/// A lease that is lost ends the pass; the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_costs_a_pass_and_nothing_else() {
    let backend = Backend::sqlite().await;
    let repository = backend.row_lock();
    let key = make(repository.as_ref(), 100).await;
    for _ in 0..4 {
        hold(repository.as_ref(), key).await;
    }
    expired(&backend, 4).await;
    let nodes = sim_nodes();
    nodes.iter().take(3).for_each(redlock::SimNode::stop);
    let sweeper = sweeper(&backend, &locks_on(&nodes));
    let failed = sweeper.sweep().await.unwrap_err();
    assert!(matches!(failed, SweepError::Locks(_)), "{failed:?}");
    let running = sweeper.clone();
    let task = tokio::spawn(async move { match running.run().await {} });
    nodes.iter().take(3).for_each(|node| node.start(true));
    let store: Arc<_> = backend.store.clone();
    eventually(SOON, || async { repository.get(key).await.unwrap().levels.locked() == 0 }).await;
    task.abort();
    assert_eq!(explained(store.as_ref(), key).await.log.entries, 8);
}
