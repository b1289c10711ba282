//! The little that is needed of a connection: commands in, values out, in order.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use redis::aio::ConnectionLike;
use redis::{RedisResult, Value};

use super::command::Command;

/// A connection that takes commands one after another without waiting for their answers.
pub(super) trait Wire: Send {
    /// Takes a command, to be sent by the next poll.
    fn send(&mut self, command: &Command);

    /// Sends what was taken, as far as that goes now, and gives the answer to the oldest command
    /// without one.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<Value>>;

    /// Whether it may be polled by whoever sends, inside of a runtime or not. Connections by others
    /// may want the runtime they were made in.
    fn is_for_all(&self) -> bool {
        false
    }

    /// Whether it finds out by itself which server has a key.
    fn routes(&self) -> bool {
        false
    }

    /// How many commands may be under way at a time. Enough to keep a connection busy over one
    /// round trip; more would only keep what is ready from travelling together.
    fn depth(&self) -> usize {
        2
    }

    /// How many lock keys one command may be about, renewals apart: as many as travel together, and few enough
    /// that the node, which does one thing at a time, is back in a millisecond.
    fn most_keys(&self) -> usize {
        256
    }
}

/// Any connection of the redis crate to one server.
pub(super) struct Pipelined<C>(Answers<C>);

/// A connection that sends each command where it belongs: requests go one by one, each after the
/// answer to the one before, because nothing else keeps their order and their slots apart.
pub(super) struct Routed<C>(Answers<C>);

impl<C> Pipelined<C> {
    pub(super) fn new(connection: C) -> Self {
        Self(Answers::new(connection))
    }
}

impl<C> Routed<C> {
    pub(super) fn new(connection: C) -> Self {
        Self(Answers::new(connection))
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Wire for Pipelined<C> {
    fn send(&mut self, command: &Command) {
        self.0.send(command);
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<Value>> {
        self.0.poll(cx)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Wire for Routed<C> {
    fn send(&mut self, command: &Command) {
        self.0.send(command);
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<Value>> {
        self.0.poll(cx)
    }

    fn routes(&self) -> bool {
        true
    }

    fn depth(&self) -> usize {
        1
    }

    fn most_keys(&self) -> usize {
        0
    }
}

/// One command on a connection that nobody else uses yet.
pub(super) async fn ask(wire: &mut dyn Wire, command: &Command) -> RedisResult<Value> {
    wire.send(command);
    poll_fn(|cx| wire.poll_answer(cx)).await
}

/// Commands under way over a connection that moves its bytes in a task of its own.
struct Answers<C> {
    connection: C,
    under_way: VecDeque<Answer>,
}

enum Answer {
    Awaited(Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>),
    Here(RedisResult<Value>),
}

impl<C> Answers<C> {
    fn new(connection: C) -> Self {
        Self { connection, under_way: VecDeque::new() }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Answers<C> {
    fn send(&mut self, command: &Command) {
        let (mut connection, command) = (self.connection.clone(), command.to_cmd());
        let answer = async move { connection.req_packed_command(&command).await?.extract_error() };
        self.under_way.push_back(Answer::Awaited(Box::pin(answer)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<Value>> {
        // All of them, because a command is sent when its answer is first asked for.
        for answer in &mut self.under_way {
            if let Answer::Awaited(awaited) = answer
                && let Poll::Ready(result) = awaited.as_mut().poll(cx)
            {
                *answer = Answer::Here(result);
            }
        }
        match self.under_way.pop_front() {
            Some(Answer::Here(result)) => Poll::Ready(result),
            Some(awaited) => {
                self.under_way.push_front(awaited);
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}
