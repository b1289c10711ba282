//! One direction of a proxied connection: a reader that stops when told to, and a writer that holds bytes back until
//! they are due.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Mode, Order};

/// Chunks on their way at once; past it the reader waits, as it would with a full line.
const IN_FLIGHT: usize = 1024;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Requests,
    Replies,
}

impl Direction {
    /// Whether bytes of this direction move at all, and how much later.
    fn passes(self, mode: Mode) -> Option<Duration> {
        match mode {
            Mode::Forward => Some(Duration::ZERO),
            Mode::Delay(delay) => Some(delay),
            Mode::BlackHole => None,
            Mode::BlackHoleReplies => (self == Self::Requests).then_some(Duration::ZERO),
            Mode::BlackHoleRequests => (self == Self::Replies).then_some(Duration::ZERO),
        }
    }
}

/// Carries bytes from one side to the other until the first side has no more.
pub(super) async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    orders: watch::Receiver<Order>,
) -> io::Result<()> {
    let (chunks, due) = mpsc::channel(IN_FLIGHT);
    tokio::try_join!(read(from, chunks, direction, orders.clone()), write(to, due, direction, orders)).map(drop)
}

type Chunk = (Instant, Vec<u8>);

async fn read(
    mut from: ReadHalf<'_>,
    chunks: mpsc::Sender<Chunk>,
    direction: Direction,
    mut orders: watch::Receiver<Order>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        wait_open(direction, &mut orders).await;
        let length = tokio::select! {
            length = from.read(&mut buffer) => length?,
            // Told something new while nothing came: look again before reading.
            _ = orders.changed() => continue,
        };
        if length == 0 {
            return Ok(());
        }
        let delay = direction.passes(orders.borrow().mode).unwrap_or_default();
        if chunks.send((Instant::now() + delay, buffer[..length].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut due: mpsc::Receiver<Chunk>,
    direction: Direction,
    mut orders: watch::Receiver<Order>,
) -> io::Result<()> {
    while let Some((at, chunk)) = due.recv().await {
        sleep_until(at).await;
        // What was read just before the line was cut waits as well.
        wait_open(direction, &mut orders).await;
        to.write_all(&chunk).await?;
    }
    to.shutdown().await
}

async fn wait_open(direction: Direction, orders: &mut watch::Receiver<Order>) {
    let _ = orders.wait_for(|order| direction.passes(order.mode).is_some()).await;
}
