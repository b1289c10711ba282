//! The program `stock`, with settings of a test's own.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A `stock serve` that answers; killed when dropped.
pub(crate) struct Service {
    _child: Child,
    _folder: TempDir,
    url: String,
    said: Arc<Mutex<String>>,
}

impl Service {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = command(&["serve", "--bind", "127.0.0.1:0"], settings);
        command.current_dir(&folder).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut errors, kept) = (BufReader::new(child.stderr.take().unwrap()).lines(), said.clone());
        tokio::spawn(async move {
            while let Ok(Some(line)) = errors.next_line().await {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_else(|| panic!("it has ended: {}", said.lock().unwrap()));
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { _child: child, _folder: folder, url, said }
    }

    /// What it has logged.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::get(format!("{}{path}", self.url)).await.unwrap()
    }

    /// One of its figures; zero where nothing has been counted.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let figures = self.get("/metrics").await.text().await.unwrap();
        let value = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Runs it to its end.
pub(crate) async fn run(args: &[&str], settings: &[(&str, &str)]) -> Output {
    command(args, settings).output().await.unwrap()
}

fn command(args: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    command.args(args).env_clear().envs(settings.iter().copied()).kill_on_drop(true);
    command
}
