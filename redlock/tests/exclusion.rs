//! At most one holder at a time, and everybody gets a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use redlock::{LockError, Redlock, Released};
use testkit::RedisServer;

use crate::support::{SECOND, connected, lock_keys, millis, over};

const TASKS: usize = 24;
const HANDLES: usize = 4;
const SECTIONS: usize = 480;

#[derive(Default)]
struct Section {
    inside: AtomicUsize,
    done: AtomicUsize,
}

async fn worker(redlock: Redlock, section: Arc<Section>) {
    for _ in 0..SECTIONS / TASKS {
        let guard = redlock.lock("counter").wait(60 * SECOND).await.unwrap();
        assert_eq!(section.inside.fetch_add(1, SeqCst), 0, "two holders at once");
        tokio::task::yield_now().await;
        assert_eq!(section.inside.fetch_sub(1, SeqCst), 1, "two holders at once");
        section.done.fetch_add(1, SeqCst);
        assert_eq!(guard.release().await.unwrap(), Released::Released);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_two_inside_and_all_done() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let mut handles = Vec::new();
    for _ in 0..HANDLES {
        handles.push(connected(&servers).await);
    }
    let section = Arc::new(Section::default());
    let workers: Vec<_> = (0..TASKS)
        .map(|task| worker(handles[task % HANDLES].clone(), Arc::clone(&section)))
        .map(tokio::spawn)
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(section.done.load(SeqCst), SECTIONS);
}

#[tokio::test]
async fn a_held_lock_is_contended_with_the_time_it_has_left() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let (one, other) = (connected(&servers).await, connected(&servers).await);
    let guard = one.lock("order:42").ttl(9 * SECOND).await.unwrap();
    match other.try_lock("order:42").await {
        Err(LockError::Contended { retry_after, .. }) => {
            assert!(retry_after <= 9 * SECOND && retry_after > 5 * SECOND, "{retry_after:?}");
        }
        other => panic!("{other:?}"),
    }
    match other.lock("order:42").wait(millis(120)).await {
        Err(LockError::TimedOut { last, waited, .. }) => {
            assert!(matches!(*last, LockError::Contended { .. }), "{last:?}");
            assert!(waited >= millis(120) && waited < 5 * SECOND, "{waited:?}");
        }
        other => panic!("{other:?}"),
    }
    drop(guard);
    other.lock("order:42").wait(5 * SECOND).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn several_keys_are_taken_together_or_not_at_all() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let one = redlock.lock("sku:2").await.unwrap();
    let both = redlock.try_lock(["sku:1", "sku:2"]).await;
    assert!(matches!(both, Err(LockError::Contended { .. })), "{both:?}");
    // What a refused attempt left behind would be in the way here.
    let other = redlock.lock("sku:1").wait(5 * SECOND).await.unwrap();
    drop((one, other));
    let both = redlock.lock(["sku:2", "sku:1"]).wait(5 * SECOND).await.unwrap();
    let swapped = redlock.try_lock(["sku:1", "sku:2"]).await;
    assert!(matches!(swapped, Err(LockError::Contended { .. })), "{swapped:?}");
    assert_eq!(both.release().await.unwrap(), Released::Released);
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

#[tokio::test]
async fn a_key_that_never_expires_is_contended_for_the_longest_lease() {
    let servers = RedisServer::fleet(1).await.unwrap();
    crate::support::command(&servers[0], &["SET", "job", "by hand"]).await;
    let redlock = over(&servers).ttl(SECOND).max_ttl(7 * SECOND).build().unwrap();
    match redlock.try_lock("job").await {
        Err(LockError::Contended { retry_after, .. }) => assert_eq!(retry_after, 7 * SECOND),
        other => panic!("{other:?}"),
    }
}
