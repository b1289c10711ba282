//! What becomes of connections, on a real server.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{ErrorKind, RedisError};
use testkit::{RedisServer, eventually};

use super::Link;

const SOON: Duration = Duration::from_secs(5);

/// Once something else has been said on a new connection, nothing can arrive on the old one any more.
#[tokio::test]
async fn a_connection_that_was_given_up_is_ended_before_the_next_is_used() {
    let redis = RedisServer::start().await.unwrap();
    let link = Link::new(&redis.url()).unwrap();
    let mut old = link.get().await.unwrap();
    link.give_up(&old, &lost()).await;
    let new = link.get().await.unwrap();
    assert_eq!(new.run_id, old.run_id);
    assert_ne!(new.number, old.number);
    redis::cmd("SET").arg("late").arg("1").query_async::<()>(&mut old.connection).await.unwrap_err();
    assert!(redis.keys("late").await.is_empty());
    // A second one who lost its answer on the old one does not harm the new one.
    link.give_up(&old, &lost()).await;
    assert_eq!(link.get().await.unwrap().number, new.number);
}

/// A server that has gone is noticed before anything is sent to it, which is what tells a refusal from a doubt.
#[tokio::test]
async fn an_ended_connection_is_not_used() {
    let redis = RedisServer::start().await.unwrap();
    let link = Link::new(&redis.url()).unwrap();
    let old = link.get().await.unwrap();
    redis.kill().await.unwrap();
    eventually(SOON, async || old.is_over.load(Ordering::Acquire)).await;
    assert!(link.get().await.unwrap_err().is_connection_refusal());
}

fn lost() -> RedisError {
    (ErrorKind::Io, "the answer was lost").into()
}
