//! The description of the service, and whether it is true.

use std::time::Duration;

use serde_json::json;
use stock::config::Token;

use crate::support::Running;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_described_and_can_be_tried() {
    let running = Running::start().await;
    let description = running.client.get("/openapi.json").await.ok();
    let paths = description["paths"].as_object().unwrap();
    for path in [
        "/v1/stocks",
        "/v1/stocks/{variant_id}/{warehouse_id}",
        "/v1/stocks/{variant_id}/{warehouse_id}/logs",
        "/v1/stocks/{variant_id}/{warehouse_id}/{operation}",
        "/v1/operations",
        "/v1/orders/{order_id}/holds",
        "/v1/room",
        "/v1/room/stream",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    assert!(!paths.contains_key("/v1/room/nodes/{number}/{action}"), "nobody can do that here");
    let codes = &description["components"]["schemas"]["Code"]["enum"];
    assert!(codes.as_array().unwrap().iter().any(|code| code == "insufficient_stock"), "{codes}");
    assert_eq!(
        description["components"]["schemas"]["Problem"]["properties"]["code"]["$ref"],
        "#/components/schemas/Code"
    );
    let page = running.client.get("/docs/").await;
    assert!(page.body.as_str().unwrap().contains("swagger-ui"), "{page:?}");
    assert_eq!(running.client.get("/docs/swagger-ui-bundle.js").await.status, 200);
    let start = running.client.get("/docs/swagger-initializer.js").await;
    let start = start.body.as_str().unwrap();
    assert!(start.contains("/openapi.json") && !start.contains("https://"), "{start}");
}

/// Schemathesis makes requests from the description, right ones and wrong ones, and holds each answer against it.
#[tokio::test(flavor = "multi_thread")]
async fn alone_schemathesis_finds_nothing_that_is_not_described() {
    try_everything(&Running::start().await, None, "60").await;
}

/// With a token some requests lack it or have another one; those must be refused, as is described.
#[tokio::test(flavor = "multi_thread")]
async fn alone_schemathesis_finds_nothing_with_a_token_either() {
    let token = "sixteen-letters.";
    let running = Running::with(|service| service.token = Token::new(token)).await;
    try_everything(&running, Some(token), "20").await;
}

async fn try_everything(running: &Running, token: Option<&str>, examples: &str) {
    let Ok(python) = std::env::var("TESTKIT_PYTHON") else {
        panic!("TESTKIT_PYTHON is not set: run `cargo xtask test`, which installs schemathesis");
    };
    let client = token.map_or_else(|| running.client.clone(), |token| running.client.with_token(token));
    for variant in 0..3 {
        client.make(variant, 1_000).await;
        client.change(variant, "lock", json!({"quantity": 2, "order_id": "0"})).await.ok();
    }
    let url = format!("{}/openapi.json", running.client.url());
    let folder = tempfile::tempdir().unwrap();
    let program = std::path::Path::new(&python).with_file_name("schemathesis");
    let mut command = tokio::process::Command::new(program);
    // The stream has no end; what the schema cannot say (which parameters go together) makes right requests wrong.
    command.args(["run", &url, "--max-examples", examples, "--workers", "1", "--seed", "1", "--no-color"]);
    command.args(["--exclude-checks", "positive_data_acceptance", "--exclude-path", "/v1/room/stream"]);
    command.args(["--request-timeout", "10", "--phases", "examples,coverage,fuzzing,stateful"]);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    command.current_dir(&folder).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(100), command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("passed"), "{said}");
}
