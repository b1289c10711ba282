//! Many tasks of several processes on one key: nobody starves.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redlock::{RedisNode, Redlock, RestartGuard};
use testkit::RedisServer;

use crate::support::{SECOND, lock_keys};

const PROCESSES: usize = 4;
const TASKS: usize = 8;
const TIME: Duration = Duration::from_secs(20);
/// Tells the worker where the nodes are.
const NODES: &str = "FAIRNESS_NODES";

/// One of the processes: prints how often each of its tasks held the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn worker() {
    let Ok(nodes) = std::env::var(NODES) else { return };
    let redlock =
        Redlock::builder().nodes(nodes.split(',')).restart_guard(RestartGuard::Off).wait(None).build().unwrap();
    let until = Instant::now() + TIME;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let redlock = redlock.clone();
            tokio::spawn(async move {
                let mut turns = 0_u32;
                while Instant::now() < until {
                    let guard = redlock.lock("order:42").await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    turns += 1;
                    guard.release().await.unwrap();
                }
                turns
            })
        })
        .collect();
    for task in tasks {
        println!("\nturns {}", task.await.unwrap());
    }
    assert!(redlock.close(5 * SECOND).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_every_task_of_four_processes_gets_its_share() {
    let servers = RedisServer::fleet(5).await.unwrap();
    let nodes = servers.iter().map(RedisServer::url).collect::<Vec<_>>().join(",");
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["fairness::worker", "--exact", "--ignored", "--nocapture"])
            .env(NODES, &nodes)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let workers: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    let finish = |worker: std::process::Child| worker.wait_with_output().unwrap();
    let outputs = tokio::task::spawn_blocking(move || workers.into_iter().map(finish).collect::<Vec<_>>());
    let mut turns = Vec::new();
    for output in outputs.await.unwrap() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let told = String::from_utf8(output.stdout).unwrap();
        turns.extend(told.lines().filter_map(|line| line.strip_prefix("turns ")?.parse::<u32>().ok()));
    }
    assert_eq!(turns.len(), PROCESSES * TASKS);
    let sum: u32 = turns.iter().sum();
    let (mean, least) = (f64::from(sum) / turns.len() as f64, turns.iter().min().copied().unwrap());
    println!("{sum} turns, {mean:.1} a task, {least} the least served: {turns:?}");
    assert!(f64::from(least) >= mean / 4.0, "{turns:?}");
    testkit::eventually(15 * SECOND, || async { lock_keys(&servers).await.is_empty() }).await;
}

/// Behind a connection of the caller's own nobody is heard, so nobody can be counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_where_nobody_is_heard_processes_take_turns_all_the_same() {
    let server = RedisServer::start().await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let manager = || {
        let client = client.clone();
        let node = RedisNode::from_factory("node", move || {
            let client = client.clone();
            let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
            async move { client.get_multiplexed_async_connection_with_config(&config).await }
        });
        Redlock::builder().node(node).restart_guard(RestartGuard::Off).build().unwrap()
    };
    let (many, one) = (manager(), manager());
    let busy: Vec<_> = (0..8).map(|_| tokio::spawn(keep_busy(many.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut waits = Vec::new();
    for _ in 0..10 {
        let asked = Instant::now();
        one.lock("order:42").wait(10 * SECOND).await.unwrap().release().await.unwrap();
        waits.push(asked.elapsed());
        // Whoever asks again at once is there before the others.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    println!("waited {waits:?}");
    assert!(waits.iter().sum::<Duration>() < 10 * SECOND, "{waits:?}");
    busy.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn keep_busy(redlock: Redlock) {
    loop {
        let guard = redlock.lock("order:42").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        guard.release().await.unwrap();
    }
}
