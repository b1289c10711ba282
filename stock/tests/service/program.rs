//! The program itself: what it prints, signals, exit statuses.

use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{RedisServer, Reply};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::Client;

fn command(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    command.args(args).current_dir(folder).env_clear().kill_on_drop(true);
    command
}

async fn run(folder: &TempDir, args: &[&str], variables: &[(&str, &str)]) -> Output {
    command(folder, args).envs(variables.iter().copied()).output().await.unwrap()
}

/// A `stock serve` that answers.
struct Program {
    child: Child,
    client: Client,
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    async fn start(folder: &TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = command(folder, &["serve", "--bind", "127.0.0.1:0"]);
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        Self { client: Client::new(url), child, _lines: lines }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn ended(mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await.unwrap().unwrap().code()
    }
}

#[tokio::test]
async fn either_signal_ends_it_well_and_what_was_answered_is_there() {
    let folder = TempDir::new().unwrap();
    for (round, signal) in [(1, Signal::TERM), (2, Signal::INT)] {
        let program = Program::start(&folder, &[]).await;
        program.client.make(round, 5).await;
        program.client.change(round, "lock", json!({"quantity": 1})).await.ok();
        program.signal(signal);
        assert_eq!(program.ended().await, Some(0));
    }
    let program = Program::start(&folder, &[]).await;
    for variant in [1, 2] {
        assert_eq!(program.client.get(&format!("/v1/stocks/{variant}/0")).await.ok()["locked_stock"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_in_redis_survive_the_end_and_both_sides_agree() {
    let folder = TempDir::new().unwrap();
    let redis = RedisServer::start().await.unwrap();
    let (port, database) = (redis.port().to_string(), "sqlite:stock.db");
    let variables = [
        ("STOCK_REPOSITORY", "resident"),
        ("STOCK_RESIDENT_LAG", "600"),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", &*port),
        ("DATABASE_URL", database),
    ];
    let program = Program::start(&folder, &variables).await;
    program.client.make(1, 50).await;
    for _ in 0..20 {
        program.client.change(1, "lock", json!({"quantity": 1, "order_id": "o"})).await.ok();
    }
    assert_eq!(program.client.get("/v1/stocks/1/0").await.ok()["locked_stock"], 20);
    for _ in 0..20 {
        assert_eq!(program.client.get("/readyz").await.status, 200);
    }
    let waiting = redis.command(&["HGET", "product_stock:resident:state", "backlog"]).await.unwrap();
    assert_eq!(waiting, Reply::Text(b"20".to_vec()), "a look at it writes nothing back");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));

    let reconciled = run(&folder, &["reconcile"], &variables).await;
    let said = String::from_utf8_lossy(&reconciled.stdout).into_owned();
    assert_eq!(
        (reconciled.status.code(), said.trim()),
        (Some(0), "1 resident records agree, 0 do not"),
        "{reconciled:?}"
    );
    redis.command(&["HSET", "product_stock:resident:1:0", "available_stock", "31"]).await.unwrap();
    let reconciled = run(&folder, &["reconcile"], &variables).await;
    assert_eq!(reconciled.status.code(), Some(1), "{reconciled:?}");
    redis.command(&["HSET", "product_stock:resident:1:0", "available_stock", "30"]).await.unwrap();

    let listed = run(&folder, &["residents", "list"], &variables).await;
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    let all_is_well = "variant 1 in warehouse 0: 20 changes written back since it was loaded";
    assert_eq!((listed.status.code(), said.trim()), (Some(0), all_is_well), "{listed:?}");
    a_record_that_was_set_apart_is_shown_and_given_back(&folder, &redis, &variables).await;

    let program = Program::start(&folder, &variables).await;
    program.client.change(1, "add", json!({"quantity": 1})).await.ok();
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
    let released = run(&folder, &["residents", "release", "1/0"], &variables).await;
    assert_eq!(String::from_utf8_lossy(&released.stdout).trim(), "1 records released", "{released:?}");
    let program = Program::start(&folder, &[("STOCK_REPOSITORY", "row-lock")]).await;
    assert_eq!(
        program.client.change(1, "unlock", json!({"quantity": 20, "order_id": "o"})).await.ok()["locked_stock"],
        0
    );
}

async fn a_record_that_was_set_apart_is_shown_and_given_back(
    folder: &TempDir,
    redis: &RedisServer,
    variables: &[(&str, &str)],
) {
    let hash = "product_stock:resident:1:0";
    let epoch = redis.command(&["HGET", hash, "epoch"]).await.unwrap();
    let life = format!("1:0:{}", epoch.text().unwrap());
    redis.command(&["HSET", "product_stock:resident:diverged", &life, "planted"]).await.unwrap();
    redis.command(&["HSET", hash, "diverged", "planted"]).await.unwrap();
    let reconciled = run(folder, &["reconcile"], variables).await;
    assert_eq!(reconciled.status.code(), Some(1), "{reconciled:?}");
    let listed = run(folder, &["residents", "list"], variables).await;
    assert_eq!(listed.status.code(), Some(1), "{listed:?}");
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains("does not follow from the database: planted"),
        "{listed:?}"
    );
    let reloaded = run(folder, &["residents", "reload", "1/0"], variables).await;
    let said = String::from_utf8_lossy(&reloaded.stdout).into_owned();
    let nothing = "variant 1 in warehouse 0: 0 changes written back, 0 lost";
    assert_eq!((reloaded.status.code(), said.trim()), (Some(0), nothing), "{reloaded:?}");
    assert!(redis.keys("product_stock:resident:1:0*").await.is_empty());
}

#[tokio::test]
async fn config_shows_every_value_its_source_and_no_secret() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("stock.toml"), "repository = \"row-lock\"\nredis_password = \"hush\"\n").unwrap();
    let variables =
        [("STOCK_CONFIG", "stock.toml"), ("DATABASE_URL", "mysql://me:hush@h/d"), ("STOCK_API_TOKEN", "hush")];
    let shown = run(&folder, &["config", "--json", "--bind", "127.0.0.1:9", "--no-migrate"], &variables).await;
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(!text.contains("hush"), "{text}");
    let settings: Vec<Value> = serde_json::from_str(&text).unwrap();
    let setting = |name: &str| settings.iter().find(|setting| setting["name"] == name).unwrap();
    for (name, value, source, from) in [
        ("STOCK_BIND", json!("127.0.0.1:9"), "flag", "flag --bind"),
        ("STOCK_MIGRATE", json!("off"), "flag", "flag --migrate"),
        ("DATABASE_URL", json!("mysql://me:***@h/d"), "env", "env DATABASE_URL"),
        ("STOCK_REPOSITORY", json!("row-lock"), "file", "stock.toml:1"),
        ("REDIS_PASSWORD", json!("***"), "file", "stock.toml:2"),
        ("REDIS_PORT", json!("6379"), "default", "default"),
        ("REDIS_HOST", json!(null), "default", "default"),
    ] {
        let found = ["value", "source", "from"].map(|part| setting(name)[part].clone());
        assert_eq!(found, [value, json!(source), json!(from)], "{name}");
    }
    let table = run(&folder, &["config"], &variables).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(!table.contains("hush"), "{table}");
    let row = table.lines().find(|line| line.contains("REDIS_PASSWORD")).unwrap();
    assert!(row.contains("***") && row.contains("stock.toml:2"), "{row}");
}

#[tokio::test]
async fn what_cannot_be_served_is_named() {
    let folder = TempDir::new().unwrap();
    for (args, variables, status, parts) in [
        (&["serve", "--bind", "0.0.0.0:0"][..], &[][..], 2, &["STOCK_BIND", "STOCK_API_TOKEN"][..]),
        (&["serve", "--repository", "hope"], &[], 2, &["STOCK_REPOSITORY", "hope", "row-lock, redlock and resident"]),
        (&["serve"], &[("DATABASE_URL", "mysql://me:hush@h/d")], 2, &["REDLOCK_NODES", "in-process"]),
        (
            &["serve", "--no-migrate"],
            &[("STOCK_BIND", "127.0.0.1:0")],
            1,
            &["sqlite:stock.db", "migrate the database first"],
        ),
        (&["serve"], &[("RUST_LOG", "a=b=c")], 2, &["RUST_LOG", "a=b=c", "target=level"]),
    ] {
        let output = run(&folder, args, variables).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)) && !said.contains("hush"), "{said}");
    }
}

/// The command for whatever looks after an instance: the same settings say where it is.
#[tokio::test]
async fn health_is_asked_where_the_instance_listens() {
    let folder = TempDir::new().unwrap();
    let nodes = RedisServer::fleet(1).await.unwrap();
    let url = nodes[0].url();
    let variables = [("REDLOCK_NODES", &*url), ("REDLOCK_RESTART_GUARD", "off"), ("STOCK_API_TOKEN", "hush")];
    let program = Program::start(&folder, &variables).await;
    let (_, port) = program.client.url().rsplit_once(':').unwrap();
    let ask = async |bind: &str, flags: &[&str]| {
        let output = run(&folder, &[&["health", "--bind", bind], flags].concat(), &[]).await;
        let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).trim().to_owned());
        (output.status.code(), said)
    };
    let here = format!("127.0.0.1:{port}");
    // A node that takes its time does not vote that time.
    testkit::eventually(Duration::from_secs(10), async || ask(&here, &[]).await.0 == Some(0)).await;
    // As inside a container, where it listens on every address.
    for bind in [&*format!("127.0.0.1:{port}"), &*format!("0.0.0.0:{port}")] {
        let (status, [out, _]) = ask(bind, &[]).await;
        assert_eq!(status, Some(0));
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["status"], "ready");
    }
    nodes[0].kill().await.unwrap();
    testkit::eventually(Duration::from_secs(10), async || ask(&here, &[]).await.0 == Some(1)).await;
    let (_, [out, err]) = ask(&here, &[]).await;
    assert!(out.is_empty() && err.contains("not_ready"), "{err}");
    let (status, [out, _]) = ask(&here, &["--live"]).await;
    assert_eq!((status, &*out), (Some(0), "{\"status\":\"ok\"}"));
    program.signal(Signal::STOP);
    let (status, [_, err]) = ask(&here, &["--live", "--timeout", "1"]).await;
    assert!(status == Some(1) && err.contains("does not answer within 1 s"), "{err}");
    program.signal(Signal::CONT);
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
    let (status, [_, err]) = ask(&here, &[]).await;
    assert!(status == Some(1) && err.contains(&here) && err.contains("refused"), "{err}");
}

#[tokio::test]
async fn health_speaks_tls_and_trusts_the_instances_own_certificate_only() {
    let folder = TempDir::new().unwrap();
    for name in ["own", "other"] {
        let made = rcgen::generate_simple_self_signed(["stock.example".to_owned()]).unwrap();
        std::fs::write(folder.path().join(format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let program = Program::start(&folder, &[("STOCK_TLS_CERT", "own.pem"), ("STOCK_TLS_KEY", "own.key")]).await;
    let (_, port) = program.client.url().rsplit_once(':').unwrap();
    let bind = format!("127.0.0.1:{port}");
    for (name, expected) in [("own", 0), ("other", 1)] {
        let variables = [("STOCK_TLS_CERT", &*format!("{name}.pem")), ("STOCK_TLS_KEY", &*format!("{name}.key"))];
        let output = run(&folder, &["health", "--live", "--bind", &bind], &variables).await;
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
    }
}

/// 0: done; 1: not done, or not so; 2: asked wrongly. `bad_values…` and others say more of each.
#[tokio::test]
async fn exit_statuses_are_those_that_the_help_tells() {
    let folder = TempDir::new().unwrap();
    let help = run(&folder, &["--help"], &[]).await;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(["Exit status:", "\n  0  ", "\n  1  ", "\n  2  "].iter().all(|part| help.contains(part)), "{help}");
    let away = [("DATABASE_URL", "mysql://u@127.0.0.1:1/d"), ("REDLOCK_NODES", "redis://127.0.0.1:1")];
    let no_redis = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", "1")];
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32);
    let cases: &[Case<'_>] = &[
        (&[], &[], 2),
        (&["walk"], &[], 2),
        (&["serve", "--walk"], &[], 2),
        (&["config"], &[], 0),
        (&["config"], &[("STOCK_QUEUE", "0")], 2),
        (&["config", "--config", "nowhere.toml"], &[], 2),
        (&["migrate"], &[], 0),
        (&["migrate"], &away, 1),
        (&["serve", "--bind", "203.0.113.1:1", "--api-token", "sixteen-letters."], &[], 1),
        (&["locks", "adopt"], &[], 0),
        (&["locks", "adopt"], &away, 1),
        (&["logs", "prune", "--before", "1d"], &[], 0),
        (&["logs", "prune", "--before", "yesterday"], &[], 2),
        (&["logs", "prune", "--before", "1d"], &away, 1),
        (&["cache", "clear"], &no_redis, 1),
        (&["cache", "warm", "one"], &no_redis, 2),
        (&["reconcile"], &no_redis, 1),
        (&["residents", "release"], &no_redis, 1),
        (&["health", "--bind", "127.0.0.1:1"], &[], 1),
        (&["health", "--timeout", "0"], &[], 2),
    ];
    for (args, variables, status) in cases {
        let output = run(&folder, args, variables).await;
        assert_eq!(output.status.code(), Some(*status), "{args:?}: {output:?}");
        assert_eq!(output.stderr.is_empty(), *status == 0, "{args:?}: {output:?}");
    }
}

#[tokio::test]
async fn log_lines_are_json_where_that_is_wanted() {
    let folder = TempDir::new().unwrap();
    let mut command = command(&folder, &["serve", "--bind", "127.0.0.1:0", "--log-format", "json"]);
    let mut child = command.env("RUST_LOG", "info").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let client = Client::new(line.strip_prefix("listening on ").unwrap());
    client.get("/v1/stocks/1/0").await.is_problem(404, "not_found");
    let mut logged = BufReader::new(child.stderr.take().unwrap()).lines();
    let answered = loop {
        let line: Value = serde_json::from_str(&logged.next_line().await.unwrap().unwrap()).unwrap();
        if line["fields"]["message"] == "answered" {
            break line;
        }
    };
    assert_eq!((&answered["span"]["code"], &answered["span"]["status"]), (&json!("not_found"), &json!(404)));
    child.kill().await.unwrap();
}

#[tokio::test]
async fn lock_nodes_are_adopted_by_hand() {
    let folder = TempDir::new().unwrap();
    let nodes = RedisServer::fleet(1).await.unwrap();
    let url = nodes[0].url();
    let program = Program::start(&folder, &[]).await;
    program.signal(Signal::TERM);
    assert_eq!(program.ended().await, Some(0));
    let variables = [("REDLOCK_NODES", &*url), ("REDLOCK_RESTART_GUARD", "off")];
    let refused = run(&folder, &["serve", "--bind", "127.0.0.1:0"], &variables).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let adopted = run(&folder, &["locks", "adopt"], &variables).await;
    assert!(adopted.status.success(), "{adopted:?}");
    let program = Program::start(&folder, &variables).await;
    program.client.make(1, 1).await;
    program.client.change(1, "lock", json!({"quantity": 1})).await.ok();
}
