//! The little that is needed of a connection: a batch of commands in, one result each out.

use std::future::Future;
use std::pin::Pin;

use redis::aio::ConnectionLike;
use redis::{Cmd, RedisResult, Value};

/// The results of a batch: of the whole where the connection broke, else of each command.
pub(super) type Results = RedisResult<Vec<RedisResult<Value>>>;

/// A connection that takes batches one after another without waiting for their results.
pub(super) trait Wire: Send + Sync {
    /// Sends `commands` when first polled.
    fn call(&self, commands: Vec<Cmd>) -> Pin<Box<dyn Future<Output = Results> + Send>>;

    /// How many batches may be under way at a time. Enough to keep a connection busy over one
    /// round trip; more would only keep what is ready from travelling together.
    fn depth(&self) -> usize {
        4
    }
}

/// A connection to one server: a batch is one pipeline.
pub(super) struct Pipelined<C>(pub(super) C);

/// A connection that sends each command where it belongs: they go one by one, each after the
/// answer to the one before, because nothing else keeps their order.
pub(super) struct Routed<C>(pub(super) C);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Wire for Routed<C> {
    fn call(&self, commands: Vec<Cmd>) -> Pin<Box<dyn Future<Output = Results> + Send>> {
        let mut connection = self.0.clone();
        Box::pin(async move {
            let mut results = Vec::with_capacity(commands.len());
            for command in commands {
                match connection.req_packed_command(&command).await {
                    Err(error) if error.is_io_error() || error.is_connection_dropped() => return Err(error),
                    result => results.push(result),
                }
            }
            Ok(results)
        })
    }

    fn depth(&self) -> usize {
        1
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Wire for Pipelined<C> {
    fn call(&self, commands: Vec<Cmd>) -> Pin<Box<dyn Future<Output = Results> + Send>> {
        let mut connection = self.0.clone();
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command);
        }
        // Errors of single commands are answers of the node, not of the connection.
        pipeline.ignore_errors();
        Box::pin(async move { pipeline.query_async(&mut connection).await })
    }
}
