//! Bugs planted in the real code, each of which must break the invariant that is there for it: a suite that does not
//! find them would not find others.

#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

use std::path::PathBuf;
use std::time::Duration;

use chaos::{Report, Settings};

/// Seeds that may be needed: what processes make of a plan is up to the machine.
const SEEDS: u64 = 4;

/// Runs a scenario with a bug in its clients, and expects that this invariant is broken.
async fn caught(bug: &str, scenario: &str, invariant: &str) -> Report {
    caught_within(None, SEEDS, (bug, scenario, invariant)).await
}

/// The same, with so many seeds for so long each.
async fn caught_within(length: Option<Duration>, seeds: u64, (bug, scenario, invariant): (&str, &str, &str)) -> Report {
    // Beside the reports of real failures, which are worth a look.
    let reports = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("planted");
    for seed in 1..=seeds {
        let mut settings = Settings::new(seed, env!("CARGO_BIN_EXE_chaos").into(), reports.clone());
        (settings.bug, settings.length) = (Some(bug.to_owned()), length);
        let report = chaos::run(chaos::find(scenario).unwrap(), &settings).await.unwrap();
        println!("{report}");
        if report.violations().any(|violation| violation.starts_with(invariant)) {
            return report;
        }
    }
    panic!("{seeds} seeds of {scenario} do not notice `{bug}` by: {invariant}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validity_counted_from_the_reply_makes_two_guards() {
    // Leases are held to their end there, so that a short run has few of them.
    let long = Some(Duration::from_secs(30));
    caught_within(long, 8, ("validity-from-reply", "lock-slow", "no two valid guards")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_handed_over_again_does_not_grow() {
    caught("hand-over-repeats-token", "lock-hung", "tokens grow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_nobody_compares_lets_stale_writes_in() {
    caught("redlocked-fence-ignored", "stock-stale", "no stale write accepted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_are_not_there_go_below_zero() {
    caught("levels-oversold", "stock-nodes", "nothing negative").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_left_out_is_missing_in_the_sum() {
    caught("redlocked-log-shortened", "stock-nodes", "levels equal the sum of the log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_that_is_answered_is_not_in_the_log() {
    caught("redlocked-lost-commit-answered", "stock-cut", "every answered operation logged exactly once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_under_way_that_is_answered_is_not_in_the_log() {
    caught("redlocked-lost-commit-answered", "stock-commit", "every answered operation logged exactly once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_blindly_loses_what_was_written_under_a_token() {
    let report = caught("foreign-writes-blindly", "interop", "no stale write accepted").await;
    assert!(report.to_string().contains("rslock's guard was stale when it wrote"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_kept_when_its_time_is_over_does_not_agree_with_the_log() {
    caught("holds-kept-when-over", "stock-holds", "holds agree with the log").await;
}

/// Nothing is written back, so that a Redis that forgets takes all there was with it, and not the last moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_not_written_back_is_lost_with_redis() {
    caught("resident-kept-out", "stock-forgetful", "nothing lost but what was not written back").await;
}

/// Each of these has a check of its own; one round shows that all of them can fail.
#[tokio::test(flavor = "multi_thread")]
async fn alone_memory_tasks_and_connections_that_are_lost_and_a_queue_without_an_end_are_seen() {
    let bugs = "service-leaks-memory,service-leaks-tasks,service-leaks-connections,service-queue-unbounded";
    // Long enough for a node and the database to hang.
    let length = Some(Duration::from_secs(9));
    let report = caught_within(length, 1, (bugs, "load", "nothing odd was seen: memory grew")).await.to_string();
    for other in ["tasks leaked", "connections leaked", "the queue is not bounded"] {
        assert!(report.contains(other), "{report}");
    }
}

/// It takes offence when the database has been away, and is done with that after the round only.
#[tokio::test(flavor = "multi_thread")]
async fn alone_a_service_that_sulks_does_not_go_on_and_its_throughput_is_missed() {
    let report = caught_within(None, 1, ("redlocked-sulks", "load", "work goes on")).await.to_string();
    assert!(report.contains("throughput is not back"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_commit_breaks_the_order() {
    caught("redlocked-answered-early", "stock-nodes", "real time agrees with versions").await;
}
