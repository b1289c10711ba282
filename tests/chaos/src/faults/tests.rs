//! Every fault on its own: it is seen where it was done, and gone when it was undone.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use testkit::{Proxy, RedisServer, Reply, SqlServer, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Fault;
use super::client::{How as MemberHow, Member, MemberFault};
use super::database::{DatabaseFault, How as DatabaseHow};
use super::link::{Link, LinkFault, Trouble};
use super::node::{How, Node, NodeFault};
use crate::child::Child;
use crate::record::Record;

/// How long somebody is waited for who may not answer.
const SILENT: Duration = Duration::from_millis(300);

const SOON: Duration = Duration::from_secs(10);

async fn answers(node: &Node) -> bool {
    let reply = timeout(SILENT, node.server.command(&["PING"])).await;
    matches!(reply, Ok(Ok(Reply::Text(_))))
}

/// Whether it still knows what it was told before the fault.
async fn is_done_and_undone(node: &Arc<Node>, how: How) -> bool {
    node.server.command(&["SET", "told", "1"]).await.unwrap();
    let fault = NodeFault { node: node.clone(), how };
    assert_eq!(fault.available(), Ok(()), "{how:?}");
    assert!(fault.name().starts_with("node 1 "), "{}", fault.name());
    fault.inject().await.unwrap();
    assert!(!answers(node).await, "{how:?} is not done");
    assert!(fault.bites().await);
    fault.undo().await.unwrap();
    eventually(SOON, async || answers(node).await).await;
    node.server.keys("told").await.len() == 1
}

#[tokio::test]
async fn nodes_die_forget_and_hang() {
    let server = RedisServer::builder().persistent(true).start().await.unwrap();
    let node = Arc::new(Node { name: "node 1".to_owned(), server });
    assert!(is_done_and_undone(&node, How::Stop).await);
    assert!(is_done_and_undone(&node, How::KillAndReturn).await);
    assert!(!is_done_and_undone(&node, How::KillAndForget).await);
    let alone = NodeFault { node, how: How::Disconnect };
    assert!(alone.available().unwrap_err().contains("no network of its own"));
}

#[tokio::test]
async fn container_nodes_are_paused_killed_and_taken_off_the_network() {
    let server = RedisServer::builder().persistent(true).start_container().await.unwrap();
    let node = Arc::new(Node { name: "node 1".to_owned(), server });
    for how in [How::Stop, How::KillAndReturn, How::Disconnect] {
        assert!(is_done_and_undone(&node, how).await, "{how:?}");
    }
}

async fn is_queried(server: &SqlServer) -> bool {
    timeout(SILENT, server.query("", "SELECT 1")).await.is_ok_and(|rows| rows.is_ok())
}

async fn is_hurt(server: &Arc<SqlServer>, how: DatabaseHow) {
    let fault = DatabaseFault { server: server.clone(), how };
    assert_eq!(fault.available(), Ok(()), "{how:?}");
    fault.inject().await.unwrap();
    assert!(!is_queried(server).await, "{} is not done", fault.name());
    fault.undo().await.unwrap();
    eventually(SOON, async || is_queried(server).await).await;
}

#[tokio::test]
async fn the_database_dies_and_hangs() {
    let server = Arc::new(SqlServer::start().await.unwrap());
    for how in [DatabaseHow::Kill, DatabaseHow::KillInCommit, DatabaseHow::Stop] {
        is_hurt(&server, how).await;
    }
    let alone = DatabaseFault { server, how: DatabaseHow::Disconnect };
    assert!(alone.available().unwrap_err().contains("no network of its own"));
}

#[tokio::test]
async fn container_databases_are_taken_off_the_network() {
    is_hurt(&Arc::new(SqlServer::container_mysql9().await.unwrap()), DatabaseHow::Disconnect).await;
}

/// Sets a key over a connection; whether an answer comes within that time.
async fn says(connection: &mut TcpStream, key: &str, patience: Duration) -> bool {
    let request = format!("SET {key} 1\r\n");
    let mut answer = [0; 5];
    let asked = connection.write_all(request.as_bytes()).await.is_ok();
    asked && timeout(patience, connection.read_exact(&mut answer)).await.is_ok_and(|read| read.is_ok())
}

#[tokio::test]
async fn ways_are_black_holes_in_each_direction_slow_and_reset() {
    let server = RedisServer::start().await.unwrap();
    let link = Arc::new(Link { name: "a way".to_owned(), proxy: Proxy::start(server.addr()).await });
    // Whether an answer comes, whether the request arrives, and whether that comes late, or the connection has ended.
    for (key, trouble, answered, arrives) in [
        ("slow", Trouble::Slow(Duration::from_millis(60)), true, true),
        ("hole", Trouble::BlackHole, false, false),
        ("no-replies", Trouble::NoReplies, false, true),
        ("no-requests", Trouble::NoRequests, false, false),
        ("cut", Trouble::NoRequestsThenReset, false, false),
        ("reset", Trouble::Reset, false, false),
    ] {
        let mut connection = TcpStream::connect(link.proxy.addr()).await.unwrap();
        assert!(says(&mut connection, "before", SOON).await);
        let fault = LinkFault { links: vec![link.clone()], trouble };
        assert_eq!(fault.available(), Ok(()));
        fault.inject().await.unwrap();
        let since = std::time::Instant::now();
        let patience = if answered { SOON } else { SILENT };
        assert_eq!(says(&mut connection, key, patience).await, answered, "{}", fault.name());
        assert!(trouble != Trouble::Slow(Duration::from_millis(60)) || since.elapsed() >= Duration::from_millis(120));
        let has_arrived = async || !server.keys(key).await.is_empty();
        if arrives {
            eventually(SOON, has_arrived).await;
        }
        assert_eq!(has_arrived().await, arrives, "{}", fault.name());
        fault.undo().await.unwrap();
        let mut connection = TcpStream::connect(link.proxy.addr()).await.unwrap();
        assert!(says(&mut connection, "after", SOON).await, "{} is not undone", fault.name());
        // What was cut off before it arrived never does.
        assert!(trouble != Trouble::NoRequestsThenReset || server.keys(key).await.is_empty());
    }
}

/// A member whose process says what it hears, and stops itself when it hears that it is to.
async fn member(record: &Arc<Record>) -> Arc<Member> {
    let record = record.clone();
    let start = move |_| {
        let record = record.clone();
        Box::pin(async move {
            let mut command = Command::new("sh");
            let script =
                "read -r orders; echo ready; while read -r line; do case $line in *StopAt*) kill -STOP $$;; esac; done";
            command.args(["-c", script]);
            Child::start(command, "a client", "begin", record, |_| {}).await
        }) as _
    };
    Member::start("a client".to_owned(), Box::new(start)).await.unwrap()
}

#[tokio::test]
async fn members_are_paused_stop_themselves_and_die() {
    let record = Arc::new(Record::new());
    let member = member(&record).await;
    let stands_still = async || member.child().await.is_some_and(|child| child.is_stopped());
    for how in [MemberHow::Pause, MemberHow::PauseAt("a-moment")] {
        let fault = MemberFault { member: member.clone(), how };
        assert_eq!(fault.available(), Ok(()));
        fault.inject().await.unwrap();
        eventually(SOON, stands_still).await;
        assert!(fault.bites().await);
        fault.undo().await.unwrap();
        eventually(SOON, async || !stands_still().await).await;
    }
    let never = MemberFault { member: member.clone(), how: MemberHow::PauseAt("never") };
    assert!(!never.bites().await, "nobody stands still");
    let first = member.child().await.unwrap().id();
    let fault = MemberFault { member: member.clone(), how: MemberHow::Kill };
    fault.inject().await.unwrap();
    assert!(member.child().await.is_none() && fault.bites().await);
    fault.undo().await.unwrap();
    assert_ne!(member.child().await.unwrap().id(), first);
    MemberFault { member: member.clone(), how: MemberHow::DropFutures }.inject().await.unwrap();
    assert_eq!(record.finish().broken, [""; 0]);
}
