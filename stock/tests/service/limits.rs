//! Bounds: long bodies, slow bodies, too many at once, clients that hang up.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use stock::operation::StockKey;
use testkit::{SqlServer, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Answer, Running};

/// Keeps the service from changing the record until it is dropped.
async fn in_the_way(running: &Running, variant: u64) -> redlock::Guard {
    let key = StockKey::new(variant, 0).unwrap().lock_key();
    running.instance.locks().redlock.lock(key).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_refused() {
    let running = Running::with(|service| service.body_limit = 2_000).await;
    let long = format!("{{\"quantity\": 1, \"order_id\": \"{}\"}}", "x".repeat(3_000));
    let request = running.client.ask(Method::POST, "/v1/stocks/1/0/lock").header("content-type", "application/json");
    let request = request.body(long);
    Answer::of(request.send().await.unwrap()).await.is_problem(413, "payload_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let running = Running::with(|service| service.request_timeout = Duration::from_secs(3)).await;
    let mut stream = TcpStream::connect(running.service.as_ref().unwrap().address()).await.unwrap();
    let head = "POST /v1/stocks/1/0/lock HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
}

/// A body that comes slowly takes a place from its first byte, and gives it back.
#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_are_as_bounded_as_work() {
    let running = Running::with(|service| service.queue = 2).await;
    let address = running.service.as_ref().unwrap().address();
    running.client.make(1, 5).await;
    let head = "POST /v1/stocks/1/0/lock HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    running.client.until_under_way(2).await;
    running.client.change(1, "lock", json!({"quantity": 1})).await.is_problem(503, "overloaded");
    // One hangs up in the middle, the other one goes on.
    drop(slow.pop());
    eventually(Duration::from_secs(10), async || running.client.get("/v1/stocks/1/0").await.status == 200).await;
    slow[0].write_all(b"\"quantity\":2}").await.unwrap();
    let mut answer = vec![0; 4_096];
    let read = tokio::time::timeout(Duration::from_secs(10), slow[0].read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"locked_stock\":2"), "{answer}");
}

/// Who comes when all places for connections are taken waits until somebody leaves.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded() {
    let running = Running::with(|service| service.clients = 2).await;
    let address = running.service.as_ref().unwrap().address();
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 4_096]).await.unwrap() > 0);
        idle.push(stream);
    }
    let client = running.client.clone();
    let mut third = tokio::spawn(async move { client.get("/healthz").await });
    tokio::time::timeout(Duration::from_millis(300), &mut third).await.expect_err("there is no place for it");
    drop(idle.pop());
    let answer = tokio::time::timeout(Duration::from_secs(10), third).await.expect("there is one now").unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_bound_requests_are_refused_at_once() {
    let running = Running::with(|service| service.queue = 3).await;
    let client = running.client.clone();
    client.make(1, 100).await;
    let in_the_way = in_the_way(&running, 1).await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.change(1, "lock", json!({"quantity": 1})).await })
        })
        .collect();
    client.until_under_way(3).await;
    client.get("/v1/stocks/1/0").await.is_problem(503, "overloaded");
    client.change(1, "lock", json!({"quantity": 1})).await.is_problem(503, "overloaded");
    assert_eq!(client.get("/healthz").await.status, 200);
    in_the_way.release().await.unwrap();
    for waiting in waiting {
        waiting.await.unwrap().ok();
    }
    assert_eq!(client.get("/v1/stocks/1/0").await.ok()["locked_stock"], 3);
}

/// The figure that says that an operation has begun.
const UNDER_WAY: &str = "\nstock_requests_under_way 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_goes_on_when_its_client_hangs_up() {
    let running = Running::start().await;
    running.client.make(1, 5).await;
    let in_the_way = in_the_way(&running, 1).await;
    let mut stream = TcpStream::connect(running.service.as_ref().unwrap().address()).await.unwrap();
    let body = "{\"quantity\":2,\"request_id\":\"gone\"}";
    let head = format!(
        "POST /v1/stocks/1/0/lock HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let begun = async || running.client.get("/metrics").await.body.as_str().unwrap().contains(UNDER_WAY);
    eventually(Duration::from_secs(10), begun).await;
    drop(stream);
    in_the_way.release().await.unwrap();
    eventually(Duration::from_secs(10), async || running.client.get("/v1/stocks/1/0").await.ok()["locked_stock"] == 2)
        .await;
    let again = running.client.change(1, "lock", json!({"quantity": 2, "request_id": "gone"})).await;
    assert_eq!(again.headers["stock-replayed"], "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_unknown_and_goes_on() {
    let running = Running::with(|service| service.request_timeout = Duration::from_secs(1)).await;
    running.client.make(1, 5).await;
    let in_the_way = in_the_way(&running, 1).await;
    let unknown = running.client.change(1, "lock", json!({"quantity": 2})).await;
    unknown.is_problem(503, "outcome_unknown");
    let id = unknown.body["request_id"].as_str().unwrap().to_owned();
    in_the_way.release().await.unwrap();
    eventually(Duration::from_secs(10), async || running.client.get("/v1/stocks/1/0").await.ok()["locked_stock"] == 2)
        .await;
    let again = running.client.change(1, "lock", json!({"quantity": 2, "request_id": id})).await;
    assert_eq!(again.headers["stock-replayed"], "true", "it can be found under the id that was told");
}

/// A look that takes too long has changed nothing, so that it failed is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_takes_too_long_is_given_up() {
    let server = SqlServer::start().await.unwrap();
    let database = server.url("test");
    let settings = [("DATABASE_URL", &*database), ("STOCK_REPOSITORY", "row-lock"), ("STOCK_BIND", "127.0.0.1:0")];
    let mut config = crate::support::config(&settings);
    config.service.request_timeout = Duration::from_secs(3);
    let (service, _instance) = crate::support::open(&config, stock::assembly::Purpose::Service).await;
    let client = crate::support::Client::new(service.url());
    client.make(1, 5).await;
    server.pause().await.unwrap();
    client.get("/v1/stocks?variant_id=1").await.is_problem(503, "timeout");
    server.resume().await.unwrap();
    client.get("/v1/stocks?variant_id=1").await.ok();
}

/// Whoever says nothing, or not enough to know what they speak, is not listened to for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_closed() {
    let running = Running::start().await;
    let address = running.service.as_ref().unwrap().address();
    let listen = async |said: &'static str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard);
        // A reset is an end too.
        let _ = tokio::time::timeout(Duration::from_secs(25), ended).await.expect("it is closed");
    };
    let idle = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // Headers that come a byte at a time never end either.
    let trickle = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let says = b"GET /healthz HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y'));
        for byte in says.take(100) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("it is listened to for 25 s");
    };
    tokio::join!(listen(""), listen("PRI "), listen("GET / HT"), listen(idle), trickle);
}
