//! Changes, one or several: what they do, and each way in which they are refused.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::support::{Answer, Running};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_lives_through_its_operations() {
    let running = Running::start().await;
    let client = &running.client;
    client.make(1, 10).await;
    for (operation, quantity, levels) in [
        ("lock", 4, [10, 6, 4, 0]),
        ("unlock", 1, [10, 7, 3, 0]),
        ("reserve", 3, [10, 7, 0, 3]),
        ("release", 1, [10, 8, 0, 2]),
        ("deduct", 2, [8, 8, 0, 0]),
        ("add", 5, [13, 13, 0, 0]),
        ("reset", 0, [0, 0, 0, 0]),
    ] {
        let record = client.change(1, operation, json!({"quantity": quantity})).await.ok();
        let found =
            ["stock", "available_stock", "locked_stock", "reserved_stock"].map(|name| record[name].as_u64().unwrap());
        assert_eq!(found, levels, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status_and_code() {
    let running = Running::start().await;
    let client = &running.client;
    client.make(1, 5).await;
    client.change(1, "lock", json!({"quantity": 1, "order_id": "held", "request_id": "first"})).await.ok();
    for (operation, body, status, code) in [
        ("lock", json!({"quantity": 5}), 409, "insufficient_stock"),
        ("unlock", json!({"quantity": 2}), 409, "insufficient_locked"),
        ("reserve", json!({"quantity": 2}), 409, "insufficient_locked"),
        ("release", json!({"quantity": 1}), 409, "insufficient_reserved"),
        ("deduct", json!({"quantity": 1}), 409, "insufficient_reserved"),
        ("add", json!({"quantity": 9_007_199_254_740_991_u64}), 409, "overflow"),
        ("reset", json!({"quantity": 0}), 409, "below_committed"),
        ("unlock", json!({"quantity": 1, "order_id": "other"}), 409, "hold_not_found"),
        ("unlock", json!({"quantity": 2, "order_id": "held"}), 409, "hold_exceeded"),
        ("lock", json!({"quantity": 2, "request_id": "first"}), 409, "request_conflict"),
        ("lock", json!({"quantity": 0}), 422, "invalid_quantity"),
        ("lock", json!({"quantity": -1}), 422, "invalid_quantity"),
        ("lock", json!({"quantity": 0.5}), 422, "invalid_quantity"),
        ("lock", json!({"quantity": 9_007_199_254_740_992_u64}), 422, "invalid_quantity"),
        ("steal", json!({"quantity": 1}), 422, "invalid_operation"),
        ("lock", json!({"quantity": 1, "request_id": ""}), 422, "invalid_request"),
        ("lock", json!({"quantity": 1, "request_id": "x".repeat(65)}), 422, "invalid_request"),
        ("lock", json!({"quantity": 1, "order_id": "ä"}), 422, "invalid_request"),
        ("lock", json!({"quantity": 1, "expires_in": 1}), 422, "invalid_request"),
        ("lock", json!({"quantity": 1, "order_id": "o", "expires_in": 0}), 422, "invalid_request"),
        ("lock", json!({"quantity": "1"}), 422, "invalid_request"),
        ("lock", json!({}), 422, "invalid_request"),
        ("lock", json!({"quantity": 1, "colour": "red"}), 422, "invalid_request"),
    ] {
        client.change(1, operation, body).await.is_problem(status, code);
    }
    client.change(2, "lock", json!({"quantity": 1})).await.is_problem(404, "not_found");
    assert_eq!(client.get("/v1/stocks/1/0").await.ok()["version"], 1, "none of them changed anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_read_are_told_apart() {
    let running = Running::start().await;
    let client = &running.client;
    client.make(1, 5).await;
    let send = async |kind: &str, body: &'static [u8]| {
        let request = client.ask(Method::POST, "/v1/stocks/1/0/lock").header("content-type", kind).body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    for unreadable in [&b"{"[..], b"", b"{\"quantity\": 1}}", b"\xff", b"nonsense"] {
        send("application/json", unreadable).await.is_problem(400, "invalid_json");
    }
    send("text/plain", b"{\"quantity\": 1}").await.is_problem(415, "unsupported_media_type");
    assert_eq!(send("application/json; charset=utf-8", b"{\"quantity\": 1}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_changes_nothing_also_after_a_restart() {
    let mut running = Running::start().await;
    running.client.make(1, 5).await;
    let body = json!({"quantity": 2, "request_id": "only-once", "order_id": "o", "expires_in": 60});
    let first = running.client.change(1, "lock", body.clone()).await;
    assert_eq!(first.headers["stock-request-id"], "only-once");
    assert_eq!(first.headers["stock-replayed"], "false");
    let first = first.ok();
    running.client.change(1, "lock", json!({"quantity": 1})).await.ok();
    assert!(running.service.take().unwrap().close().await);
    assert!(running.instance.close(Duration::from_secs(10)).await);

    let mut config = crate::support::config(&[("DATABASE_URL", &running.database())]);
    config.service.bind = ([127, 0, 0, 1], 0).into();
    let (service, instance) = crate::support::open(&config, stock::assembly::Purpose::Service).await;
    let client = crate::support::Client::new(service.url());
    let again = client.change(1, "lock", body).await;
    assert_eq!(again.headers["stock-replayed"], "true");
    assert_eq!(again.ok(), first);
    assert_eq!(client.get("/v1/stocks/1/0").await.ok()["locked_stock"], 3);
    assert!(service.close().await && instance.close(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_made_is_told_and_is_in_the_log() {
    let running = Running::start().await;
    running.client.make(1, 5).await;
    let changed = running.client.change(1, "lock", json!({"quantity": 1})).await;
    let id = changed.headers["stock-request-id"].to_str().unwrap().to_owned();
    let log = running.client.get("/v1/stocks/1/0/logs").await.ok();
    assert_eq!(log["items"][0]["request_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_done_all_or_not_at_all() {
    let running = Running::start().await;
    let client = &running.client;
    client.make(1, 5).await;
    client.make(2, 5).await;
    let part = |variant: u64, operation: &str, quantity: u64| json!({"variant_id": variant, "warehouse_id": 0, "operation": operation, "quantity": quantity, "order_id": "o"});
    let batch = json!({"request_id": "b", "operations": [part(2, "lock", 1), part(1, "lock", 2), part(2, "lock", 3)]});
    let done = client.post("/v1/operations", batch.clone()).await.ok();
    let locked = |answer: &Value, index: usize| answer["records"][index]["locked_stock"].as_u64().unwrap();
    assert_eq!([locked(&done, 0), locked(&done, 1), locked(&done, 2)], [1, 2, 4]);
    assert_eq!(client.post("/v1/operations", batch).await.ok(), done, "again is not twice");
    let too_much = json!({"operations": [part(1, "lock", 1), part(2, "lock", 2)]});
    client.post("/v1/operations", too_much).await.is_problem(409, "insufficient_stock");
    assert_eq!(client.get("/v1/stocks/1/0").await.ok()["locked_stock"], 2, "the first half is undone");
    for (operations, code) in [
        (json!([]), "invalid_request"),
        (json!([part(1, "steal", 1)]), "invalid_operation"),
        (json!([part(1, "lock", 0)]), "invalid_quantity"),
        (Value::Array(vec![part(1, "lock", 1); 1_001]), "invalid_request"),
    ] {
        client.post("/v1/operations", json!({"operations": operations})).await.is_problem(422, code);
    }
    let missing = json!({"operations": [part(1, "lock", 1), part(9, "lock", 1)]});
    client.post("/v1/operations", missing).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_listed_and_expire() {
    let running = Running::start().await;
    let client = &running.client;
    client.make(1, 5).await;
    client.make(2, 5).await;
    client.change(1, "lock", json!({"quantity": 2, "order_id": "o/1", "expires_in": 1})).await.ok();
    client.change(2, "lock", json!({"quantity": 1, "order_id": "o/1"})).await.ok();
    let page = client.get("/v1/orders/o%2F1/holds?limit=1").await.ok();
    let hold = &page["items"][0];
    assert_eq!((&hold["variant_id"], &hold["locked"], &hold["state"]), (&json!(2), &json!(1), &json!("open")));
    assert_eq!((&hold["expires_at"], &hold["order_id"]), (&json!(null), &json!("o/1")));
    assert!(page["next_cursor"].is_u64());
    assert_eq!(client.get("/v1/orders/nobody/holds").await.ok()["items"], json!([]));
    client.get("/v1/orders/%20/holds").await.is_problem(422, "invalid_request");
    eventually(Duration::from_secs(20), async || client.get("/v1/stocks/1/0").await.ok()["locked_stock"] == 0).await;
    client.change(1, "reserve", json!({"quantity": 2, "order_id": "o/1"})).await.is_problem(409, "hold_expired");
}
