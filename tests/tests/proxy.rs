//! The proxy: each mode does what it says, and bytes that wait are not lost.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use testkit::{Mode, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(150);

/// A connection through a proxy, both ends of it in hand.
struct Line {
    proxy: Proxy,
    client: TcpStream,
    server: TcpStream,
}

async fn line() -> Line {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await;
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    Line { proxy, client, server }
}

async fn arrives(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    timeout(Duration::from_secs(5), stream.read_exact(&mut bytes)).await.expect("arrives in time").unwrap();
    assert_eq!(bytes, expected);
}

async fn nothing_arrives(stream: &mut TcpStream) {
    let mut bytes = [0; 1];
    assert!(timeout(SHORT, stream.read(&mut bytes)).await.is_err(), "something arrived: {bytes:?}");
}

#[tokio::test]
async fn forwards_both_ways_and_passes_the_end_on() {
    let Line { proxy: _proxy, mut client, mut server } = line().await;
    client.write_all(b"ask").await.unwrap();
    arrives(&mut server, b"ask").await;
    server.write_all(b"answer").await.unwrap();
    arrives(&mut client, b"answer").await;
    client.shutdown().await.unwrap();
    let end = timeout(Duration::from_secs(5), server.read(&mut [0; 1])).await.expect("ends in time");
    assert_eq!(end.unwrap(), 0);
    server.write_all(b"after").await.unwrap();
    arrives(&mut client, b"after").await;
}

#[tokio::test]
async fn a_black_hole_holds_everything_and_loses_nothing() {
    let Line { proxy, mut client, mut server } = line().await;
    proxy.set(Mode::BlackHole);
    client.write_all(b"ask").await.unwrap();
    server.write_all(b"answer").await.unwrap();
    nothing_arrives(&mut server).await;
    nothing_arrives(&mut client).await;
    proxy.set(Mode::Forward);
    arrives(&mut server, b"ask").await;
    arrives(&mut client, b"answer").await;
}

#[tokio::test]
async fn a_connection_made_in_a_black_hole_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await;
    proxy.set(Mode::BlackHole);
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    client.write_all(b"ask").await.unwrap();
    assert!(timeout(SHORT, listener.accept()).await.is_err(), "a connection came through");
    proxy.set(Mode::Forward);
    let (mut server, _) = listener.accept().await.unwrap();
    arrives(&mut server, b"ask").await;
}

#[tokio::test]
async fn one_way_black_holes_hold_one_way() {
    let Line { proxy, mut client, mut server } = line().await;
    proxy.set(Mode::BlackHoleReplies);
    client.write_all(b"1").await.unwrap();
    server.write_all(b"2").await.unwrap();
    arrives(&mut server, b"1").await;
    nothing_arrives(&mut client).await;
    proxy.set(Mode::BlackHoleRequests);
    client.write_all(b"3").await.unwrap();
    arrives(&mut client, b"2").await;
    nothing_arrives(&mut server).await;
    proxy.set(Mode::Forward);
    arrives(&mut server, b"3").await;
}

#[tokio::test]
async fn alone_a_delay_comes_once_each_way_and_does_not_add_up() {
    let Line { proxy, mut client, mut server } = line().await;
    let delay = Duration::from_millis(100);
    proxy.set(Mode::Delay(delay));
    let started = Instant::now();
    for _ in 0..20 {
        client.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    arrives(&mut server, &[b'x'; 20]).await;
    assert!(started.elapsed() >= 2 * delay, "twenty sends take as long as they take, and the last is delayed too");
    assert!(started.elapsed() < 10 * delay, "chunk after chunk was delayed: {:?}", started.elapsed());
    let answered = Instant::now();
    server.write_all(b"y").await.unwrap();
    arrives(&mut client, b"y").await;
    assert!(answered.elapsed() >= delay);
}

#[tokio::test]
async fn a_reset_breaks_both_sides_also_in_a_black_hole() {
    for mode in [Mode::Forward, Mode::BlackHole] {
        let Line { proxy, mut client, mut server } = line().await;
        proxy.set(mode);
        proxy.reset_connections();
        let reset = timeout(Duration::from_secs(5), client.read(&mut [0; 1])).await.unwrap();
        assert_eq!(reset.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let reset = timeout(Duration::from_secs(5), server.read(&mut [0; 1])).await.unwrap();
        assert_eq!(reset.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn dropped_it_closes_port_and_connections() {
    let Line { proxy, mut client, server: _server } = line().await;
    let addr = proxy.addr();
    drop(proxy);
    let read = timeout(Duration::from_secs(5), client.read(&mut [0; 1])).await.unwrap();
    assert!(!matches!(read, Ok(1..)), "the connection lives on");
    assert!(TcpStream::connect(addr).await.is_err());
}
