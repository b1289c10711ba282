//! Every rung of the ladder shows its flaw, and the next one mends it.
#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]
#![allow(dead_code, reason = "a test calls the ladder without its `main`")]

#[path = "../ladder/main.rs"]
mod ladder;

use std::time::Duration;

#[tokio::test]
async fn every_flaw_shows_every_time_and_is_mended_by_the_next_rung() {
    let ladder = ladder::climb().await.unwrap();
    println!("{ladder}");
    let rungs: Vec<_> = ladder.rows.iter().map(|row| row.rung).collect();
    assert_eq!(
        rungs,
        [
            "read the stock, then write it",
            "SETNX",
            "SETNX, then EXPIRE",
            "SET NX EX, and DEL",
            "owner's value, GET then DEL",
            "expiry in the value, GETSET",
            "expiry in the value, GETSET",
            "its Lua form",
            "compare-and-delete, no renewal",
            "renewed, on one node",
            "Redlock, and a paused holder",
        ]
    );
    for row in &ladder.rows {
        assert!(row.seen.of >= 5 && row.seen.times == row.seen.of, "{}: {}", row.rung, row.seen);
        assert!(row.seen_then.of >= 5 && row.seen_then.times == 0, "{}: {}", row.mended_by, row.seen_then);
    }
    assert!(ladder.is_as_told());
    assert!(ladder.took < Duration::from_secs(60), "{:?}", ladder.took);

    let table = ladder.to_string();
    for row in &ladder.rows {
        assert!(table.contains(row.flaw) && table.contains(row.mended_by), "{table}");
    }
}
