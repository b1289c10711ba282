//! Locks of other languages on the same nodes and ours exclude each other.
//!
//! Needs the interpreter named by `TESTKIT_PYTHON`, with pottery and redlock-py installed;
//! `cargo xtask test` makes it.

use std::process::Stdio;

use redlock::{Builder, LockError, Redlock};
use testkit::RedisServer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{SECOND, over};

const POTTERY: &str = r#"
import sys
from redis import Redis
from pottery import Redlock
masters = {Redis.from_url(url) for url in sys.argv[1:]}
lock = Redlock(key="order:42", masters=masters, auto_release_time=30)
for line in sys.stdin:
    if line.strip() == "acquire":
        print(lock.acquire(blocking=False), flush=True)
    else:
        lock.release()
        print(True, flush=True)
"#;

const REDLOCK_PY: &str = r#"
import sys
from redlock import Redlock
manager = Redlock([{"host": "127.0.0.1", "port": int(url.rsplit(":", 1)[1])} for url in sys.argv[1:]], retry_count=1)
lock = False
for line in sys.stdin:
    if line.strip() == "acquire":
        lock = manager.lock("order:42", 30000)
        print(bool(lock), flush=True)
    else:
        manager.unlock(lock)
        print(True, flush=True)
"#;

/// A lock client in another language, driven line by line.
struct Foreign {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Foreign {
    fn start(script: &str, servers: &[RedisServer]) -> Self {
        let python = std::env::var("TESTKIT_PYTHON")
            .expect("TESTKIT_PYTHON names a Python with pottery and redlock-py; see xtask");
        let mut child = Command::new(python)
            .args(["-c", script])
            .args(servers.iter().map(RedisServer::url))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { input, output, _child: child }
    }

    async fn ask(&mut self, what: &str) -> bool {
        self.input.write_all(format!("{what}\n").as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(20 * SECOND, self.output.next_line()).await.unwrap();
        answer.unwrap().expect("the foreign client lives") == "True"
    }
}

async fn exclude_each_other(script: &str, family: impl Fn(Builder) -> Builder) {
    let servers = RedisServer::fleet(3).await.unwrap();
    let ours: Redlock = family(over(&servers)).build().unwrap();
    let mut theirs = Foreign::start(script, &servers);

    assert!(theirs.ask("acquire").await, "a free lock is theirs");
    let refused = ours.try_lock("order:42").await;
    assert!(matches!(refused, Err(LockError::Contended { .. })), "{refused:?}");
    assert!(theirs.ask("release").await);

    let guard = ours.lock("order:42").wait(5 * SECOND).await.expect("a released lock is ours");
    assert!(!theirs.ask("acquire").await, "and not theirs");
    guard.release().await.unwrap();
    assert!(ours.close(5 * SECOND).await);
    assert!(theirs.ask("acquire").await, "until we release it");
    assert!(theirs.ask("release").await);
}

#[tokio::test]
async fn pottery_and_we_exclude_each_other() {
    exclude_each_other(POTTERY, |builder| builder.key_prefix("redlock:")).await;
}

#[tokio::test]
async fn redlock_py_and_we_exclude_each_other() {
    exclude_each_other(REDLOCK_PY, |builder| builder).await;
}
