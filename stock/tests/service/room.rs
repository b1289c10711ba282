//! The control room: what it shows, its stream, and what visitors of the demo do to lock nodes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::support::{Answer, Running};

async fn state_of(running: &Running, node: usize) -> String {
    let room = running.client.get("/v1/room").await.ok();
    room["nodes"][node - 1]["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_nodes_leases_rates_and_records() {
    let running = Running::start().await;
    running.client.make(1, 1_000_000).await;
    let held = running.instance.locks().redlock.lock("somebody").await.unwrap();
    eventually(Duration::from_secs(20), async || {
        running.client.change(1, "lock", json!({"quantity": 1})).await.ok();
        running.client.get("/v1/stocks/1/0").await.ok();
        let room = running.client.get("/v1/room").await.ok();
        let lease = room["leases"].as_array().unwrap().iter().find(|lease| lease["resource"] == "somebody").cloned();
        lease.is_some_and(|lease| {
            lease["fence"] == held.fence().get() && lease["remaining_ms"].as_u64().unwrap() > 1_000
        }) && room["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "up" && node["round_ms"].is_f64())
            && room["operations"]["per_second"].as_f64().unwrap() > 0.0
            && room["operations"]["p99_ms"].as_f64().unwrap() > 0.0
            && room["cache"][0]["rate"].as_f64().unwrap() > 0.0
            && room["batches"]["requests_per_transaction"].as_f64().unwrap() >= 1.0
            && room["records"][0]["variant_id"] == 1
    })
    .await;
    let room = running.client.get("/v1/room").await.ok();
    assert_eq!((room["nodes"].as_array().unwrap().len(), &room["repository"]), (5, &json!("redlock")));
    assert_eq!(room["nodes_can_be_hurt"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_every_second() {
    let running = Running::start().await;
    let mut stream = running.client.ask(Method::GET, "/v1/room/stream").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let three_events = async {
        while text.matches("event: room").count() < 3 {
            text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), three_events).await.unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    assert!(event["nodes"].is_array() && event["at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_of_the_demo_hurt_nodes_and_see_it() {
    let running = Running::demo().await;
    running.client.make(1, 1_000).await;
    let act = async |action: &str| {
        let request = running.client.ask(Method::POST, &format!("/v1/room/nodes/2/{action}"));
        Answer::of(request.send().await.unwrap()).await.status
    };
    let becomes = async |state: &str| {
        eventually(Duration::from_secs(20), async || state_of(&running, 2).await == state).await;
    };
    becomes("up").await;
    for (action, state) in [("stop", "hung"), ("resume", "up"), ("kill", "down"), ("restart", "quarantined")] {
        assert_eq!(act(action).await, 204, "{action}");
        // The lock manager sees a restart when it speaks to the node.
        running.client.change(1, "lock", json!({"quantity": 1})).await.ok();
        becomes(state).await;
    }
    becomes("up").await;
    assert_eq!(act("tickle").await, 422);
    for number in ["0", "6", "x"] {
        let request = running.client.ask(Method::POST, &format!("/v1/room/nodes/{number}/kill"));
        Answer::of(request.send().await.unwrap()).await.is_problem(404, "not_found");
    }
}
