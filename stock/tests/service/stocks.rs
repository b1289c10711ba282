//! Records: made, read, listed, and their log.

use serde_json::json;

use crate::support::Running;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_made_once_and_read_from_the_nearest_level() {
    let running = Running::start().await;
    let client = &running.client;
    client.get("/v1/stocks/1/0").await.is_problem(404, "not_found");
    let body = json!({"product_id": 7, "stock": 5});
    let made = client.put("/v1/stocks/1/0", body.clone()).await;
    assert_eq!(made.status, 201);
    let id = made.body["id"].clone();
    let expected = json!({"id": id, "product_id": 7, "variant_id": 1, "warehouse_id": 0, "stock": 5,
        "available_stock": 5, "locked_stock": 0, "reserved_stock": 0, "version": 0});
    assert_eq!(made.body, expected);
    let again = client.put("/v1/stocks/1/0", json!({"product_id": 8, "stock": 9})).await;
    assert_eq!((again.status, again.body), (200, expected.clone()), "it is left as it is");
    let read = client.get("/v1/stocks/1/0").await;
    assert_eq!((read.status, &read.body), (200, &expected));
    // Whoever made it knows it: without a Redis for a moment only, which may be over.
    let variants = std::sync::atomic::AtomicU64::new(2);
    let knows = async || {
        let path = format!("/v1/stocks/{}/0", variants.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        client.put(&path, json!({"product_id": 7, "stock": 5})).await;
        client.get(&path).await.headers["x-cache"] == "local"
    };
    testkit::eventually(std::time::Duration::from_secs(10), knows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_else_made_comes_from_the_database_first() {
    let running = Running::start().await;
    let key = stock::operation::StockKey::new(1, 0).unwrap();
    let stock = stock::operation::Quantity::new(3).unwrap();
    running.instance.store().create(stock::operation::Id::new(1).unwrap(), key, stock).await.unwrap();
    let read = running.client.get("/v1/stocks/1/0").await;
    assert_eq!(read.headers["x-cache"], "database");
    assert_eq!(read.ok()["stock"], 3);
    let is_known = async || running.client.get("/v1/stocks/1/0").await.headers["x-cache"] == "local";
    testkit::eventually(std::time::Duration::from_secs(10), is_known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let running = Running::start().await;
    let client = &running.client;
    for variant in 1..=5 {
        client.make(variant, variant).await;
    }
    client.put("/v1/stocks/1/2", json!({"product_id": 8, "stock": 0})).await.ok();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/stocks?product_id=7&limit=2{cursor}")).await.ok();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["variant_id"].as_u64().unwrap()));
        let Some(next) = page["next_cursor"].as_u64() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let count = async |query: &str| {
        let page = client.get(&format!("/v1/stocks?{query}")).await.ok();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("variant_id=1").await, 2);
    assert_eq!(count("variant_ids=1,2,99&warehouse_id=0").await, 2);
    assert_eq!(count("variant_ids=1,2&warehouse_id=2").await, 1);
    assert_eq!(count("variant_id=99").await, 0);
    for wrong in [
        "",
        "variant_id=1&product_id=2",
        "warehouse_id=0",
        "variant_id=",
        "variant_id=-1",
        "variant_id=1.0",
        "variant_id=9007199254740992",
        "variant_id=1&limit=0",
        "variant_id=1&limit=1001",
        "variant_id=1&cursor=x",
        "variant_id=1&variant_id=1",
        "variant_id=1&colour=red",
        "variant_ids=1,,2",
        "variant_id=1&warehouse_id=0",
    ] {
        client.get(&format!("/v1/stocks?{wrong}")).await.is_problem(422, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_what_was_done_newest_first() {
    let running = Running::start().await;
    let client = &running.client;
    client.make(1, 5).await;
    assert_eq!(client.get("/v1/stocks/1/0/logs").await.ok()["items"], json!([]));
    client.change(1, "lock", json!({"quantity": 2, "request_id": "a", "order_id": "o"})).await.ok();
    client.change(1, "add", json!({"quantity": 1})).await.ok();
    let page = client.get("/v1/stocks/1/0/logs?limit=1").await.ok();
    assert_eq!((&page["items"][0]["action"], &page["items"][0]["version"]), (&json!("add"), &json!(2)));
    let page = client.get(&format!("/v1/stocks/1/0/logs?cursor={}", page["next_cursor"])).await.ok();
    let entry = &page["items"][0];
    assert_eq!((&entry["request_id"], &entry["order_id"], &entry["quantity"]), (&json!("a"), &json!("o"), &json!(2)));
    assert_eq!((&entry["before"]["available_stock"], &entry["after"]["locked_stock"]), (&json!(5), &json!(2)));
    assert!(entry["fence"].as_u64().unwrap() > 0 && entry["id"].is_u64());
    assert!(entry["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(page["next_cursor"], json!(null));
    client.get("/v1/stocks/9/0/logs").await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_record_is_refused() {
    let running = Running::start().await;
    let client = &running.client;
    for path in
        ["/v1/stocks/x/0", "/v1/stocks/-1/0", "/v1/stocks/1.0/0", "/v1/stocks/9007199254740992/0", "/v1/stocks/1/%FF"]
    {
        client.get(path).await.is_problem(422, "invalid_request");
    }
    for (body, code) in [
        (json!({"product_id": 7, "stock": -1}), "invalid_quantity"),
        (json!({"product_id": 7, "stock": 1.5}), "invalid_quantity"),
        (json!({"product_id": 7, "stock": 9_007_199_254_740_992_u64}), "invalid_quantity"),
        (json!({"product_id": -7, "stock": 1}), "invalid_request"),
        (json!({"product_id": "7", "stock": 1}), "invalid_request"),
        (json!({"stock": 1}), "invalid_request"),
        (json!({"product_id": 7, "stock": 1, "colour": "red"}), "invalid_request"),
        (json!([]), "invalid_request"),
    ] {
        client.put("/v1/stocks/1/0", body).await.is_problem(422, code);
    }
    client
        .put("/v1/stocks/9007199254740991/0", json!({"product_id": 3.0, "stock": 9_007_199_254_740_991_u64}))
        .await
        .ok();
}
