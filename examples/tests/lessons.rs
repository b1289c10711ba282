//! Every lesson is run, and shows what it says.
#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]
#![allow(clippy::duplicate_mod, reason = "every lesson is a program of its own")]
#![allow(dead_code, reason = "a test calls a lesson without its `main`")]

#[path = "../fenced_write.rs"]
mod fenced_write;
#[path = "../leader.rs"]
mod leader;
#[path = "../long_job.rs"]
mod long_job;
#[path = "../quickstart.rs"]
mod quickstart;
#[path = "../several.rs"]
mod several;

use std::time::Duration;

use redlock::LossReason;

#[tokio::test]
async fn the_quickstart_takes_a_lock_and_gives_it_back() {
    quickstart::lesson().await.unwrap();
}

#[tokio::test]
async fn a_long_job_outlives_its_lease_and_a_lost_one_is_dropped() {
    let shown = long_job::lesson().await.unwrap();
    assert!(shown.took >= Duration::from_secs(4), "{shown:?}");
    assert!(matches!(shown.lost, LossReason::Deadline), "{shown:?}");
    // A lease of two seconds, steps of a tenth of one.
    assert!(shown.steps <= 20, "{shown:?}");
}

#[tokio::test]
async fn several_resources_are_locked_in_any_order_all_or_none() {
    let shown = several::lesson().await.unwrap();
    assert_eq!(shown, several::Shown { orders: 20, other_is_free: true });
}

#[tokio::test]
async fn there_is_one_leader_at_a_time_and_terms_grow() {
    let shown = leader::lesson().await.unwrap();
    assert_eq!(shown.most_leaders(), 1);
    let terms = shown.terms();
    assert_eq!(terms.len(), 6, "{terms:?}");
    assert!(terms.windows(2).all(|pair| pair[0].token < pair[1].token), "{terms:?}");
    for name in ["ada", "ben", "cleo"] {
        assert_eq!(terms.iter().filter(|term| term.leader == name).count(), 2, "{terms:?}");
    }
}

#[tokio::test]
async fn a_late_holder_cannot_write_to_its_own_server_and_a_named_one() {
    let expected = fenced_write::Shown { newer: true, older: false, price: 110 };
    assert_eq!(fenced_write::lesson(None).await.unwrap(), expected);
    let server = testkit::shared_sql().await.unwrap();
    server.create_database("redlock_examples").await.unwrap();
    assert_eq!(fenced_write::lesson(Some(server.url("redlock_examples"))).await.unwrap(), expected);
}
