//! Who is answered: token, names, origins.

use reqwest::Method;
use serde_json::json;
use stock::config::Token;
use stock::service::Place;

use crate::support::{Answer, Running};

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_the_looks_are_open() {
    let running = Running::with(|service| service.token = Token::new("let-me-in")).await;
    let client = &running.client;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    for path in ["/v1/stocks?variant_id=1", "/metrics", "/openapi.json", "/docs/", "/v1/room", "/v1/room/stream", "/x"]
    {
        let refused = client.get(path).await;
        refused.is_problem(401, "unauthorized");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    client.put("/v1/stocks/1/0", json!({"product_id": 1, "stock": 1})).await.is_problem(401, "unauthorized");
    let with = async |token: &str| {
        let request = client.ask(Method::GET, "/v1/stocks?variant_id=1").bearer_auth(token);
        Answer::of(request.send().await.unwrap()).await
    };
    assert_eq!(with("let-me-in").await.status, 200);
    for wrong in ["let-me-on", "let-me-in-", "", "LET-ME-IN"] {
        with(wrong).await.is_problem(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_and_other_sites_are_not_answered() {
    let running = Running::start().await;
    let with = async |name: &str, value: &str| {
        let request = running.client.ask(Method::GET, "/v1/stocks?variant_id=1").header(name, value);
        Answer::of(request.send().await.unwrap()).await
    };
    with("host", "evil.example").await.is_problem(421, "misdirected_request");
    with("origin", "http://evil.example").await.is_problem(403, "origin_not_allowed");
    with("origin", "null").await.is_problem(403, "origin_not_allowed");
    let own = running.service.as_ref().unwrap().url().to_owned();
    assert_eq!(with("origin", &own).await.status, 200);
    assert_eq!(with("host", "localhost").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_keep_it_to_themselves() {
    let running = Running::with(|service| service.token = Token::new("let-me-in")).await;
    let answer = async |method: Method, path: &str, token: &str| {
        Answer::of(running.client.ask(method, path).bearer_auth(token).send().await.unwrap()).await
    };
    for (method, path, status, cache, policy) in [
        (Method::GET, "/", 200, "no-cache", "default-src 'none'; script-src 'self'; style-src 'self';"),
        (
            Method::GET,
            "/docs/",
            200,
            "no-cache",
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';",
        ),
        (Method::GET, "/v1/stocks?variant_id=1", 200, "no-store", "default-src 'none'; base-uri 'none';"),
        (Method::GET, "/v1/room", 200, "no-store", "default-src 'none';"),
        (Method::GET, "/readyz", 200, "no-store", "default-src 'none';"),
        (Method::GET, "/metrics", 200, "no-store", "default-src 'none';"),
        (Method::GET, "/v1/stocks/1/0", 404, "no-store", "default-src 'none';"),
        (Method::GET, "/nowhere", 404, "no-store", "default-src 'none';"),
        (Method::DELETE, "/v1/operations", 405, "no-store", "default-src 'none';"),
    ] {
        let answer = answer(method, path, "let-me-in").await;
        assert_eq!(answer.status, status, "{path}");
        let header =
            |name: &str| answer.headers.get(name).unwrap_or_else(|| panic!("{path}: {name}")).to_str().unwrap();
        assert_eq!(header("cache-control"), cache, "{path}");
        assert!(header("content-security-policy").starts_with(policy), "{path}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(header(name), value, "{path}");
        }
    }
    let refused = answer(Method::GET, "/metrics", "let-me-on").await;
    refused.is_problem(401, "unauthorized");
    assert_eq!(refused.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn what_others_can_reach_is_not_served_without_a_token() {
    let mut config = crate::support::config(&[]).service;
    config.bind = ([0, 0, 0, 0], 0).into();
    let refused = Place::take(&config).await.unwrap_err().to_string();
    assert!(refused.contains("STOCK_BIND") && refused.contains("STOCK_API_TOKEN"), "{refused}");
    config.token = Token::new("short");
    let refused = Place::take(&config).await.unwrap_err().to_string();
    assert!(refused.contains("5 characters, of which 16 are needed"), "{refused}");
    config.token = Token::new("long-enough-to-be-safe");
    Place::take(&config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files =
        stock::config::TlsFiles { certificates: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificates, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let running = Running::with(|service| service.tls = Some(files)).await;
    let service = running.service.as_ref().unwrap();
    assert!(service.url().starts_with("https://"), "{}", service.url());
    let authority = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let url = format!("https://localhost:{}/healthz", service.address().port());
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
}
