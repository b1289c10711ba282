//! A real browser, without a screen.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::Method;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use testkit::{Port, Process};
use url::{ParseError, Url};

/// Chromium in a window of its own, and what drives it; both end with this value.
pub(crate) struct Browser {
    pub(crate) page: Client,
    _driver: Process,
    _port: Port,
    _profile: tempfile::TempDir,
}

/// What the page has written to the console since the last look.
#[derive(Debug)]
struct ConsoleLog;

impl WebDriverCompatibleCommand for ConsoleLog {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"type": "browser"}).to_string()))
    }
}

impl Browser {
    /// A window of this size.
    pub(crate) async fn open(width: u32, height: u32) -> Self {
        let (port, profile) = (Port::draw().unwrap(), tempfile::TempDir::new().unwrap());
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", port.number())).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Process::spawn(&mut command).expect("chromium-driver is installed");
        let address = (Ipv4Addr::LOCALHOST, port.number());
        testkit::eventually(Duration::from_secs(20), async || tokio::net::TcpStream::connect(address).await.is_ok())
            .await;
        let arguments = [
            "--headless=new".to_owned(),
            // Root, and containers, have no sandbox to offer.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": {
                "args": arguments,
                // Windows are never as narrow as a phone's screen; what is shown in one can be.
                "mobileEmulation": {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "mobile": width < 600}},
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let page = builder.connect(&format!("http://127.0.0.1:{}", port.number())).await.unwrap();
        Self { page, _driver: driver, _port: port, _profile: profile }
    }

    /// What this script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.page.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until this expression is true on the page, so long at most.
    pub(crate) async fn becomes(&self, within: Duration, expression: &str) {
        let script = format!("return Boolean({expression})");
        let is_so = async || self.run(&script).await == Value::Bool(true);
        let waited = tokio::time::timeout(within, async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "not within {within:?}: {expression}");
    }

    /// Errors and warnings on the console.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.page.issue_cmd(ConsoleLog).await.unwrap();
        let entries = log.as_array().cloned().unwrap_or_default();
        let is_bad = |entry: &&Value| entry["level"] == "SEVERE" || entry["level"] == "WARNING";
        entries.iter().filter(is_bad).map(|entry| entry["message"].to_string()).collect()
    }

    /// Leaves a picture for people to look at.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("control-room");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), self.page.screenshot().await.unwrap()).unwrap();
    }

    /// Ends the browser in good order, which the driver's end does not.
    pub(crate) async fn close(self) {
        self.page.close().await.unwrap();
    }
}
