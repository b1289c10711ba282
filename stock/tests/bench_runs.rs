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

#[tokio::test(flavor = "multi_thread")]
async fn every_contender_is_measured_and_counted() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(3), Backend::shared());
    let nodes = nodes.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let json = folder.path().join("sheet.json");
    let args = [
        "--clients",
        "8",
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--scene",
        "hot,many,hot-2",
        "--json",
        json.to_str().unwrap(),
    ];
    let output = bench(&backend.url, &nodes, &args).output().await.unwrap();
    let everything =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{everything}");
    for part in ["| one record", "| 200 records", "2 instances", "row-lock", "redlock", "conditional-update", "reached"]
    {
        assert!(everything.contains(part), "{part} is missing in {everything}");
    }
    let sheet: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let rows = sheet["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 9, "{sheet:#}");
    for row in rows {
        let round = &row["rounds"][0];
        assert!(round["rate"].as_f64().unwrap() > 1.0 && round["failed"] == 0, "{row:#}");
    }
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
