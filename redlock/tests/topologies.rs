//! Nodes that are more than one server: a smoke test each for Sentinel and Cluster.

use std::sync::Arc;

use redis::cluster::ClusterClientBuilder;
use redis::sentinel::{SentinelClient, SentinelServerType};
use redlock::{Builder, Cause, LockError, RedisNode, Redlock, Released, RestartGuard};
use testkit::{Port, RedisServer, Reply};

use crate::support::{SECOND, command, over};

fn unguarded() -> Builder {
    Redlock::builder().restart_guard(RestartGuard::Off).node_timeout(2 * SECOND)
}

/// Lock, contend, extend, release.
async fn smoke(redlock: &Redlock, resource: &str) {
    let guard = redlock.lock(resource).await.unwrap();
    assert!(matches!(redlock.try_lock(resource).await, Err(LockError::Contended { .. })));
    guard.extend(SECOND).await.unwrap();
    let token = guard.fence();
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    assert!(redlock.lock(resource).await.unwrap().fence() > token);
}

#[tokio::test]
async fn a_node_behind_sentinel() {
    let master = RedisServer::start().await.unwrap();
    let (folder, port) = (tempfile::tempdir().unwrap(), Port::draw().unwrap());
    let settings = folder.path().join("sentinel.conf");
    let watched = format!("port {}\nsentinel monitor locks 127.0.0.1 {} 1\n", port.number(), master.port());
    std::fs::write(&settings, watched).unwrap();
    let _sentinel = tokio::process::Command::new("redis-server")
        .arg(&settings)
        .arg("--sentinel")
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let url = format!("redis://127.0.0.1:{}", port.number());
    let client = SentinelClient::build(vec![url], "locks", None, SentinelServerType::Master).unwrap();
    let client = Arc::new(tokio::sync::Mutex::new(client));
    let node = RedisNode::from_factory("locks", move || {
        let client = Arc::clone(&client);
        async move {
            let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
            client.lock().await.get_async_connection_with_config(&config).await
        }
    });
    let redlock = unguarded().node(node).build().unwrap();
    smoke(&redlock, "order:42").await;
    assert!(!master.keys("redlock:fence:*").await.is_empty(), "it is the master that was asked");
}

/// Two masters that share the slots.
async fn cluster() -> Vec<RedisServer> {
    let mut servers = Vec::new();
    for slots in [["0", "8191"], ["8192", "16383"]] {
        let bus = Port::draw().unwrap().number().to_string();
        let builder = RedisServer::builder().arg("--cluster-enabled").arg("yes");
        let server = builder.arg("--cluster-port").arg(bus).start().await.unwrap();
        command(&server, &["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]).await;
        servers.push(server);
    }
    meet(&servers[0], &servers[1]).await;
    for server in &servers {
        testkit::eventually(20 * SECOND, || async {
            let info = command(server, &["CLUSTER", "INFO"]).await;
            info.text().unwrap().contains("cluster_state:ok")
        })
        .await;
    }
    servers
}

async fn meet(one: &RedisServer, other: &RedisServer) {
    let bus = command(other, &["CONFIG", "GET", "cluster-port"]).await;
    let Reply::List(bus) = bus else { panic!("{bus:?}") };
    let port = other.port().to_string();
    command(one, &["CLUSTER", "MEET", "127.0.0.1", &port, bus[1].text().unwrap()]).await;
}

#[tokio::test]
async fn a_node_that_is_a_cluster() {
    let servers = cluster().await;
    let urls: Vec<_> = servers.iter().map(RedisServer::url).collect();
    let node = RedisNode::from_cluster_factory("cluster", move || {
        let client = ClusterClientBuilder::new(urls.clone()).retries(0).build();
        async move { client?.get_async_connection().await }
    });
    let redlock = unguarded().node(node).build().unwrap();
    for order in 0..20 {
        smoke(&redlock, &format!("order:{order}")).await;
    }
    for server in &servers {
        assert!(!server.keys("redlock:fence:*").await.is_empty(), "both have their part");
    }
    let both = redlock.lock(["user:{7}:a", "user:{7}:b"]).await.unwrap();
    assert_eq!(both.release().await.unwrap(), Released::Released);
    for resource in [redlock.try_lock("a}b"), redlock.try_lock("{}x"), redlock.try_lock(["a", "b"])] {
        let error = resource.await.unwrap_err();
        let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
        assert!(nodes[0].detail.to_lowercase().contains("slot"), "{error}");
    }
    // Nothing of them can have been taken, so nothing is owed.
    smoke(&redlock, "order:42").await;
    assert!(redlock.close(5 * SECOND).await);
}

/// Every key of it is somebody else's.
#[tokio::test]
async fn a_master_of_a_cluster_is_asked_for_keys_of_the_other() {
    let servers = cluster().await;
    let redlock = over(&servers[..1]).build().unwrap();
    for order in 0..10 {
        let _ = redlock.try_lock(format!("order:{order}")).await;
    }
    assert!(redlock.close(5 * SECOND).await);
    for server in &servers {
        assert!(!server.keys("*").await.iter().any(|key| !key.starts_with("redlock:fence:")));
    }
}

#[tokio::test]
async fn a_replica_of_a_cluster_does_not_vote() {
    let servers = cluster().await;
    let bus = Port::draw().unwrap().number().to_string();
    let builder = RedisServer::builder().arg("--cluster-enabled").arg("yes");
    let replica = builder.arg("--cluster-port").arg(bus).start().await.unwrap();
    meet(&replica, &servers[0]).await;
    let master = command(&servers[0], &["CLUSTER", "MYID"]).await.text().unwrap().to_owned();
    testkit::eventually(20 * SECOND, || async {
        matches!(replica.command(&["CLUSTER", "REPLICATE", &master]).await, Ok(Reply::Text(_)))
    })
    .await;
    let redlock = over(std::slice::from_ref(&replica)).build().unwrap();
    let error = redlock.try_lock("order:42").await.unwrap_err();
    let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
    assert_eq!(nodes[0].cause, Cause::Replica, "{error}");
}
