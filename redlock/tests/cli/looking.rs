//! Looking at the nodes from outside, and taking a lock away.

use serde_json::Value;
use testkit::{RedisServer, Reply, cli};

use crate::support::{
    Notes, SECOND, assert_status, bare, ended, lock_keys, manager, output, redlock, script, stderr, stdout,
};

async fn json(servers: &[RedisServer], args: &[&str], status: i32) -> Value {
    let output = output(redlock(servers, &[args, &["--json"]].concat())).await;
    assert_status(&output, status);
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[tokio::test]
async fn inspect_shows_free_held_foreign_and_failed_nodes() {
    let servers = RedisServer::fleet(3).await.unwrap();
    assert_eq!(json(&servers, &["inspect", "job"], 0).await["state"], "free");

    let _held = manager(&servers).lock("job").await.unwrap();
    let inspection = json(&servers, &["inspect", "job"], 0).await;
    assert_eq!(inspection["state"], "held");
    let own = format!(":{}:", std::process::id());
    assert!(inspection["holder"].as_str().unwrap().contains(&own), "{inspection}");
    assert!(inspection["nodes"][0]["remaining_ms"].as_u64().unwrap() <= 10_000);
    let text = stdout(&output(redlock(&servers, &["inspect", "job"])).await);
    assert!(text.lines().next().unwrap().ends_with("on 3 of 3 nodes"), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");

    cli(servers[0].addr(), &["SET", "other", "a\"b\n"]).await;
    cli(servers[1].addr(), &["HSET", "other", "field", "1"]).await;
    servers[2].kill().await.unwrap();
    let inspection = json(&servers, &["inspect", "other"], 69).await;
    assert_eq!(inspection["state"], "unknown");
    assert_eq!(inspection["nodes"][0]["value"], "a\\\"b\\n");
    assert_eq!(inspection["nodes"][0]["remaining_ms"], Value::Null);
    assert_eq!(inspection["nodes"][1]["cause"], "wrong_type");
    assert_eq!(inspection["nodes"][2]["cause"], "refused");
}

#[tokio::test]
async fn release_refuses_without_force_and_shows_whose_it_was_with_it() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let held = manager(&servers).lock("job").await.unwrap();
    let refused = output(redlock(&servers, &["release", "job"])).await;
    assert_status(&refused, 64);
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    assert_eq!(lock_keys(&servers).await, ["job"; 3]);
    assert!(held.is_valid());

    let released = output(redlock(&servers, &["release", "--force", "job"])).await;
    assert_status(&released, 0);
    assert!(stdout(&released).contains(&format!(":{}:", std::process::id())), "{}", stdout(&released));
    assert_eq!(lock_keys(&servers).await, [""; 0]);

    let nothing = json(&servers, &["release", "--force", "job"], 0).await;
    assert!(nothing["nodes"].as_array().unwrap().iter().all(|node| node["outcome"] == "free"), "{nothing}");
}

#[tokio::test]
async fn release_takes_away_foreign_locks_and_what_never_expires() {
    let servers = RedisServer::fleet(3).await.unwrap();
    for server in &servers {
        cli(server.addr(), &["SET", "redlock:job", "of-somebody"]).await;
    }
    let released = json(&servers, &["release", "--force", "job", "--key-prefix", "redlock:"], 0).await;
    assert_eq!(released["nodes"][2]["value"], "of-somebody");
    assert_eq!(released["nodes"][2]["outcome"], "released");
    assert_eq!(lock_keys(&servers).await, [""; 0]);
}

#[tokio::test]
async fn release_leaves_a_lock_that_changed_hands() {
    let server = RedisServer::start().await.unwrap();
    cli(server.addr(), &["SET", "job", "theirs"]).await;
    let script = include_str!("../../src/bin/redlock/release.lua");
    assert_eq!(cli(server.addr(), &["EVAL", script, "1", "job", "seen before"]).await, Reply::Int(0));
    assert_eq!(cli(server.addr(), &["GET", "job"]).await, Reply::from("theirs"));
    assert_eq!(cli(server.addr(), &["EVAL", script, "1", "job", "theirs"]).await, Reply::Int(1));
    assert_eq!(cli(server.addr(), &["GET", "job"]).await, Reply::Nil);
}

#[tokio::test]
async fn release_needs_a_quorum() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let _held = manager(&servers).lock("job").await.unwrap();
    servers[0].pause().await.unwrap();
    servers[1].pause().await.unwrap();
    let output = output(redlock(&servers, &["release", "--force", "job"])).await;
    assert_status(&output, 69);
    assert!(stderr(&output).contains("timeout"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_command_whose_lock_is_taken_away_is_ended_at_its_next_renewal() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let notes = Notes::new();
    let work = format!("echo up > {}; exec sleep 300", notes.quoted("up"));
    let child = script(&servers, &["--ttl", "3s"], &work).spawn().unwrap();
    notes.lines("up", 1).await;
    assert_status(&output(redlock(&servers, &["release", "--force", "job"])).await, 0);
    let started = std::time::Instant::now();
    let ended = ended(child).await;
    assert_status(&ended, 76);
    assert!(stderr(&ended).contains("a quorum of nodes no longer holds it"), "{}", stderr(&ended));
    assert!(started.elapsed() < 30 * SECOND);
}

#[tokio::test]
async fn preflight_tells_who_votes() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let preflight = json(&servers, &["preflight"], 0).await;
    assert_eq!(preflight["quorum"], true);
    for node in preflight["nodes"].as_array().unwrap() {
        assert_eq!((&node["votes"], &node["info"]["role"]), (&true.into(), &"master".into()));
    }
    let text = stdout(&output(redlock(&servers, &["preflight"])).await);
    assert!(servers.iter().all(|server| text.contains(&server.url())), "{text}");

    // Servers this young do not vote where the guard is on.
    let guarded = json(&servers, &["preflight", "--restart-guard", "max-ttl"], 69).await;
    assert_eq!(guarded["quorum"], false);
    assert_eq!(guarded["nodes"][0]["barred"]["cause"], "quarantined");
    let remaining = |value: &Value| value["nodes"][0]["barred"]["remaining_ms"].as_u64().unwrap();
    let longer = json(&servers, &["preflight", "--restart-guard", "max-ttl", "--max-ttl", "1h"], 69).await;
    assert!(remaining(&longer) > remaining(&guarded) + 3_000_000, "{longer}");
}

#[tokio::test]
async fn passwords_are_shown_nowhere() {
    let nodes = "redis://me:hush@127.0.0.1:1";
    for args in [
        vec!["run", "-r", "job", "--wait", "0", "--", "true"],
        vec!["inspect", "job"],
        vec!["release", "--force", "job"],
        vec!["preflight"],
    ] {
        for json in [&[][..], &["--json"][..]] {
            let (verb, rest) = args.split_at(1);
            for source in ["REDLOCK_NODES", "--nodes"] {
                let given = ["--nodes", nodes];
                let given = if source == "--nodes" { &given[..] } else { &[] };
                let mut command = bare(&[verb, json, given, rest].concat());
                if source == "REDLOCK_NODES" {
                    command.env(source, nodes);
                }
                let output = output(command).await;
                assert_status(&output, 69);
                let everything = stdout(&output) + &stderr(&output);
                assert!(everything.contains("redis://127.0.0.1:1"), "{everything}");
                assert!(!everything.contains("hush") && !everything.contains("me:"), "{everything}");
            }
        }
    }
}
