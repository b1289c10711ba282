//! After a loss nothing that the command has started goes on working.

use std::time::Instant;

use testkit::{RedisServer, eventually};

use crate::support::{Notes, SECOND, assert_status, ended, lock_keys, script, state};

#[tokio::test]
async fn a_loss_reaches_everything_a_script_has_started() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    let pids = notes.quoted("pids");
    // A child, a grandchild whose parent has gone, one in a session of its own, and one that does not
    // mind being asked.
    let work = format!(
        "echo $$ >> {pids}; sleep 300 & echo $! >> {pids}; (sh -c 'sleep 300 & echo $! >> {0}'); \
         (setsid sh -c 'echo $$ >> {0}; exec sleep 300' &); (trap '' TERM; sh -c 'echo $$ >> {0}; sleep 300') & wait",
        notes.path("pids").display()
    );
    let child = script(&servers, &["--ttl", "3s", "--grace", "200ms"], &work).spawn().unwrap();
    let pids = notes.lines("pids", 5).await;
    assert!(pids.iter().all(|pid| state(pid).is_some()), "{pids:?}");
    servers[0].pause().await.unwrap();
    assert_status(&ended(child).await, 76);
    let left: Vec<_> = pids.iter().filter(|pid| state(pid).is_some()).collect();
    assert!(left.is_empty(), "{left:?} of {pids:?}");
}

#[tokio::test]
async fn whoever_ends_when_asked_has_the_grace_to_do_so() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    let work = format!(
        "trap 'sleep 0.3; echo cleaned >> {0}; exit 0' TERM; echo up >> {0}; while :; do sleep 0.05; done",
        notes.quoted("log")
    );
    let started = Instant::now();
    let child = script(&servers, &["--max-hold", "2s", "--grace", "30s"], &work).spawn().unwrap();
    assert_status(&ended(child).await, 76);
    assert_eq!(notes.lines("log", 2).await, ["up", "cleaned"]);
    assert!(started.elapsed() < 20 * SECOND, "the grace was waited out");
}

#[tokio::test]
async fn what_a_command_leaves_behind_when_it_ends_by_itself_is_left_alone() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    let (pid, end) = (notes.quoted("pid"), notes.quoted("end"));
    let daemon = format!("echo $$ > {pid}; while [ ! -e {end} ]; do sleep 0.05; done");
    let work = format!("({daemon}) > /dev/null 2>&1 & while [ ! -s {pid} ]; do sleep 0.05; done");
    // `$$` is the script's in a subshell, so the daemon gets a shell of its own.
    let work = work.replace(&format!("({daemon})"), &format!("sh -c \"{}\"", daemon.replace('$', "\\$")));
    let child = script(&servers, &[], &work).spawn().unwrap();
    assert_status(&ended(child).await, 0);
    let pid = notes.lines("pid", 1).await.remove(0);
    assert!(state(&pid).is_some());
    assert_eq!(lock_keys(&servers).await, [""; 0]);
    std::fs::write(notes.path("end"), "").unwrap();
    eventually(10 * SECOND, || async { state(&pid).is_none() }).await;
}

#[tokio::test]
async fn orphans_that_end_are_buried_while_the_command_goes_on() {
    let servers = RedisServer::fleet(1).await.unwrap();
    let notes = Notes::new();
    let work = format!(
        "(sh -c 'sleep 0.2 & echo $! > {0}'); echo up > {1}; while [ ! -e {2} ]; do sleep 0.05; done",
        notes.path("pid").display(),
        notes.quoted("up"),
        notes.quoted("end")
    );
    let child = script(&servers, &[], &work).spawn().unwrap();
    notes.lines("up", 1).await;
    let pid = notes.lines("pid", 1).await.remove(0);
    // Gone altogether, not a zombie.
    eventually(10 * SECOND, || async { !std::path::Path::new(&format!("/proc/{pid}")).exists() }).await;
    std::fs::write(notes.path("end"), "").unwrap();
    assert_status(&ended(child).await, 0);
}
