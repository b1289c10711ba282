//! The control room in a real browser: it shows what the service says, follows what happens, asks nobody else for
//! anything, and has nothing to complain about.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/stub.rs"]
mod stub;

use std::sync::Arc;
use std::time::{Duration, Instant};

use browser::Browser;
use serde_json::{Value, json};
use stock::assembly::{Instance, Purpose};
use stock::config::{Config, Flags};
use stock::service::{Place, Service, recorder};
use stub::Stub;
use tempfile::TempDir;
use testkit::RedisServer;

const SOON: Duration = Duration::from_secs(15);
/// What a node's death may take to be seen.
const AT_ONCE: Duration = Duration::from_secs(2);
const DESKTOP: (u32, u32) = (1440, 1000);
const PHONE: (u32, u32) = (390, 844);

/// A service with a database of its own.
struct Running {
    service: Service,
    _instance: Arc<Instance>,
    _folder: TempDir,
}

impl Running {
    async fn start(purpose: Purpose, settings: &[(&'static str, &str)]) -> Self {
        recorder::install();
        let folder = TempDir::new().unwrap();
        let database = format!("sqlite:{}", folder.path().join("stock.db").display());
        let base = [("DATABASE_URL", &*database), ("STOCK_BIND", "127.0.0.1:0"), ("REDLOCK_RESTART_GUARD", "off")];
        let flags: Flags = base.iter().chain(settings).map(|(name, value)| (*name, (*value).to_owned())).collect();
        let config = Config::load(&flags).unwrap();
        let place = Place::take(&config.service).await.unwrap();
        let instance = Arc::new(Instance::open(&config, purpose).await.unwrap());
        Self { service: place.open(instance.clone(), purpose), _instance: instance, _folder: folder }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.url())
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        // Wanted for any client; refused where a test before has done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = reqwest::Client::new().request(method, self.url(path)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.json().await.unwrap()
    }
}

/// The state of a node as the page shows it.
fn node(number: usize, state: &str) -> String {
    format!("document.querySelector('[data-node=\"{number}\"]')?.dataset.state === '{state}'")
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_it_shows_what_the_service_says_and_follows_a_node_that_dies() {
    let nodes = RedisServer::fleet(5).await.unwrap();
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let running = Running::start(Purpose::Service, &[("REDLOCK_NODES", &urls.join(","))]).await;
    running.ask(reqwest::Method::PUT, "/v1/stocks/4711/3", json!({"product_id": 7, "stock": 1_234})).await;
    let record = running.ask(reqwest::Method::POST, "/v1/stocks/4711/3/lock", json!({"quantity": 34})).await;

    let browser = Browser::open(DESKTOP.0, DESKTOP.1).await;
    browser.page.goto(&running.url("/")).await.unwrap();
    for number in 1..=5 {
        browser.becomes(SOON, &node(number, "up")).await;
    }
    browser.becomes(SOON, "document.querySelectorAll('#records td').length === 8").await;
    let cells =
        browser.run("return [...document.querySelectorAll('#records td')].map((cell) => cell.textContent)").await;
    let cells: Vec<_> = cells.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().replace(',', "")).collect();
    let shown = |name: &str| record[name].to_string();
    let expected =
        ["variant_id", "warehouse_id", "", "available_stock", "locked_stock", "reserved_stock", "stock", "version"];
    let expected: Vec<_> =
        expected.iter().map(|name| if name.is_empty() { String::new() } else { shown(name) }).collect();
    assert_eq!(cells, expected);

    nodes[2].kill().await.unwrap();
    let killed = Instant::now();
    browser.becomes(AT_ONCE, &node(3, "down")).await;
    nodes[3].pause().await.unwrap();
    browser.becomes(AT_ONCE, &node(4, "hung")).await;
    eprintln!("both were seen after {:?}", killed.elapsed());
    browser.becomes(SOON, "document.querySelector('#quorum').textContent.startsWith('3 of 5')").await;
    browser.picture("desktop-two-nodes-away").await;
    nodes[3].resume().await.unwrap();
    browser.becomes(SOON, &node(4, "up")).await;

    let others = "return performance.getEntriesByType('resource').map((entry) => entry.name)\
                  .filter((name) => new URL(name).origin !== location.origin)";
    assert_eq!(browser.run(others).await, json!([]));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fits_on_a_phone_in_the_light_and_in_the_dark_and_goes_by_keyboard() {
    let running = Running::start(Purpose::Demo, &[]).await;
    for variant in 1..=12_u64 {
        let path = format!("/v1/stocks/{variant}/0");
        running.ask(reqwest::Method::PUT, &path, json!({"product_id": 7, "stock": 9_007_199_254_740_000_u64})).await;
        let path = format!("{path}/lock");
        running.ask(reqwest::Method::POST, &path, json!({"quantity": variant})).await;
    }
    let browser = Browser::open(PHONE.0, PHONE.1).await;
    browser.page.goto(&running.url("/")).await.unwrap();
    browser.becomes(SOON, "document.querySelectorAll('#records td').length === 96").await;
    assert_eq!(browser.run("return window.innerWidth").await, json!(PHONE.0));
    let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.run(overflow).await, json!(0), "the page scrolls sideways");

    let ground = "return getComputedStyle(document.body).backgroundColor";
    let mut grounds = Vec::new();
    for theme in ["light", "dark"] {
        // By keyboard: to the button, and pressed.
        browser.run("document.querySelector('#theme').focus(); return null").await;
        browser.page.active_element().await.unwrap().send_keys("\u{e007}").await.unwrap();
        browser.becomes(SOON, &format!("document.documentElement.dataset.theme === '{theme}'")).await;
        grounds.push(browser.run(ground).await);
        browser.picture(&format!("phone-{theme}")).await;
    }
    assert_ne!(grounds[0], grounds[1], "light and dark look alike");

    let reachable = "const seen = [...document.querySelectorAll('a[href], button, input, [tabindex=\"0\"]')]\
                     .filter((element) => element.checkVisibility());\
                     return seen.filter((element) => element.tabIndex < 0).length";
    assert_eq!(browser.run(reachable).await, json!(0));
    let nameless = "return [...document.querySelectorAll('button')].filter((button) => \
                    !(button.getAttribute('aria-label') || button.textContent.trim())).length";
    assert_eq!(browser.run(nameless).await, json!(0));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_in_the_demo_nodes_are_hurt_and_helped_from_the_page() {
    let running = Running::start(Purpose::Demo, &[]).await;
    let browser = Browser::open(DESKTOP.0, DESKTOP.1).await;
    browser.page.goto(&running.url("/")).await.unwrap();
    browser.becomes(SOON, &node(2, "up")).await;
    let press = async |action: &str| {
        // As somebody would who has no mouse.
        let find = format!(
            "document.querySelector('[data-node=\"2\"] button[aria-label^=\"{action} \"]').focus(); return null"
        );
        browser.run(&find).await;
        browser.page.active_element().await.unwrap().send_keys("\u{e007}").await.unwrap();
    };
    for (action, state) in [("stop", "hung"), ("resume", "up"), ("kill", "down")] {
        press(action).await;
        browser.becomes(AT_ONCE, &node(2, state)).await;
    }
    browser.picture("demo-a-node-is-down").await;
    press("restart").await;
    browser.becomes(SOON, &node(2, "up")).await;
    assert_eq!(browser.run("return document.querySelector('#trouble').textContent").await, "");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_a_token_it_asks_for_it_and_says_when_the_service_is_away() {
    let running = Running::start(Purpose::Service, &[("STOCK_API_TOKEN", "open-sesame")]).await;
    let browser = Browser::open(DESKTOP.0, DESKTOP.1).await;
    browser.page.goto(&running.url("/")).await.unwrap();
    let log_in = async |token: &str| {
        browser.becomes(SOON, "document.activeElement === document.querySelector('#token')").await;
        browser.page.active_element().await.unwrap().send_keys(&format!("{token}\u{e007}")).await.unwrap();
    };
    log_in("something else").await;
    browser.becomes(SOON, "document.querySelector('#refused').textContent !== ''").await;
    log_in("open-sesame").await;
    browser.becomes(SOON, &node(5, "up")).await;
    assert!(running.service.close().await);
    browser.becomes(SOON, "document.querySelector('#link').classList.contains('gone')").await;
    browser.becomes(SOON, "document.querySelector('#room').classList.contains('stale')").await;
    browser.close().await;
}

/// Whatever comes over the stream, the page lives, and says how it stands.
#[tokio::test(flavor = "multi_thread")]
async fn news_that_cannot_be_read_a_stream_that_ends_and_a_lost_token_are_survived() {
    let running = Running::start(Purpose::Service, &[]).await;
    let room = running.ask(reqwest::Method::GET, "/v1/room", Value::Null).await;
    let event = |state: &str| {
        let mut room = room.clone();
        room["nodes"][1]["state"] = json!(state);
        format!("event: room\ndata: {room}\n\n")
    };
    let stub = Stub::start().await;
    let browser = Browser::open(DESKTOP.0, DESKTOP.1).await;
    browser.page.goto(&stub.url).await.unwrap();
    let says = async |text: &str| {
        browser.becomes(SOON, &format!("document.querySelector('#link').textContent === '{text}'")).await;
    };
    stub.say(&event("up")).await;
    browser.becomes(SOON, &node(2, "up")).await;
    says("live").await;
    for unreadable in [
        "data: {\"nodes\": [\n\n",
        "data: {\"nodes\": 7}\n\n",
        "data: null\n\n",
        ": a comment\n\nnonsense\n\ndata: []\n\n",
    ] {
        stub.say(unreadable).await;
        says("unreadable news").await;
        stub.say(&event("hung")).await;
        says("live").await;
        stub.say(&event("up")).await;
        browser.becomes(SOON, &node(2, "up")).await;
    }
    // In pieces, as networks deliver them.
    let whole = event("down");
    let (first, second) = whole.split_at(whole.len() / 2);
    stub.say(first).await;
    stub.say(second).await;
    browser.becomes(SOON, &node(2, "down")).await;
    // It ends, and there is room again a moment later.
    stub.hang_up(503);
    says("busy, trying again").await;
    browser.becomes(SOON, "document.querySelector('#room').classList.contains('stale')").await;
    stub.hang_up(200);
    stub.say(&event("up")).await;
    says("live").await;
    browser.becomes(SOON, "!document.querySelector('#room').classList.contains('stale')").await;
    stub.hang_up(401);
    browser.becomes(SOON, "document.activeElement === document.querySelector('#token')").await;
    says("token needed").await;
    // The browser itself notes what was answered with 401 and 503; the page has nothing to add.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|complaint| complaint.contains("Failed to load resource")), "{complaints:?}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_to_try_the_service_works_under_its_policy() {
    let running = Running::start(Purpose::Service, &[]).await;
    let browser = Browser::open(DESKTOP.0, DESKTOP.1).await;
    browser.page.goto(&running.url("/docs/")).await.unwrap();
    browser.becomes(SOON, "document.querySelectorAll('.opblock').length >= 10").await;
    browser.picture("docs").await;
    let others = "return performance.getEntriesByType('resource').map((entry) => entry.name)\
                  .filter((name) => !name.startsWith('data:') && new URL(name).origin !== location.origin)";
    assert_eq!(browser.run(others).await, json!([]));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}
