//! The end: what is in flight is answered, what was begun is finished, leases are released.

use std::time::Duration;

use serde_json::json;
use stock::operation::StockKey;
use testkit::{RedisServer, eventually};

use crate::support::{Client, Running, config, open};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_answered_and_nobody_is_let_in() {
    let mut running = Running::start().await;
    let client = running.client.clone();
    client.make(1, 5).await;
    let key = StockKey::new(1, 0).unwrap().lock_key();
    let in_the_way = running.instance.locks().redlock.lock(key).await.unwrap();
    let in_flight = {
        let client = client.clone();
        tokio::spawn(async move { client.change(1, "lock", json!({"quantity": 2})).await })
    };
    client.until_under_way(1).await;
    let service = running.service.take().unwrap();
    let address = service.address();
    let closing = tokio::spawn(service.close());
    eventually(Duration::from_secs(5), async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    assert!(!closing.is_finished(), "somebody waits for an answer");
    in_the_way.release().await.unwrap();
    assert_eq!(in_flight.await.unwrap().ok()["locked_stock"], 2);
    assert!(closing.await.unwrap());
    assert!(running.instance.close(Duration::from_secs(10)).await);
    assert!(running.instance.locks().redlock.leases(1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_full_of_watchers_does_not_hold_up_the_end() {
    let mut running = Running::start().await;
    let watching = running.client.ask(reqwest::Method::GET, "/v1/room/stream").send().await.unwrap();
    let service = running.service.take().unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), service.close()).await;
    assert!(closed.unwrap());
    drop(watching);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_released_on_the_nodes() {
    let nodes = RedisServer::fleet(3).await.unwrap();
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("stock.db").display());
    let settings = [
        ("DATABASE_URL", &*database),
        ("REDLOCK_NODES", &*urls.join(",")),
        ("REDLOCK_RESTART_GUARD", "off"),
        ("STOCK_BIND", "127.0.0.1:0"),
    ];
    let (service, instance) = open(&config(&settings), stock::assembly::Purpose::Service).await;
    let client = Client::new(service.url());
    client.make(1, 1_000).await;
    let requests = (0..50).map(|_| client.change(1, "lock", json!({"quantity": 1})));
    futures_util::future::join_all(requests).await.into_iter().for_each(|answer| drop(answer.ok()));
    assert!(service.close().await && instance.close(Duration::from_secs(10)).await);
    for node in &nodes {
        assert_eq!(node.keys("lock:*").await, Vec::<String>::new());
    }
}
