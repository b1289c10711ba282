//! A service in this process, and a client that believes nothing.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use stock::assembly::{Instance, Purpose};
use stock::config::{Config, Flags, ServiceConfig};
use stock::service::{Place, Service, recorder};
use tempfile::TempDir;

/// A running service, and where it keeps things.
pub(crate) struct Running {
    pub(crate) service: Option<Service>,
    pub(crate) instance: Arc<Instance>,
    pub(crate) client: Client,
    folder: TempDir,
}

impl Running {
    /// With a database of its own and in-process lock nodes.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with other settings of the service.
    pub(crate) async fn with(change: impl FnOnce(&mut ServiceConfig)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = config(&[("DATABASE_URL", &database(&folder))]);
        config.service.bind = ([127, 0, 0, 1], 0).into();
        change(&mut config.service);
        let (service, instance) = open(&config, Purpose::Service).await;
        let client = Client::new(service.url());
        Self { service: Some(service), instance, client, folder }
    }

    /// As in the demo, where visitors may hurt lock nodes.
    pub(crate) async fn demo() -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = config(&[("DATABASE_URL", &database(&folder))]);
        config.service.bind = ([127, 0, 0, 1], 0).into();
        let (service, instance) = open(&config, Purpose::Demo).await;
        let client = Client::new(service.url());
        Self { service: Some(service), instance, client, folder }
    }

    pub(crate) fn database(&self) -> String {
        database(&self.folder)
    }
}

fn database(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("stock.db").display())
}

/// What these settings come to; the environment of the test does not count, because flags come first.
pub(crate) fn config(settings: &[(&'static str, &str)]) -> Config {
    let flags: Flags = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Config::load(&flags).unwrap()
}

pub(crate) async fn open(config: &Config, purpose: Purpose) -> (Service, Arc<Instance>) {
    recorder::install();
    let place = Place::take(&config.service).await.unwrap();
    let instance = Arc::new(Instance::open(config, purpose).await.unwrap());
    (place.open(instance.clone(), purpose), instance)
}

/// Asks a service.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Client {
    /// Waits until so many requests are under way beside the one that looks. To ask for something else meanwhile could
    /// take the place of one of them.
    pub(crate) async fn until_under_way(&self, requests: usize) {
        let line = format!("stock_http_requests_in_flight {}", requests + 1);
        let is_there = |figures: &str| figures.lines().any(|found| found == line);
        let looked = async || self.get("/metrics").await.body.as_str().is_some_and(is_there);
        testkit::eventually(std::time::Duration::from_secs(10), looked).await;
    }

    pub(crate) fn new(url: &str) -> Self {
        // The client wants one also where it speaks without TLS; the second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), url: url.to_owned(), token: None }
    }

    /// Where it is asked.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The same, knowing the token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.ask(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.ask(Method::PUT, path).json(&body).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.ask(Method::POST, path).json(&body).send().await.unwrap()).await
    }

    /// A record with so many units.
    pub(crate) async fn make(&self, variant: u64, stock: u64) {
        let made = self.put(&format!("/v1/stocks/{variant}/0"), json!({"product_id": 7, "stock": stock})).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// An operation on a variant in warehouse 0.
    pub(crate) async fn change(&self, variant: u64, operation: &str, body: Value) -> Answer {
        self.post(&format!("/v1/stocks/{variant}/0/{operation}"), body).await
    }
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    /// That it is this problem, as problems have to be.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert!(self.body["title"].is_string() && self.body["detail"].is_string() && self.body["type"].is_string());
        assert_eq!(self.headers.contains_key("retry-after"), status == 503, "{self:?}");
        assert!(self.headers.contains_key("x-request-id"));
    }

    /// That it went well.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }
}
