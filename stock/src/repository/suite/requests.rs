//! Requests that come again, in whatever form and by whatever way.

use std::sync::Arc;

use super::{explained, make, quantity};
use crate::operation::{Operation, StockKey};
use crate::repository::StockRepository;
use crate::request::{Change, OrderId, Request, RequestId};
use crate::store::{PageSize, Store};
use crate::workbench::Answer;

use Operation::{Add, Lock, Unlock};

/// The same request again changes nothing and gets the first answer, also when the levels would no
/// longer allow it; another one under the same id is a conflict, whatever differs.
///
/// # Panics
///
/// If it is not so.
pub async fn a_request_that_comes_again_gets_its_first_answer(repository: &dyn StockRepository, store: &dyn Store) {
    let (key, other) = (make(repository, 10).await, make(repository, 10).await);
    let id = RequestId::make();
    let change = Change::new(key, Lock, quantity(10)).order(order());
    let request = Request::one(change.clone()).id(id.clone());
    let first = repository.apply(request.clone()).await.expect("applied");
    assert_eq!((&first.request_id, first.replayed), (&id, false));
    let add = repository.change(Change::new(key, Add, quantity(1))).await.expect("applied");

    let again = repository.apply(request.clone()).await.expect("answered");
    assert_eq!(again, Answer { replayed: true, ..first });
    assert_eq!(repository.get(key).await.expect("read"), add);

    let mut others = vec![Request::batch(vec![change.clone(), change.clone()])];
    others.extend([
        Request::one(Change { key: other, ..change.clone() }),
        Request::one(Change { operation: Unlock, ..change.clone() }),
        Request::one(Change { quantity: quantity(9), ..change.clone() }),
        Request::one(Change { order_id: None, ..change.clone() }),
        Request::one(change.expires_in(super::seconds(60))),
    ]);
    for other in others {
        let error = repository.apply(other.clone().id(id.clone())).await.expect_err("another body");
        assert_eq!(error.code(), "request_conflict", "{other:?}: {error:?}");
    }
    assert_eq!(explained(store, key).await.log.entries, 2);
    assert_eq!(explained(store, other).await.log.entries, 0);
}

/// A request that was refused is not remembered: when it can be done, it is.
///
/// # Panics
///
/// If it is not so.
pub async fn a_refused_request_is_decided_anew(repository: &dyn StockRepository) {
    let key = make(repository, 1).await;
    let request = Request::one(Change::new(key, Lock, quantity(2))).id(RequestId::make());
    let refused = repository.apply(request.clone()).await.expect_err("too much");
    assert_eq!(refused.code(), "insufficient_stock");
    repository.change(Change::new(key, Add, quantity(1))).await.expect("applied");
    assert!(!repository.apply(request.clone()).await.expect("enough now").replayed);
    assert!(repository.apply(request).await.expect("answered").replayed);
}

/// One request sent many times at once, by several repositories, is carried out once, and everybody
/// gets the same answer.
///
/// # Panics
///
/// If it is not so.
pub async fn a_request_sent_at_once_is_carried_out_once(repositories: &[Arc<dyn StockRepository>], store: &dyn Store) {
    let keys = [make(repositories[0].as_ref(), 10).await, make(repositories[0].as_ref(), 10).await];
    for round in 1..=5 {
        let changes = keys.map(|key| Change::new(key, Lock, quantity(1)));
        let request = Request::batch(changes.into()).id(RequestId::make());
        let mut senders = tokio::task::JoinSet::new();
        for repository in repositories.iter().cycle().take(8) {
            let (repository, request) = (repository.clone(), request.clone());
            senders.spawn(async move { repository.apply(request).await.expect("answered") });
        }
        let answers = senders.join_all().await;
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.records == answers[0].records), "{answers:?}");
        for key in keys {
            assert_eq!(explained(store, key).await.record.version, round);
        }
    }
}

/// The log tells what was asked for, by whom, and in which order; a made id is an id like any other.
///
/// # Panics
///
/// If it does not.
pub async fn the_log_tells_what_was_asked_for(repository: &dyn StockRepository) {
    let key = make(repository, 10).await;
    let order = order();
    let lock = Change::new(key, Lock, quantity(3)).order(order.clone()).expires_in(super::seconds(60));
    let made = repository.apply(Request::one(lock.clone())).await.expect("applied");
    let changes = vec![Change::new(key, Unlock, quantity(1)).order(order.clone()), Change::new(key, Add, quantity(2))];
    let batch = repository.apply(Request::batch(changes).id(RequestId::make())).await.expect("applied");

    let size = PageSize::clamped(2);
    let newest = repository.logs(key, None, size).await.expect("listed");
    let oldest = repository.logs(key, newest.next, size).await.expect("listed");
    assert_eq!((newest.items.len(), oldest.items.len(), oldest.next), (2, 1, None));
    let entries: Vec<_> = newest.items.iter().chain(&oldest.items).map(|logged| &logged.entry).collect();
    let told: Vec<_> = entries.iter().map(|entry| (&entry.request_id, entry.position, entry.version)).collect();
    assert_eq!(told, [(&batch.request_id, 1, 3), (&batch.request_id, 0, 2), (&made.request_id, 0, 1)]);
    assert!(entries[2].is_of(&lock), "{:?}", entries[2]);
    assert_eq!(entries[1].order_id.as_ref(), Some(&order));
    assert!(newest.items.is_sorted_by(|later, earlier| later.created_at >= earlier.created_at));

    let again = repository.apply(Request::one(lock).id(made.request_id.clone())).await.expect("answered");
    assert_eq!(again.records, made.records);
    let nobodys: StockKey = super::fresh_key();
    assert!(repository.logs(nobodys, None, size).await.expect("listed").items.is_empty());
}

fn order() -> OrderId {
    super::fresh_order()
}
