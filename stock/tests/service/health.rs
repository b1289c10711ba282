//! Whether it lives, whether it is ready, its figures, and answers where there is nothing.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testkit::{RedisServer, SqlServer, eventually};

use crate::support::{Answer, Client, Running, config, open};

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_while_database_and_quorum_are() {
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
    let (service, _instance) = open(&config(&settings), stock::assembly::Purpose::Service).await;
    let client = Client::new(service.url());
    let is_ready = async || client.get("/readyz").await.status == 200;
    eventually(Duration::from_secs(10), is_ready).await;
    assert_eq!(client.get("/readyz").await.ok()["quorum"], 2);
    nodes[0].pause().await.unwrap();
    eventually(Duration::from_secs(10), async || client.get("/readyz").await.body["voting"] == 2).await;
    nodes[1].kill().await.unwrap();
    eventually(Duration::from_secs(10), async || client.get("/readyz").await.status == 503).await;
    let unready = client.get("/readyz").await;
    unready.is_problem(503, "not_ready");
    assert!(unready.body["detail"].as_str().unwrap().contains("1 of 3 lock nodes vote, 2 have to"), "{unready:?}");
    assert_eq!(client.get("/healthz").await.status, 200, "it lives all the same");
    nodes[0].resume().await.unwrap();
    eventually(Duration::from_secs(10), is_ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_in_quarantine_keep_it_from_being_ready_and_it_says_for_how_long() {
    let nodes = RedisServer::fleet(3).await.unwrap();
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("stock.db").display());
    let settings = [("DATABASE_URL", &*database), ("REDLOCK_NODES", &*urls.join(",")), ("STOCK_BIND", "127.0.0.1:0")];
    let (service, _instance) = open(&config(&settings), stock::assembly::Purpose::Service).await;
    let client = Client::new(service.url());
    eventually(Duration::from_secs(5), async || {
        let unready = client.get("/readyz").await;
        unready.status == 503 && unready.body["detail"].as_str().unwrap().contains("s enough will")
    })
    .await;
    let after: u64 = client.get("/readyz").await.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((2..=12).contains(&after), "{after}");
}

/// Everybody may ask: nothing of where things are, or of what they said, is told.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_parts_and_states_and_nothing_else() {
    let server = SqlServer::start().await.unwrap();
    let nodes = RedisServer::fleet(1).await.unwrap();
    let (database, node) = (server.url("test"), nodes[0].url());
    let settings = [
        ("DATABASE_URL", &*database),
        ("REDLOCK_NODES", &*node),
        ("REDLOCK_RESTART_GUARD", "off"),
        ("STOCK_BIND", "127.0.0.1:0"),
        ("STOCK_API_TOKEN", "hush-hush"),
    ];
    let (service, _instance) = open(&config(&settings), stock::assembly::Purpose::Service).await;
    let client = Client::new(service.url());
    eventually(Duration::from_secs(10), async || client.get("/readyz").await.status == 200).await;
    let ready = client.get("/readyz").await.ok();
    assert_eq!(ready, json!({"status": "ready", "database": "up", "voting": 1, "quorum": 1}));
    server.query("test", "DELETE FROM _sqlx_migrations WHERE version = 5").await.unwrap();
    // It may be late with the locks, too, once.
    eventually(Duration::from_secs(10), async || {
        let unready = client.get("/readyz").await;
        unready.status == 503 && unready.body["detail"] == "database: store_schema"
    })
    .await;
    client.get("/readyz").await.is_problem(503, "not_ready");
    server.kill().await.unwrap();
    nodes[0].kill().await.unwrap();
    let locks = "; 0 of 1 lock nodes vote, 1 have to; 1 do not answer";
    // What a dead server looks like depends on whether a connection was open.
    let expected = ["store_unavailable", "no answer"].map(|state| json!(format!("database: {state}{locks}")));
    let detail = async || client.get("/readyz").await.body["detail"].clone();
    eventually(Duration::from_secs(20), async || expected.contains(&detail().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route_status_and_problem_in_bounded_words() {
    let running = Running::with(|service| service.queue = 1).await;
    let client = running.client.clone();
    client.make(1, 5).await;
    client.change(1, "lock", json!({"quantity": 9})).await.is_problem(409, "insufficient_stock");
    for path in ["/nowhere", "/else/where"] {
        client.get(path).await.is_problem(404, "not_found");
    }
    let invented = Method::from_bytes(b"INVENTED").unwrap();
    Answer::of(client.ask(invented, "/healthz").send().await.unwrap()).await.is_problem(405, "method_not_allowed");
    let figures = async || client.get("/metrics").await.body.as_str().unwrap().to_owned();
    let has = |figures: &str, line: &str| figures.lines().any(|found| found == line);
    let seen = figures().await;
    let change = "/v1/stocks/{variant_id}/{warehouse_id}/{operation}";
    for line in [
        &*format!("stock_http_requests_total{{method=\"POST\",route=\"{change}\",status=\"409\"}} 1"),
        "stock_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 2",
        "stock_http_requests_total{method=\"other\",route=\"/healthz\",status=\"405\"} 1",
        "stock_http_problems_total{code=\"insufficient_stock\"} 1",
        "stock_http_problems_total{code=\"not_found\"} 2",
        // The one that asks.
        "stock_http_requests_in_flight 1",
    ] {
        assert!(has(&seen, line), "{seen} lacks {line}");
    }
    assert!(!seen.contains("INVENTED") && !seen.contains("nowhere"), "{seen}");

    let key = stock::operation::StockKey::new(1, 0).unwrap().lock_key();
    let in_the_way = running.instance.locks().redlock.lock(key).await.unwrap();
    let waits = {
        let client = client.clone();
        tokio::spawn(async move { client.change(1, "lock", json!({"quantity": 1})).await })
    };
    client.until_under_way(1).await;
    client.get("/v1/stocks/1/0").await.is_problem(503, "overloaded");
    let seen = figures().await;
    assert!(seen.contains("stock_http_problems_total{code=\"overloaded\"} "), "{seen}");
    in_the_way.release().await.unwrap();
    waits.await.unwrap().ok();
    eventually(Duration::from_secs(10), async || has(&figures().await, "stock_http_requests_in_flight 1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_everything_are_there() {
    let running = Running::start().await;
    running.client.make(1, 5).await;
    running.client.change(1, "lock", json!({"quantity": 1})).await.ok();
    // Known here for a moment, as long as there is no Redis.
    eventually(Duration::from_secs(10), async || {
        running.client.get("/v1/stocks/1/0").await.headers["x-cache"] == "local"
    })
    .await;
    let figures = async || running.client.get("/metrics").await.body.as_str().unwrap().to_owned();
    eventually(Duration::from_secs(10), async || figures().await.contains("redlock_node_up{node=\"node-1\"} 1")).await;
    let figures = figures().await;
    assert!(!figures.contains("stock_cache_reads_total{level=\"local\"} 0"), "{figures}");
    for part in [
        "stock_http_requests_total{method=\"POST\",route=\"/v1/stocks/{variant_id}/{warehouse_id}/{operation}\",status=\"200\"} 1",
        "stock_http_request_seconds_bucket",
        "stock_cache_reads_total{level=\"local\"} ",
        "stock_sweeps_total",
        "redlock_leases",
        "stock_requests_under_way",
        "stock_tasks",
    ] {
        assert!(figures.contains(part), "{figures} lacks {part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_nothing_there_is_a_problem() {
    let running = Running::start().await;
    let client = &running.client;
    for path in ["/v1", "/v2/stocks", "/v1/stocks/1", "/docs/no-such-file", "/v1/room/nodes/1/kill"] {
        client.get(path).await.is_problem(404, "not_found");
    }
    client.post("/v1/room/nodes/1/kill", json!({})).await.is_problem(404, "not_found");
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/stocks/1/0", "GET,HEAD,PUT"),
        (Method::GET, "/v1/operations", "POST"),
        (Method::POST, "/healthz", "GET,HEAD"),
        (Method::POST, "/openapi.json", "GET,HEAD"),
    ] {
        let refused = Answer::of(client.ask(method, path).send().await.unwrap()).await;
        refused.is_problem(405, "method_not_allowed");
        let mut found: Vec<_> = refused.headers["allow"].to_str().unwrap().split(',').collect();
        found.sort_unstable();
        assert_eq!(found.join(","), allowed);
    }
    let named = client.ask(Method::GET, "/healthz").header("x-request-id", "my-name");
    assert_eq!(named.send().await.unwrap().headers()["x-request-id"], "my-name");
}
