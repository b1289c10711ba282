//! A node that does not answer: what waits for it is bounded, and what must not be lost is not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use redlock::node::suite::ask;
use redlock::{Cause, Claim, FencingToken, RedisNode, Request};
use testkit::RedisServer;

use crate::support::SECOND;

/// As many requests as may wait for one node, and a few more.
const BACKLOG: usize = 16 * 1024;
const RENEWALS: usize = 8 * 1024;

const TTL: Duration = Duration::from_secs(60);

fn claim(number: usize) -> Arc<Claim> {
    Arc::new(Claim::new([number.to_string()].into(), format!("owner {number}")))
}

fn acquire(number: usize) -> Request {
    Request::Acquire { claim: claim(number), ttl: TTL, proposal: FencingToken::new(1).unwrap(), span: 1 }
}

fn extend(number: usize) -> Request {
    Request::Extend { claim: claim(number), ttl: TTL, token: FencingToken::new(1).unwrap() }
}

fn release(number: usize) -> Request {
    Request::Release { claim: claim(number), by: None, ttl: TTL }
}

/// What `node` says at once; nothing where the request waits.
fn at_once(node: &RedisNode, request: Request) -> Option<Cause> {
    ask(node, request).now_or_never().map(|answer| answer.unwrap_err().cause().clone())
}

#[tokio::test]
async fn past_its_backlog_a_node_is_left_out_and_renewals_and_releases_are_not() {
    let server = RedisServer::start().await.unwrap();
    let node = RedisNode::open(&server.url()).unwrap();
    ask(&node, Request::Info).await.unwrap();
    server.pause().await.unwrap();
    let waiting: Vec<_> = (0..BACKLOG).map(|number| at_once(&node, acquire(number))).collect();
    assert!(waiting.iter().all(Option::is_none), "there is room for all of these");
    assert_eq!(at_once(&node, acquire(BACKLOG)), Some(Cause::Backlog));
    assert_eq!(at_once(&node, Request::Info), Some(Cause::Backlog));
    // Leases that are held have room of their own, and it has an end.
    assert!((0..RENEWALS).all(|number| at_once(&node, extend(number)).is_none()));
    assert_eq!(at_once(&node, extend(RENEWALS)), Some(Cause::Backlog));
    let released: Vec<_> = (0..BACKLOG).map(|number| ask(&node, release(number))).collect();
    server.resume().await.unwrap();
    let released = tokio::time::timeout(20 * SECOND, join_all(released)).await.unwrap();
    assert!(released.iter().all(Result::is_ok), "{:?}", released.iter().find(|answer| answer.is_err()));
    assert_eq!(server.keys("*").await.iter().filter(|key| !key.starts_with("redlock:")).count(), 0);
    assert!(ask(&node, acquire(BACKLOG)).await.is_ok(), "and there is room again");
}
