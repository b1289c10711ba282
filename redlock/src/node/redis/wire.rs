//! The little that is needed of a connection: a command in, a value out.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, RedisResult, Value};

/// The answer to a command, which is sent when this is first polled.
pub(super) type Answer = Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>;

/// A connection that takes commands one after another without waiting for their answers.
pub(super) trait Wire: Send {
    /// The answer to `command`.
    fn call(&mut self, command: Cmd) -> Answer;

    /// Moves bytes in both directions, where the connection has no task of its own for it.
    fn drive(&mut self, _cx: &mut Context<'_>) {}

    /// How many commands may be under way at a time. Enough to keep a connection busy over one
    /// round trip; more would only keep what is ready from travelling together.
    fn depth(&self) -> usize {
        2
    }

    /// How many lock keys one command may be about: as many as travel together, and few enough that
    /// the node, which does one thing at a time, is back in a millisecond.
    fn most_keys(&self) -> usize {
        256
    }
}

/// A connection to one server whose traffic is moved by whoever polls it: no task stands between a
/// request and its socket.
pub(super) struct Direct {
    connection: MultiplexedConnection,
    /// `None` once the connection is over.
    traffic: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Direct {
    pub(super) fn new(connection: MultiplexedConnection, traffic: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { connection, traffic: Some(Box::pin(traffic)) }
    }
}

impl Wire for Direct {
    fn call(&mut self, command: Cmd) -> Answer {
        let mut connection = self.connection.clone();
        Box::pin(async move { connection.send_packed_command(&command).await?.extract_error() })
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        // When it ends it has answered everything under way with an error.
        if let Some(traffic) = &mut self.traffic
            && traffic.as_mut().poll(cx).is_ready()
        {
            self.traffic = None;
        }
    }
}

/// Any other connection to one server.
pub(super) struct Pipelined<C>(pub(super) C);

/// A connection that sends each command where it belongs: requests go one by one, each after the
/// answer to the one before, because nothing else keeps their order and their slots apart.
pub(super) struct Routed<C>(pub(super) C);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Wire for Pipelined<C> {
    fn call(&mut self, command: Cmd) -> Answer {
        let mut connection = self.0.clone();
        Box::pin(async move { connection.req_packed_command(&command).await?.extract_error() })
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Wire for Routed<C> {
    fn call(&mut self, command: Cmd) -> Answer {
        let mut connection = self.0.clone();
        Box::pin(async move { connection.req_packed_command(&command).await?.extract_error() })
    }

    fn depth(&self) -> usize {
        1
    }

    fn most_keys(&self) -> usize {
        0
    }
}
