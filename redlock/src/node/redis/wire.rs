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
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Wire for C {
    fn call(&self, commands: Vec<Cmd>) -> Pin<Box<dyn Future<Output = Results> + Send>> {
        let mut connection = self.clone();
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command);
        }
        // Errors of single commands are answers of the node, not of the connection.
        pipeline.ignore_errors();
        Box::pin(async move { pipeline.query_async(&mut connection).await })
    }
}
