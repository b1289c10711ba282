//! `stock bench` as people run it, for a moment: every contender in every scene, and nobody left behind.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::process::Stdio;

use backends::Backend;
use serde_json::Value;
use testkit::{RedisServer, SqlServer};
use tokio::process::Command;

fn bench(database: &str, nodes: &[RedisServer], args: &[&str]) -> Command {
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    command.args(["bench", "--database", database]).args(args).kill_on_drop(true);
    command.env_remove("RUST_LOG").env_remove("STOCK_REPOSITORY").env_remove("DATABASE_URL");
    command.env("REDLOCK_NODES", urls.join(",")).env("REDLOCK_RESTART_GUARD", "off");
    command
}

/// Measures everybody in these scenes for a moment; the sheet, which has so many rows.
async fn measure(scenes: &str, rows: usize) -> (String, Value) {
    let (nodes, levels, backend) = tokio::join!(RedisServer::fleet(3), RedisServer::start(), Backend::shared());
    let (nodes, levels) = (nodes.unwrap(), levels.unwrap());
    let folder = tempfile::TempDir::new().unwrap();
    let json = folder.path().join("sheet.json");
    let everybody = "row-lock,redlock,resident,conditional-update";
    let args = ["--clients", "4", "--rounds", "1", "--seconds", "1", "--burst-seconds", "1"];
    let args = [&args[..], &["--repository", everybody, "--scene", scenes, "--json", json.to_str().unwrap()]].concat();
    let mut command = bench(&backend.url, &nodes, &args);
    command.env("REDIS_HOST", levels.addr().ip().to_string()).env("REDIS_PORT", levels.port().to_string());
    let output = command.output().await.unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let sheet: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let measured = sheet["rows"].as_array().unwrap();
    assert_eq!(measured.len(), rows, "{sheet:#}");
    for row in measured {
        let round = &row["rounds"][0];
        assert!(round["rate"].as_f64().unwrap() > 1.0 && round["failed"] == 0, "{row:#}");
    }
    (said, sheet)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_contender_is_measured_and_counted() {
    let (said, _) = measure("hot,many,hot-2,hot-4", 16).await;
    for part in ["| one record", "| 200 records", "2 instances", "4 instances", "row-lock", "redlock", "reached"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    for part in ["resident", "conditional-update"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scenes_of_some_contenders_are_measured_too() {
    // All four alone; redlock and resident in a burst; redlock and row-lock over HTTP.
    let (said, _) = measure("alone,burst,burst-behind,burst-no-ids,http", 4 + 2 + 2 + 2 + 2).await;
    for part in ["one client", "a burst", "ids made here", "over HTTP"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    let scenes = stock::bench::Scene::ALL.map(|(name, _)| name);
    assert_eq!(
        scenes,
        ["hot", "many", "hot-2", "hot-4", "alone", "burst", "burst-behind", "burst-no-ids", "http"],
        "none is left out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_forgets_is_not_measured() {
    let server = SqlServer::builder().arg("--innodb-flush-log-at-trx-commit=2").start().await.unwrap();
    let output = bench(&server.url("test"), &[], &["--repository", "row-lock"]).output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("innodb_flush_log_at_trx_commit is 2"), "{error}");
}

/// An instance whose parent is gone, however it went, ends with its standard input.
#[tokio::test(flavor = "multi_thread")]
async fn no_instance_outlives_its_bench() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    let mut instance = command.arg("bench-instance").stdin(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    drop(instance.stdin.take());
    let status = tokio::time::timeout(std::time::Duration::from_secs(20), instance.wait()).await;
    assert!(!status.expect("it ends").unwrap().success());
}
