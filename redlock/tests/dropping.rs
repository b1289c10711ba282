//! Guards and futures dropped where it hurts: outside a runtime, with their runtime gone.

use redlock::{Redlock, RestartGuard, SimNetwork, SimNode};
use testkit::{Mode, Proxy, RedisServer};
use tokio::runtime::Runtime;

use crate::support::{SECOND, lock_keys, millis, over};

#[test]
fn a_guard_dropped_outside_a_runtime_releases() {
    let runtime = Runtime::new().unwrap();
    let servers = runtime.block_on(RedisServer::fleet(3)).unwrap();
    let redlock = over(&servers).ttl(60 * SECOND).max_ttl(60 * SECOND).build().unwrap();
    let guard = runtime.block_on(redlock.lock("order:42").into_future()).unwrap();
    assert!(guard.is_valid());
    drop(guard);
    runtime.block_on(async {
        assert!(redlock.close(5 * SECOND).await);
        assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
    });
}

#[test]
fn alone_a_manager_outlives_the_runtime_of_its_first_use() {
    let servers = Runtime::new().unwrap();
    let servers = (servers.block_on(RedisServer::fleet(3)).unwrap(), servers);
    let redlock = over(&servers.0).build().unwrap();
    for lock in 0..3 {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let guard = redlock.lock(format!("order:{lock}")).ttl(SECOND).await.unwrap();
            tokio::time::sleep(SECOND).await;
            assert!(guard.is_valid(), "it is renewed in runtime {lock} too");
            guard.release().await.unwrap();
        });
    }
}

#[test]
fn a_guard_whose_runtime_is_gone_can_be_dropped() {
    let runtime = Runtime::new().unwrap();
    let servers = runtime.block_on(RedisServer::fleet(1)).unwrap();
    let inner = Runtime::new().unwrap();
    let redlock = over(&servers).build().unwrap();
    let guard = inner.block_on(redlock.lock("order:42").into_future()).unwrap();
    drop(inner);
    drop(guard);
    drop(redlock);
}

#[tokio::test]
async fn a_dropped_manager_still_delivers_its_releases() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = over(&servers).ttl(60 * SECOND).build().unwrap();
    let guard = redlock.lock("order:42").await.unwrap();
    drop(redlock);
    assert!(guard.is_valid(), "a guard keeps what it needs");
    drop(guard);
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

/// The last thing a manager does may come to a node in the very moment in which its connection is found idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_dropped_with_their_guards_leave_no_key() {
    let servers = RedisServer::fleet(3).await.unwrap();
    for manager in 0..500 {
        drop(over(&servers).ttl(60 * SECOND).build().unwrap().try_lock(manager.to_string()).await.unwrap());
    }
    testkit::eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

#[test]
fn alone_a_guard_is_renewed_when_the_runtime_of_another_ends() {
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let servers = second.block_on(RedisServer::fleet(1)).unwrap();
    let redlock = over(&servers).build().unwrap();
    first.block_on(async { redlock.lock("first").await.unwrap().release().await.unwrap() });
    let guard = second.block_on(redlock.lock("second").ttl(SECOND).into_future()).unwrap();
    drop(first);
    second.block_on(async {
        tokio::time::sleep(2 * SECOND).await;
        assert!(guard.is_valid(), "the renewal task has moved");
    });
}

#[test]
fn a_release_outlives_the_runtime_of_its_connection() {
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let servers = second.block_on(RedisServer::fleet(1)).unwrap();
    let redlock = over(&servers).ttl(60 * SECOND).build().unwrap();
    let guard = first.block_on(redlock.lock("order:42").into_future()).unwrap();
    drop(first);
    drop(guard);
    second.block_on(async {
        assert!(redlock.close(5 * SECOND).await);
        assert_eq!(lock_keys(&servers).await, Vec::<String>::new());
    });
}

/// The runtime of the connection ends when `close` has asked already.
#[test]
fn closing_outlives_the_runtime_of_a_connection() {
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let server = second.block_on(RedisServer::start()).unwrap();
    let proxy = second.block_on(Proxy::start(server.addr()));
    let redlock = Redlock::builder().nodes([format!("redis://{}", proxy.addr())]).ttl(60 * SECOND);
    let redlock = redlock.node_timeout(2 * SECOND).restart_guard(RestartGuard::Off).build().unwrap();
    let guard = first.block_on(redlock.lock("order:42").into_future()).unwrap();
    proxy.set(Mode::BlackHole);
    drop(guard);
    proxy.reset_connections();
    let closing = second.spawn(async move { redlock.close(20 * SECOND).await });
    std::thread::sleep(millis(100));
    drop(first);
    std::thread::sleep(millis(50));
    proxy.set(Mode::Forward);
    assert!(second.block_on(closing).unwrap());
    assert_eq!(second.block_on(lock_keys(std::slice::from_ref(&server))), Vec::<String>::new());
}

/// Thousands of releases are owed to a node that comes back over a long way.
#[tokio::test]
async fn closing_waits_for_what_is_owed_until_it_has_arrived() {
    let server = RedisServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await;
    let url = format!("redis://{}", proxy.addr());
    let redlock = Redlock::builder().nodes([url]).ttl(60 * SECOND).node_timeout(2 * SECOND);
    let redlock = redlock.restart_guard(RestartGuard::Off).build().unwrap();
    let mut guards = Vec::new();
    for key in 0..3_000 {
        guards.push(redlock.try_lock(key.to_string()).renew(false).await.unwrap());
    }
    proxy.set(Mode::BlackHole);
    drop(guards);
    proxy.reset_connections();
    proxy.set(Mode::Delay(millis(20)));
    assert!(redlock.close(20 * SECOND).await);
    assert_eq!(lock_keys(std::slice::from_ref(&server)).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_simulated_nodes_too() {
    let node = SimNode::new("node");
    let near = node.over(SimNetwork::new().latency(millis(1)..=millis(1)), 1);
    let redlock = Redlock::builder().node(near).ttl(60 * SECOND).restart_guard(RestartGuard::Off).build().unwrap();
    let guard = redlock.lock("order:42").await.unwrap();
    node.stop();
    drop(guard);
    let closing = tokio::spawn({
        let redlock = redlock.clone();
        async move { redlock.close(20 * SECOND).await }
    });
    tokio::time::sleep(5 * SECOND).await;
    assert!(!closing.is_finished(), "the node has not been told");
    node.start(true);
    assert!(closing.await.unwrap());
    assert!(node.is_empty());
}
