//! The demo as people run it: a process, its exit status and its table.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::{Command, Output};

use testkit::{RedisServer, SqlServer};
use tokio::io::AsyncBufReadExt as _;

/// Runs `stock demo` with these arguments and nothing but these variables of ours.
async fn demo(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    unset(&mut command);
    command.arg("demo").args(args).envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn unset(command: &mut Command) {
    for name in ["DATABASE_URL", "REDLOCK_NODES", "REDLOCK_RESTART_GUARD", "STOCK_REPOSITORY", "RUST_LOG"] {
        command.env_remove(name);
    }
}

/// A figure of the table.
fn figure(output: &Output, name: &str) -> String {
    let table = String::from_utf8_lossy(&output.stdout);
    let row = table.lines().find(|line| line.starts_with(&format!("│ {name} ")));
    let cell = row.and_then(|row| row.split(['│', '┆']).nth(2));
    cell.unwrap_or_else(|| panic!("no {name} in {}", everything(output))).trim().to_owned()
}

fn everything(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}\n{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn assert_sold_out(output: &Output, stock: &str) {
    assert_eq!(output.status.code(), Some(0), "{}", everything(output));
    assert!(everything(output).contains("Sold out after"), "{}", everything(output));
    assert_eq!(figure(output, "sold"), stock);
    assert_eq!(figure(output, "oversold"), "0");
    assert_eq!(figure(output, "database"), "agrees");
    for name in ["refused", "failed", "operations", "operations/s", "latency p50", "latency p99"] {
        assert!(!figure(output, name).is_empty());
    }
}

fn assert_oversold(output: &Output) {
    assert_eq!(output.status.code(), Some(1), "{}", everything(output));
    let oversold: u64 = figure(output, "oversold").parse().unwrap();
    assert!(oversold > 0, "{}", everything(output));
    assert_eq!(figure(output, "database"), "disagrees");
}

#[tokio::test]
async fn with_nothing_installed_everything_is_sold_once() {
    let output = demo(&["--stock", "100", "--seconds", "60"], &[]).await;
    assert_sold_out(&output, "100");
    assert_ne!(figure(&output, "node failures"), "0");
}

#[tokio::test]
async fn row_locks_sell_everything_once_too() {
    let flags = ["--stock", "100", "--seconds", "60", "--repository", "row-lock"];
    let output = demo(&flags, &[]).await;
    assert_sold_out(&output, "100");
    assert!(everything(&output).contains("row locks"), "{}", everything(&output));
}

#[tokio::test]
async fn without_locks_more_is_sold_than_there_is_on_sqlite() {
    assert_oversold(&demo(&["--no-lock", "--stock", "20", "--seconds", "60"], &[]).await);
}

#[tokio::test]
async fn without_locks_more_is_sold_than_there_is_on_mariadb() {
    let server = SqlServer::start().await.unwrap();
    let url = server.url("test");
    assert_oversold(&demo(&["--no-lock", "--stock", "20", "--seconds", "60"], &[("DATABASE_URL", &url)]).await);
}

#[tokio::test]
async fn five_redis_servers_and_mariadb_sell_everything_once() {
    let (nodes, server) = tokio::join!(RedisServer::fleet(5), SqlServer::start());
    let (nodes, server) = (nodes.unwrap(), server.unwrap());
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let variables =
        [("REDLOCK_NODES", &*urls.join(",")), ("DATABASE_URL", &*server.url("test")), ("REDLOCK_RESTART_GUARD", "off")];
    let output = demo(&["--stock", "100", "--seconds", "60"], &variables).await;
    assert_sold_out(&output, "100");
    assert!(everything(&output).contains("Redlock on 5 nodes"), "{}", everything(&output));
}

/// Whoever has just started the servers finds them out of votes, and must not wonder what the demo
/// is waiting for.
#[tokio::test]
async fn lock_nodes_that_were_just_started_are_waited_for_and_it_says_so() {
    let nodes = RedisServer::fleet(3).await.unwrap();
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let variables = [("REDLOCK_NODES", &*urls.join(",")), ("REDLOCK_RESTART_GUARD", "4")];
    let output = demo(&["--stock", "20", "--seconds", "60"], &variables).await;
    assert_sold_out(&output, "20");
    for part in ["3 of 3 lock nodes were started lately", "REDLOCK_RESTART_GUARD", "selling starts in"] {
        assert!(everything(&output).contains(part), "{} lacks {part}", everything(&output));
    }
    assert_eq!(figure(&output, "failed"), "0", "{}", everything(&output));
}

#[tokio::test]
async fn lock_nodes_that_are_down_are_named_before_the_sale() {
    let nodes = RedisServer::fleet(2).await.unwrap();
    let (down, up) = ("redis://127.0.0.1:1", [nodes[0].url(), nodes[1].url()].join(","));
    let one_is_down = format!("{down},{up}");
    let variables = [("REDLOCK_NODES", &*one_is_down), ("REDLOCK_RESTART_GUARD", "off")];
    let output = demo(&["--stock", "20", "--seconds", "60"], &variables).await;
    assert_sold_out(&output, "20");
    assert!(everything(&output).contains("warning: redis://127.0.0.1:1"), "{}", everything(&output));

    let variables = [("REDLOCK_NODES", down), ("REDLOCK_RESTART_GUARD", "off")];
    let output = demo(&["--stock", "20", "--seconds", "60"], &variables).await;
    assert_eq!(output.status.code(), Some(1), "{}", everything(&output));
    for part in ["no quorum of lock nodes", down] {
        assert!(everything(&output).contains(part), "{} lacks {part}", everything(&output));
    }
}

#[tokio::test]
async fn container_demo_on_mysql9() {
    let server = SqlServer::container_mysql9().await.unwrap();
    let url = server.url("test");
    let variables = [("DATABASE_URL", &*url)];
    let output = demo(&["--stock", "50", "--seconds", "60"], &variables).await;
    assert_sold_out(&output, "50");
    assert_oversold(&demo(&["--no-lock", "--stock", "20", "--seconds", "60"], &variables).await);
}

#[tokio::test]
async fn the_time_limit_ends_the_sale_with_a_table() {
    let output = demo(&["--seconds", "1", "--stock", "1000000000"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
    assert!(everything(&output).contains("Time was up after "), "{}", everything(&output));
    assert_eq!(figure(&output, "oversold"), "0");
}

/// What is shown is the sale that goes on, and what visitors do to its lock nodes does it no harm.
#[cfg(unix)]
#[tokio::test]
async fn the_control_room_answers_while_it_sells() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    command.args(["demo", "--seconds", "60", "--stock", "1000000000"]);
    unset(&mut command);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let url = loop {
        let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("no address in {said}"));
        if let Some(url) = line.strip_prefix("control room: ") {
            break url.to_owned();
        }
        said.push_str(&line);
    };
    let process = child.id().unwrap().to_string();
    let visit = async {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let page = client.get(&url).send().await.unwrap().text().await.unwrap();
        assert!(page.contains("<title>Control room</title>"), "{page}");
        let look = async || -> serde_json::Value {
            client.get(format!("{url}/v1/room")).send().await.unwrap().json().await.unwrap()
        };
        testkit::eventually(std::time::Duration::from_secs(15), async || {
            let room = look().await;
            room["operations"]["per_second"].as_f64().unwrap() > 0.0 && room["records"][0]["version"].as_u64() > Some(0)
        })
        .await;
        assert_eq!(look().await["nodes"].as_array().unwrap().len(), 5);
        // The demo hurts and mends its nodes as well, this one too.
        testkit::eventually(std::time::Duration::from_secs(30), async || {
            let stopped = client.post(format!("{url}/v1/room/nodes/1/stop")).send().await.unwrap();
            assert_eq!(stopped.status(), 204);
            let hung = async {
                while look().await["nodes"][0]["state"] != "hung" {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(3), hung).await.is_ok()
        })
        .await;
        let sent = Command::new("kill").args(["-INT", &process]).status().unwrap();
        assert!(sent.success());
    };
    let rest = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
        }
    };
    let ((), (output, ())) = tokio::join!(visit, async { tokio::join!(child.wait_with_output(), rest) });
    let output = Output { stderr: said.into_bytes(), ..output.unwrap() };
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
    assert_eq!((figure(&output, "oversold"), figure(&output, "database")), ("0".to_owned(), "agrees".to_owned()));
    assert!(reqwest::get(&url).await.is_err(), "it ends with the sale");
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_the_sale_with_a_table() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    command.args(["demo", "--seconds", "60", "--stock", "1000000000"]);
    unset(&mut command);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
        // Told when the sale begins.
        if line.contains(" buyers, ") {
            break;
        }
    }
    let process = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &process]).status().unwrap();
    assert!(sent.success());
    let rest = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), rest);
    let output = Output { stderr: said.into_bytes(), ..output.unwrap() };
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
    assert!(everything(&output).contains("Interrupted after"), "{}", everything(&output));
    assert_eq!(figure(&output, "database"), "agrees");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_and_returns_is_counted_and_nothing_is_oversold() {
    let server = SqlServer::start().await.unwrap();
    let url = server.url("test");
    let variables = [("DATABASE_URL", &*url)];
    let selling = demo(&["--seconds", "15", "--stock", "1000000000"], &variables);
    let outage = async {
        let has_sold = "SELECT 1 FROM product_stock_logs LIMIT 1";
        testkit::eventually(std::time::Duration::from_secs(10), async || {
            server.query("test", has_sold).await.is_ok_and(|rows| !rows.is_empty())
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        server.kill().await.unwrap();
        // Longer than a connection is waited for: a shorter outage may hit between two transactions.
        tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        server.restart().await.unwrap();
    };
    let (output, ()) = tokio::join!(selling, outage);
    assert_eq!(output.status.code(), Some(0), "{}", everything(&output));
    assert_ne!(figure(&output, "failed"), "0");
    assert_eq!(figure(&output, "database"), "agrees");
}

#[tokio::test]
async fn bad_values_are_refused_with_what_is_allowed() {
    for (args, variables, parts) in [
        (&["--buyers", "0"][..], &[][..], &["--buyers", "'0'", "1..=1000"][..]),
        (&["--buyers", "1001"], &[], &["--buyers", "'1001'", "1..=1000"]),
        (&["--seconds", "0"], &[], &["--seconds", "1..=3600"]),
        (&["--stock", "1000000001"], &[], &["--stock", "1..=1000000000"]),
        (&["--stock", "-5"], &[], &["'-5'"]),
        (&["--repository", "hope"], &[], &["--repository", "'hope'", "row-lock, redlock and resident"]),
        (&["--no-lock", "--repository", "redlock"], &[], &["cannot be used with"]),
        (&[], &[("STOCK_REPOSITORY", "hope")], &["STOCK_REPOSITORY", "`hope`", "row-lock"]),
        (&[], &[("REDLOCK_RESTART_GUARD", "soon")], &["REDLOCK_RESTART_GUARD", "`soon`", "max-ttl, off and whole"]),
        (&[], &[("DATABASE_URL", "postgres://me:hush@h/d")], &["DATABASE_URL", "me:***@h", "mysql://"]),
        (&[], &[("REDLOCK_NODES", "redis://h:1,,")], &["REDLOCK_NODES", "redis://h:1", "redis://host:port"]),
        (&[], &[("REDLOCK_NODES", "http://:hush@h:1")], &["REDLOCK_NODES", "http://:***@h:1", "redis://host:port"]),
    ] {
        let output = demo(args, variables).await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
        assert!(!message.contains("hush"), "{message}");
    }
}

#[tokio::test]
async fn a_database_that_is_down_is_named_with_the_cause() {
    let variables = [("DATABASE_URL", "mysql://me:hush@127.0.0.1:1/stock")];
    let output = demo(&["--repository", "row-lock"], &variables).await;
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["mysql://me:***@127.0.0.1:1/stock", "unavailable", "refused"] {
        assert!(message.contains(part), "{message} lacks {part}");
    }
    assert!(!message.contains("hush"), "{message}");
}
