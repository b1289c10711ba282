//! How a client of the redis crate becomes a connection.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisResult};
use tokio::net::TcpStream;

use super::wire::{Direct, Pipelined, Wire};

/// A connection to the server that `client` names. Where its bytes travel as they are the traffic
/// is ours to move; TLS is left to the client and a task of its own.
pub(super) async fn connect(client: &Client) -> RedisResult<Box<dyn Wire>> {
    let info = client.get_connection_info();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            // A request is one small write; without this it would wait for the last answer's
            // acknowledgement.
            stream.set_nodelay(true)?;
            let (connection, traffic) =
                MultiplexedConnection::new_with_config(info.redis_settings(), stream, config()).await?;
            Ok(Box::new(Direct::new(connection, traffic)))
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await?;
            let (connection, traffic) =
                MultiplexedConnection::new_with_config(info.redis_settings(), stream, config()).await?;
            Ok(Box::new(Direct::new(connection, traffic)))
        }
        _ => Ok(Box::new(Pipelined(client.get_multiplexed_async_connection_with_config(&config()).await?))),
    }
}

/// Nothing in the client may give up on a request on its own: the order of what reached the node
/// would be lost.
fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None::<Duration>).set_response_timeout(None)
}
