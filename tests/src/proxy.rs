//! A TCP proxy to put between a client and a server, for the faults that a server cannot show by itself: a partition,
//! one way or both, a slow line, a reset.

mod pump;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use pump::{Direction, pump};

/// What the proxy does with the bytes that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes them on.
    Forward,
    /// Leaves them where they are, both ways: nothing arrives, nothing is lost, and nobody is told. What waits is
    /// passed on when the mode changes. A new connection is accepted, as a busy server's would be, and waits too.
    BlackHole,
    /// The server hears the client, the client hears nothing.
    BlackHoleReplies,
    /// The server hears nothing, the client would hear the server.
    BlackHoleRequests,
    /// Passes them on that much later, in each direction; a round trip takes twice as long.
    Delay(Duration),
}

/// What every connection of a proxy looks at.
#[derive(Debug, Clone, Copy)]
struct Order {
    mode: Mode,
    // Counts the resets; a connection ends when it changes.
    resets: u64,
}

/// A proxy in front of one server. Dropped, it closes its port and its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    order: watch::Sender<Order>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on a free port, forwarding. The server need not be there yet: each client's connection is
    /// answered by one to the server, and closed if that fails.
    ///
    /// # Panics
    ///
    /// If the system gives no port.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port on the loopback");
        let addr = listener.local_addr().expect("the address of a bound socket");
        let (order, orders) = watch::channel(Order { mode: Mode::Forward, resets: 0 });
        let accepting = tokio::spawn(accept(listener, upstream, orders));
        Self { addr, order, accepting }
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what happens to the bytes, on the connections there are and on new ones.
    pub fn set(&self, mode: Mode) {
        self.order.send_modify(|order| order.mode = mode);
    }

    /// Breaks every connection there is with a reset, on both sides.
    pub fn reset_connections(&self) {
        self.order.send_modify(|order| order.resets += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Owns the connections, so that they end with the proxy.
async fn accept(listener: TcpListener, upstream: SocketAddr, orders: watch::Receiver<Order>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that was gone before it was accepted is no reason to stop.
                if let Ok((client, _)) = accepted {
                    connections.spawn(carry(client, upstream, orders.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, from its first byte to its end or to the next reset.
async fn carry(mut client: TcpStream, upstream: SocketAddr, mut orders: watch::Receiver<Order>) -> io::Result<()> {
    let resets = orders.borrow_and_update().resets;
    let was_reset = async |orders: &mut watch::Receiver<Order>| {
        let _ = orders.wait_for(|order| order.resets != resets).await;
    };
    let mut control = orders.clone();
    tokio::select! {
        _ = orders.wait_for(|order| order.mode != Mode::BlackHole) => {}
        () = was_reset(&mut control) => return client.set_zero_linger(),
    }
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let carried = tokio::select! {
        done = async {
            tokio::try_join!(
                pump(from_client, to_server, Direction::Requests, orders.clone()),
                pump(from_server, to_client, Direction::Replies, orders.clone()),
            )
        } => done.map(drop),
        () = was_reset(&mut control) => Err(io::ErrorKind::ConnectionReset.into()),
    };
    if carried.is_err() {
        // Closing with nothing left to linger for sends a reset instead of a goodbye.
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    carried
}
