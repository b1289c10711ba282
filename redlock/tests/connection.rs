//! What a connection does while nobody asks anything, and how answers may come.

use redlock::{RedisNode, Redlock, Released, RestartGuard};
use testkit::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{SECOND, command, connected, millis};

/// How the kernel lists a connection whose timer sends keep-alive probes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_idle_connection_keeps_itself_alive() {
    const KEEPALIVE: &str = "02:";
    let server = RedisServer::start().await.unwrap();
    let redlock = connected(std::slice::from_ref(&server)).await;
    let to = format!("0100007F:{:04X}", server.port());
    let timers = || -> Vec<String> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Remote address, state (01: established), timer.
        lines.filter(|words| words[2] == to && words[3] == "01").map(|words| words[5].to_owned()).collect()
    };
    testkit::eventually(5 * SECOND, async || {
        let timers = timers();
        !timers.is_empty() && timers.iter().all(|timer| timer.starts_with(KEEPALIVE))
    })
    .await;
    redlock.lock("order:42").await.unwrap().release().await.unwrap();
}

/// Nothing but a question shows that such a connection has ended.
#[tokio::test]
async fn alone_a_connection_of_the_callers_own_that_ended_is_replaced_before_it_is_needed() {
    let server = RedisServer::start().await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let node = RedisNode::from_factory("node", move || {
        let client = client.clone();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        async move { client.get_multiplexed_async_connection_with_config(&config).await }
    });
    let redlock = Redlock::builder().node(node).node_timeout(2 * SECOND).restart_guard(RestartGuard::Off);
    let redlock = redlock.build().unwrap();
    drop(redlock.try_lock("order:42").await.unwrap());
    command(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    let loaded = async || {
        let stats = command(&server, &["INFO", "commandstats"]).await;
        stats.text().unwrap().lines().any(|line| line.starts_with("cmdstat_script|load:calls=2"))
    };
    testkit::eventually(8 * SECOND, loaded).await;
    drop(redlock.try_lock("order:42").await.expect("the connection is a new one"));
}

/// Passes on what `from` says in pieces of a few bytes.
async fn dribble(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    let mut buffer = [0; 3];
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
        && to.write_all(&buffer[..count]).await.is_ok()
    {
        tokio::task::yield_now().await;
    }
}

/// A way to `server` on which no answer arrives in one piece; every `lives`th byte or so it ends.
async fn dribbling(server: &RedisServer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, upstream) = (listener.local_addr().unwrap(), server.addr());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(other) = TcpStream::connect(upstream).await else { return };
            for stream in [&stream, &other] {
                stream.set_nodelay(true).unwrap();
            }
            let ((from_us, to_us), (from_it, to_it)) = (stream.into_split(), other.into_split());
            tokio::spawn(dribble(from_us, to_it));
            tokio::spawn(dribble(from_it, to_us));
        }
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn answers_may_come_in_pieces() {
    let server = RedisServer::start().await.unwrap();
    let url = dribbling(&server).await;
    let redlock = Redlock::builder().nodes([url]).node_timeout(5 * SECOND).restart_guard(RestartGuard::Off);
    let redlock = redlock.build().unwrap();
    let guards = (0..20).map(|key| redlock.lock(key.to_string()).into_future());
    let guards = futures_util::future::join_all(guards).await;
    for guard in guards {
        let guard = guard.unwrap();
        guard.extend(9 * SECOND).await.unwrap();
        assert_eq!(guard.release().await.unwrap(), Released::Released);
    }
    assert!(redlock.inspect("0").await.to_string().contains("free"));
}

/// The server says half of an answer and hangs up: that is a lost connection, and the next one is good.
#[tokio::test]
async fn an_answer_that_is_cut_off_is_no_answer() {
    let server = RedisServer::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, upstream) = (listener.local_addr().unwrap(), server.addr());
    tokio::spawn(async move {
        // The first caller gets the beginning of a script's hash.
        let (mut first, _) = listener.accept().await.unwrap();
        let _ = first.read(&mut [0; 64]).await;
        first.write_all(b"$40\r\n0123").await.unwrap();
        drop(first);
        while let Ok((mut stream, _)) = listener.accept().await {
            let Ok(mut other) = TcpStream::connect(upstream).await else { return };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut other).await });
        }
    });
    let redlock = Redlock::builder().nodes([format!("redis://{address}")]).restart_guard(RestartGuard::Off);
    let redlock = redlock.node_timeout(millis(500)).build().unwrap();
    drop(redlock.lock("order:42").wait(5 * SECOND).await.unwrap());
}
