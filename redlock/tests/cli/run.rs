//! Locks for commands: statuses, and what the command is told.

use redlock::Released;
use serde_json::Value;
use testkit::{RedisServer, eventually};

use crate::support::{
    Notes, SECOND, assert_status, ended, lock_keys, manager, output, redlock, script, state, stderr, stdout,
};

#[tokio::test]
async fn the_command_gets_its_token_and_gives_its_status() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let before = manager(&servers).lock("job").await.unwrap();
    let token = before.fence().get();
    assert_eq!(before.release().await.unwrap(), Released::Released);

    let output = output(script(&servers, &[], "echo $REDLOCK_RESOURCE $REDLOCK_FENCE; exit 3")).await;
    assert_status(&output, 3);
    let answer = stdout(&output);
    let (resource, fence) = answer.trim().split_once(' ').unwrap();
    assert_eq!(resource, "job");
    assert!(fence.parse::<u64>().unwrap() > token, "{fence} after {token}");
    assert_eq!(stderr(&output), "");
    assert_eq!(lock_keys(&servers).await, [""; 0]);
}

#[tokio::test]
async fn the_lock_is_held_and_renewed_while_the_command_runs() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let notes = Notes::new();
    let work =
        format!("echo up > {0}; while [ ! -e {1} ]; do sleep 0.05; done", notes.quoted("up"), notes.quoted("end"));
    let child = script(&servers, &["--ttl", "6s", "--owner", "nightly"], &work).spawn().unwrap();
    notes.lines("up", 1).await;
    let holder = || async {
        let inspection = manager(&servers).inspect("job").await;
        inspection.nodes.iter().filter_map(|node| node.state.value().map(<[u8]>::to_vec)).collect::<Vec<_>>()
    };
    // A node may answer after the lock is had.
    eventually(5 * SECOND, || async { holder().await.len() == 3 }).await;
    let first = holder().await;
    assert!(first.iter().all(|value| value.starts_with(b"nightly")), "{first:?}");
    // Longer than the lease: what is there now has been renewed.
    tokio::time::sleep(7 * SECOND).await;
    assert_eq!(holder().await, first);
    std::fs::write(notes.path("end"), "").unwrap();
    assert_status(&ended(child).await, 0);
    assert_eq!(lock_keys(&servers).await, [""; 0]);
}

#[tokio::test]
async fn several_resources_are_locked_all_or_none() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let held = manager(&servers).lock("b").await.unwrap();
    let args = ["run", "-r", "a", "-r", "b", "--wait", "0", "--", "true"];
    assert_status(&output(redlock(&servers, &args)).await, 75);
    assert_eq!(lock_keys(&servers).await, ["b"]);
    held.release().await.unwrap();
    let args = ["run", "-r", "a", "-r", "b", "--", "sh", "-c", "echo \"$REDLOCK_RESOURCE\""];
    let output = output(redlock(&servers, &args)).await;
    assert_status(&output, 0);
    assert_eq!(stdout(&output), "a\nb\n");
}

#[tokio::test]
async fn a_lock_held_by_somebody_else_is_75_and_the_command_never_starts() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let _held = manager(&servers).lock("job").await.unwrap();
    for wait in ["0", "200ms"] {
        let output = output(script(&servers, &["--wait", wait], "echo started")).await;
        assert_status(&output, 75);
        assert_eq!(stdout(&output), "");
        assert!(stderr(&output).contains("`job` is held by somebody else"), "{}", stderr(&output));
    }
    let output = output(script(&servers, &["--wait", "0", "--json"], "echo started")).await;
    let error: Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    assert_eq!((&error["event"], &error["code"], &error["status"]), (&"error".into(), &"contended".into(), &75.into()));
    assert!(error["retry_after_ms"].as_u64().unwrap() > 1_000, "{error}");
}

#[tokio::test]
async fn a_lock_that_becomes_free_is_waited_for() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let held = manager(&servers).lock("job").await.unwrap();
    let child = script(&servers, &["--wait", "forever"], "exit 5").spawn().unwrap();
    tokio::time::sleep(SECOND / 2).await;
    held.release().await.unwrap();
    assert_status(&ended(child).await, 5);
}

#[tokio::test]
async fn nodes_that_are_down_are_69_each_with_its_cause() {
    let servers = RedisServer::fleet(3).await.unwrap();
    servers[0].kill().await.unwrap();
    assert_status(&output(script(&servers, &["--wait", "0"], "true")).await, 0);
    servers[1].kill().await.unwrap();
    let output = output(script(&servers, &["--wait", "0", "--json"], "echo started")).await;
    assert_status(&output, 69);
    assert_eq!(stdout(&output), "");
    let error: Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    let nodes = error["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2, "{error}");
    for server in &servers[..2] {
        let node = nodes.iter().find(|node| node["node"] == server.url()).unwrap();
        assert_eq!(node["cause"], "refused");
    }
}

#[tokio::test]
async fn nodes_that_hang_lose_the_lock_and_end_the_command_with_76() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let notes = Notes::new();
    let work = format!("echo $$ > {}; exec sleep 300", notes.quoted("pid"));
    let child = script(&servers, &["--ttl", "2s"], &work).spawn().unwrap();
    let pid = notes.lines("pid", 1).await.remove(0);
    assert!(state(&pid).is_some());
    for server in &servers[1..] {
        server.pause().await.unwrap();
    }
    let output = ended(child).await;
    assert_status(&output, 76);
    assert_eq!(state(&pid), None);
    let message = stderr(&output);
    assert!(message.contains("the lock on `job` was lost: its validity ran out; the command was ended"), "{message}");
}

#[tokio::test]
async fn a_lock_held_for_too_long_is_lost() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let output = output(script(&servers, &["--max-hold", "300ms", "--json"], "exec sleep 300")).await;
    assert_status(&output, 76);
    let last = stderr(&output).lines().last().unwrap().to_owned();
    let error: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&error["code"], &error["reason"]), (&"lost".into(), &"max-hold".into()));
    eventually(5 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

#[tokio::test]
async fn a_command_that_ends_after_its_lock_was_taken_is_76() {
    let servers = RedisServer::fleet(1).await.unwrap();
    // Ended before a renewal could notice.
    let program = env!("CARGO_BIN_EXE_redlock");
    let output = output(script(&servers, &[], &format!("'{program}' release --force job >&2"))).await;
    assert_status(&output, 76);
    assert!(stderr(&output).contains("the command had ended by itself, with status 0"), "{}", stderr(&output));
}

#[tokio::test]
async fn commands_that_cannot_be_started_have_a_shells_status() {
    let servers = RedisServer::fleet(1).await.unwrap();
    for (program, status, reason) in
        [("redlock-no-such-command", 127, "not found"), ("/dev/null", 126, "cannot be started")]
    {
        let output = output(redlock(&servers, &["run", "-r", "job", "--", program])).await;
        assert_status(&output, status);
        let message = stderr(&output);
        assert!(message.contains(program) && message.contains(reason), "{message}");
        assert_eq!(lock_keys(&servers).await, [""; 0]);
    }
}

#[tokio::test]
async fn events_are_json_and_leave_standard_output_to_the_command() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let output = output(script(&servers, &["--json"], "echo $REDLOCK_FENCE")).await;
    let events: Vec<Value> = stderr(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["acquired", "released"]);
    assert_eq!(events[0]["fence"].to_string(), stdout(&output).trim());
    assert_eq!(events[0]["resources"], serde_json::json!(["job"]));
}
