//! The end of a lease: noticed in time, and harmless.

use std::time::{Duration, Instant};

use redlock::{Cause, ExtendError, LockError, LossReason, Released};
use testkit::RedisServer;

use crate::support::{SECOND, connected, impatient, lock_keys, millis, over};

#[tokio::test]
async fn an_expired_guard_is_harmless() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let (one, other) = (connected(&servers).await, connected(&servers).await);
    let expired = one.lock("order:42").ttl(millis(150)).renew(false).await.unwrap();
    assert_eq!(expired.lost().await, LossReason::Deadline);
    assert!(!expired.is_valid());
    assert_eq!(expired.validity(), Duration::ZERO);
    let extended = expired.extend(SECOND).await;
    assert!(matches!(extended, Err(ExtendError::Lost(LossReason::Deadline))), "{extended:?}");

    let next = other.lock("order:42").wait(2 * SECOND).await.unwrap();
    assert!(expired.extend(SECOND).await.is_err());
    assert_eq!(expired.release().await.unwrap(), Released::AlreadyExpired);
    assert!(next.is_valid());
    next.extend(2 * SECOND).await.expect("the next holder is not disturbed");
    assert_eq!(next.release().await.unwrap(), Released::Released);
    assert!(other.close(5 * SECOND).await && one.close(5 * SECOND).await);
    assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
}

#[tokio::test]
async fn tiny_ttls_are_refused_or_valid_for_less() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = connected(&servers).await;
    let (mut refused, mut granted) = (0, 0);
    for micros in (1..=20_000).step_by(211) {
        let ttl = Duration::from_micros(micros);
        match redlock.try_lock(format!("tiny:{micros}")).ttl(ttl).await {
            Ok(guard) => {
                granted += 1;
                assert!(guard.validity() < ttl, "{ttl:?}: {:?}", guard.validity());
            }
            Err(LockError::InvalidTtl { ttl: named, .. }) => {
                refused += 1;
                assert_eq!(named, ttl);
            }
            // Nobody can answer in a part of a millisecond.
            Err(LockError::Unavailable { nodes, .. }) => {
                refused += 1;
                assert!(nodes.iter().all(|node| node.cause == Cause::Timeout), "{nodes:?}");
            }
            Err(other) => panic!("{ttl:?}: {other:?}"),
        }
    }
    println!("{refused} refused, {granted} granted");
    assert!(refused > 0 && granted > 0, "{refused} refused, {granted} granted");
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

#[tokio::test]
async fn a_ttl_above_the_longest_lease_is_refused() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let redlock = over(&servers).ttl(2 * SECOND).max_ttl(4 * SECOND).build().unwrap();
    let error = redlock.try_lock("order:42").ttl(5 * SECOND).await.unwrap_err();
    assert!(error.to_string().contains("at most 4s is allowed"), "{error}");
    let guard = redlock.try_lock("order:42").ttl(4 * SECOND).await.unwrap();
    let error = guard.extend(5 * SECOND).await.unwrap_err();
    assert!(matches!(error, ExtendError::InvalidTtl { .. }), "{error}");
    assert!(guard.is_valid());
}

#[tokio::test]
async fn alone_hung_nodes_cannot_delay_the_notice_of_loss() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let redlock = impatient(&servers).await;
    let mut late = Vec::new();
    for round in 0..3 {
        let guard = redlock.lock(format!("order:{round}")).ttl(millis(600)).await.unwrap();
        for server in &servers {
            server.pause().await.unwrap();
        }
        let deadline = Instant::now() + guard.validity();
        let (one, two) = (tokio::spawn(guard.lost()), tokio::spawn(guard.lost()));
        assert_eq!(one.await.unwrap(), LossReason::Deadline);
        late.push(Instant::now().saturating_duration_since(deadline));
        assert_eq!(two.await.unwrap(), LossReason::Deadline, "many may wait");
        assert!(!guard.is_valid());
        for server in &servers {
            server.resume().await.unwrap();
        }
        drop(guard);
        crate::support::warm_up(&redlock).await;
    }
    println!("noticed {late:?} after the deadline");
    assert!(crate::support::median(late.clone()) <= millis(50), "{late:?}");
}
