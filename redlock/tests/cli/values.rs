//! Options and variables that cannot be used, and completions.

use serde_json::Value;

use crate::support::{assert_status, bare, output, stderr, stdout};

const NODES: (&str, &str) = ("REDLOCK_NODES", "redis://127.0.0.1:1");

#[tokio::test]
async fn what_cannot_be_used_is_named_with_its_value_and_what_is_allowed() {
    type Case = (&'static [&'static str], (&'static str, &'static str), &'static [&'static str]);
    let cases: &[Case] = &[
        (&["preflight"], ("REDLOCK_NODES", ""), &["REDLOCK_NODES", "--nodes", "redis://"]),
        (&["preflight"], ("REDLOCK_NODES", "redis://a,,redis://b"), &["REDLOCK_NODES", "two commas", "redis://"]),
        (&["preflight"], ("REDLOCK_NODES", "http://me:hush@h"), &["REDLOCK_NODES", "***@h", "`http`", "redis://"]),
        (&["preflight", "--nodes", "h:1"], NODES, &["--nodes", "h:1", "redis://"]),
        (&["preflight", "--nodes", "redis://a,redis://a"], NODES, &["--nodes", "redis://a", "same server"]),
        (&["preflight", "--restart-guard", "1.5"], NODES, &["--restart-guard", "1.5", "max-ttl, off and whole"]),
        (&["preflight", "--node-timeout", "0"], NODES, &["--node-timeout", "0ns", "above zero"]),
        (&["inspect", ""], NODES, &["0 bytes", "1 to 1024"]),
        (&["inspect", "x", "--key-prefix", "redlock:fence:"], NODES, &["--key-prefix", "redlock:fence:"]),
        (&["run", "-r", "x", "--ttl", "10", "--", "true"], NODES, &["--ttl", "'10'", "500ms, 10s"]),
        (&["run", "-r", "x", "--ttl", "1ms", "--", "true"], NODES, &["--ttl", "1ms", "above the drift"]),
        (&["run", "-r", "x", "--ttl", "2s", "--max-ttl", "1s", "--", "true"], NODES, &["--max-ttl", "1s", "2s"]),
        (&["run", "-r", "x", "--wait", "soon", "--", "true"], NODES, &["--wait", "soon", "0, and forever"]),
        (&["run", "-r", "x", "--max-hold", "0", "--", "true"], NODES, &["max_hold of zero", "above zero"]),
        (&["run", "-r", "x", "--owner", "ä", "--", "true"], NODES, &["--owner", "printable"]),
        (&["run", "-r", "redlock:fence:x", "--", "true"], NODES, &["redlock:fence:x", "fencing tokens"]),
        (&["run", "-r", "x"], NODES, &["COMMAND"]),
        (&["run", "--", "true"], NODES, &["--resource"]),
        (&["walk"], NODES, &["walk"]),
    ];
    for (args, (name, value), parts) in cases {
        let mut command = bare(args);
        command.env(name, value);
        let output = output(command).await;
        assert_status(&output, 64);
        let message = stderr(&output);
        for part in *parts {
            assert!(message.contains(part), "{args:?}: {message} lacks {part}");
        }
        assert!(!message.contains("hush"), "{message}");
    }
}

#[tokio::test]
async fn a_bad_restart_guard_names_its_variable() {
    for value in ["soon", "0", "86401"] {
        let mut command = bare(&["preflight", "--json"]);
        command.env(NODES.0, NODES.1).env("REDLOCK_RESTART_GUARD", value);
        let output = output(command).await;
        assert_status(&output, 64);
        let error: Value = serde_json::from_str(&stderr(&output)).unwrap();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("REDLOCK_RESTART_GUARD: `{value}`")), "{message}");
        assert!(message.contains("max-ttl, off and whole seconds from 1 to 86400"), "{message}");
    }
}

#[tokio::test]
async fn misuse_is_json_too_where_json_is_asked_for() {
    let misused = output(bare(&["run", "--json"])).await;
    assert_status(&misused, 64);
    let error: Value = serde_json::from_str(&stderr(&misused)).unwrap();
    assert_eq!(error["code"], "usage");
    // An option of the command that would have been run is none of ours.
    let misused = output(bare(&["run", "--", "true", "--json"])).await;
    assert_status(&misused, 64);
    assert!(stderr(&misused).starts_with("error:"), "{}", stderr(&misused));
}

#[tokio::test]
async fn completions_know_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = output(bare(&["completions", shell])).await;
        assert_status(&output, 0);
        let text = stdout(&output);
        for word in ["run", "inspect", "release", "preflight", "--resource", "max-hold"] {
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(text.contains(word), "{shell} lacks {word}");
        }
    }
}

#[tokio::test]
async fn help_tells_the_exit_statuses() {
    let output = output(bare(&["run", "--help"])).await;
    assert_status(&output, 0);
    for status in ["75", "69", "76", "64", "126", "127"] {
        assert!(stdout(&output).contains(status), "{status}");
    }
}
