//! What orders hold, and who may touch it.

use std::time::Duration;

use super::{explained, fresh_order, make, quantity, seconds};
use crate::hold::{Held, Hold, HoldState};
use crate::operation::Operation;
use crate::repository::StockRepository;
use crate::request::{Change, OrderId, Request};
use crate::store::{PageSize, Store};

use Operation::{Add, Deduct, Lock, Release, Reserve, Reset, Unlock};

/// What is done, with how many units, for whom; and what the order then has locked and reserved, or a
/// code.
type Step<'a> = (Operation, u64, Option<&'a OrderId>, Result<(u64, u64), &'static str>);

/// An order moves what it holds and no more, and nobody else touches that.
///
/// # Panics
///
/// If it is not so.
pub async fn an_order_moves_what_it_holds(repository: &dyn StockRepository, store: &dyn Store) {
    let key = make(repository, 20).await;
    let (mine, other) = (fresh_order(), fresh_order());
    // Five for somebody without an order, of which two are paid.
    repository.change(Change::new(key, Lock, quantity(5))).await.expect("locked");
    repository.change(Change::new(key, Reserve, quantity(2))).await.expect("reserved");
    let (me, them) = (Some(&mine), Some(&other));
    let steps: [Step<'_>; 22] = [
        (Unlock, 1, me, Err("hold_not_found")),
        (Lock, 4, me, Ok((4, 0))),
        (Lock, 2, me, Ok((6, 0))),
        (Lock, 3, them, Ok((3, 0))),
        (Unlock, 4, None, Err("insufficient_locked")),
        (Reserve, 4, None, Err("insufficient_locked")),
        (Unlock, 7, me, Err("hold_exceeded")),
        (Reserve, 7, me, Err("hold_exceeded")),
        (Release, 1, me, Err("hold_exceeded")),
        (Unlock, 1, me, Ok((5, 0))),
        (Reserve, 4, me, Ok((1, 4))),
        (Release, 3, None, Err("insufficient_reserved")),
        (Deduct, 3, None, Err("insufficient_reserved")),
        (Deduct, 5, me, Err("hold_exceeded")),
        (Release, 1, me, Ok((1, 3))),
        (Reserve, 1, me, Ok((0, 4))),
        (Reset, 11, None, Err("below_committed")),
        (Add, 1, me, Ok((0, 4))),
        (Reset, 15, me, Ok((0, 4))),
        (Deduct, 4, me, Ok((0, 0))),
        (Deduct, 1, me, Err("hold_exceeded")),
        (Lock, 1, me, Ok((1, 0))),
    ];
    for (operation, units, order, expected) in steps {
        let change = Change { order_id: order.cloned(), ..Change::new(key, operation, quantity(units)) };
        let done = repository.change(change).await;
        match (done, expected) {
            (Ok(_), Ok((locked, reserved))) => {
                let hold = hold_of(repository, order.expect("an order")).await;
                assert_eq!(hold.held, Held { locked, reserved }, "after {operation} of {units}");
                assert_eq!(hold.state == HoldState::Open, locked + reserved > 0, "{hold:?}");
            }
            (Err(error), Err(code)) => assert_eq!(error.code(), code, "{operation} of {units}: {error:?}"),
            (done, expected) => panic!("{operation} of {units} for {order:?}: {done:?}, not {expected:?}"),
        }
        explained(store, key).await;
    }
    // What no order holds is free for everybody.
    repository.change(Change::new(key, Unlock, quantity(3))).await.expect("nobody holds them");
    repository.change(Change::new(key, Deduct, quantity(2))).await.expect("nobody holds them");
    assert_eq!(explained(store, key).await.holds, Held { locked: 4, reserved: 0 });
}

/// A hold whose time is over lives until somebody ends it: a payment that comes first counts; after
/// that it has expired. Ending it twice, or after it has changed, does nothing.
///
/// # Panics
///
/// If it is not so.
pub async fn a_hold_lives_until_it_is_ended(repository: &dyn StockRepository, store: &dyn Store) {
    let key = make(repository, 10).await;
    let (paid, late, prolonged) = (fresh_order(), fresh_order(), fresh_order());
    let lock = |order: &OrderId, expiry| Change::new(key, Lock, quantity(2)).order(order.clone()).expires_in(expiry);
    let began = std::time::Instant::now();
    for order in [&paid, &late, &prolonged] {
        repository.change(lock(order, seconds(1))).await.expect("locked");
    }
    let unpaid = Change::new(key, Lock, quantity(1)).order(fresh_order());
    repository.change(unpaid).await.expect("locked, for as long as it takes");
    let is_over = !expired(store, &[&paid]).await.is_empty();
    assert!(!is_over || began.elapsed() >= Duration::from_secs(1), "a second is not over");
    let (ended, until) = (tokio::time::Duration::from_millis(20), std::time::Instant::now() + Duration::from_secs(10));
    let listed = loop {
        let listed = expired(store, &[&paid, &late, &prolonged]).await;
        if listed.len() == 3 {
            break listed;
        }
        assert!(std::time::Instant::now() < until, "{listed:?}");
        tokio::time::sleep(ended).await;
    };
    repository.change(Change::new(key, Reserve, quantity(2)).order(paid.clone())).await.expect("not ended yet");
    repository.change(lock(&prolonged, seconds(600))).await.expect("locked");

    let mut outcomes = Vec::new();
    for hold in listed.iter().chain(&listed) {
        let request = Request::expire(hold).expect("it ends");
        match repository.apply(request).await {
            Ok(answer) => outcomes.push((&hold.order_id, answer.replayed)),
            Err(error) => assert_eq!(error.code(), "hold_changed", "{error:?}"),
        }
    }
    assert_eq!(outcomes, [(&late, false), (&late, true)]);
    assert!(expired(store, &[&paid, &late, &prolonged]).await.is_empty());
    assert_eq!(hold_of(repository, &late).await.state, HoldState::Expired);
    let error = repository.change(Change::new(key, Reserve, quantity(2)).order(late.clone())).await.expect_err("ended");
    assert_eq!(error.code(), "hold_expired");
    let levels = repository.get(key).await.expect("read").levels;
    assert_eq!((levels.available(), levels.locked(), levels.reserved()), (3, 5, 2));
    repository.change(lock(&late, seconds(600))).await.expect("it may begin anew");
    explained(store, key).await;
}

/// An order has paid for a part of what it has locked, and the time of the rest is over. What it paid for stays; asked
/// for the rest, it is told that this has expired, until it locks anew.
///
/// # Panics
///
/// If it is not so.
pub async fn what_is_not_paid_in_time_has_expired_beside_what_is(repository: &dyn StockRepository, store: &dyn Store) {
    let (key, order) = (make(repository, 10).await, fresh_order());
    let change = |operation, units| Change::new(key, operation, quantity(units)).order(order.clone());
    repository.change(change(Lock, 5).expires_in(seconds(1))).await.expect("locked");
    repository.change(change(Reserve, 2)).await.expect("paid");
    let until = std::time::Instant::now() + Duration::from_secs(10);
    let hold = loop {
        if let Some(hold) = expired(store, &[&order]).await.pop() {
            break hold;
        }
        assert!(std::time::Instant::now() < until, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let refused =
        async |operation, units| repository.change(change(operation, units)).await.expect_err("too much").code();
    assert_eq!(refused(Reserve, 4).await, "hold_exceeded", "nobody has ended it");
    repository.apply(Request::expire(&hold).expect("it ends")).await.expect("ended");
    for operation in [Reserve, Unlock] {
        assert_eq!(refused(operation, 3).await, "hold_expired");
    }
    assert_eq!(refused(Release, 3).await, "hold_exceeded", "what was paid for does not expire");
    repository.change(change(Release, 1)).await.expect("paid for");
    assert_eq!(refused(Reserve, 1).await, "hold_expired", "it is still what has happened");
    repository.change(change(Deduct, 1)).await.expect("paid for");
    assert_eq!(refused(Reserve, 1).await, "hold_expired", "also when nothing is left");
    assert_eq!(refused(Deduct, 1).await, "hold_exceeded");
    repository.change(change(Lock, 1)).await.expect("anew");
    assert_eq!(refused(Reserve, 2).await, "hold_exceeded", "of what is locked now nothing has expired");
    repository.change(change(Reserve, 1)).await.expect("paid");
    let hold = hold_of(repository, &order).await;
    assert_eq!((hold.held, hold.state, hold.lapsed), (Held { locked: 0, reserved: 1 }, HoldState::Open, false));
    explained(store, key).await;
}

/// An order's holds of several records, newest first.
///
/// # Panics
///
/// If one is missing.
pub async fn the_holds_of_an_order_are_listed(repository: &dyn StockRepository) {
    let (order, size) = (fresh_order(), PageSize::clamped(2));
    let mut keys = Vec::new();
    for _ in 0..3 {
        let key = make(repository, 1).await;
        repository.change(Change::new(key, Lock, quantity(1)).order(order.clone())).await.expect("locked");
        keys.insert(0, key);
    }
    let first = repository.holds(&order, None, size).await.expect("listed");
    let second = repository.holds(&order, first.next, size).await.expect("listed");
    let found: Vec<_> = first.items.iter().chain(&second.items).map(|hold| hold.key).collect();
    assert_eq!((found, second.next), (keys, None));
}

async fn hold_of(repository: &dyn StockRepository, order: &OrderId) -> Hold {
    let holds = repository.holds(order, None, PageSize::default()).await.expect("listed");
    holds.items.into_iter().next().expect("a hold")
}

/// Those of these orders' holds whose time is over; the database may be shared with other tests.
async fn expired(store: &dyn Store, orders: &[&OrderId]) -> Vec<Hold> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.expired_holds(after, PageSize::clamped(2)).await.expect("listed");
        found.extend(page.items.into_iter().filter(|hold| orders.contains(&&hold.order_id)));
        if page.next.is_none() {
            return found;
        }
        after = page.next;
    }
}
