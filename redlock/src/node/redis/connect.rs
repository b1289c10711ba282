//! How a client of the redis crate becomes a connection.

use redis::io::tcp::socket2::SockRef;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, ProtocolVersion, RedisConnectionInfo};
use redis::{RedisError, RedisResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::command::Command;
use super::direct::Direct;
use super::wire::{Pipelined, Wire, ask};

/// A connection to the server that `client` names. Where its bytes travel as they are the traffic
/// is ours to move; TLS and RESP3 are left to the client and a task of its own.
pub(super) async fn connect(client: &Client) -> RedisResult<Box<dyn Wire>> {
    let info = client.get_connection_info();
    let settings = info.redis_settings();
    let is_plain = settings.protocol() == ProtocolVersion::RESP2;
    match info.addr() {
        ConnectionAddr::Tcp(host, port) if is_plain => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            // A request is one small write; without this it would wait for the last answer's
            // acknowledgement.
            stream.set_nodelay(true)?;
            if let Some(keepalive) = info.tcp_settings().keepalive() {
                SockRef::from(&stream).set_tcp_keepalive(keepalive)?;
            }
            log_in(stream, settings).await
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) if is_plain => log_in(tokio::net::UnixStream::connect(path).await?, settings).await,
        _ => {
            // Nothing in the client may give up on a request on its own: the order of what reached
            // the node would be lost.
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            Ok(Box::new(Pipelined::new(client.get_multiplexed_async_connection_with_config(&config).await?)))
        }
    }
}

/// Says who we are, and which database it is about.
async fn log_in<S>(stream: S, settings: &RedisConnectionInfo) -> RedisResult<Box<dyn Wire>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut wire = Direct::new(stream);
    if let Some(password) = settings.password() {
        let mut auth = Command::default();
        auth.word("AUTH");
        if let Some(name) = settings.username() {
            auth.word(name);
        }
        auth.word(password);
        let refused = |error: RedisError| match error.is_io_error() {
            true => error,
            false => (ErrorKind::AuthenticationFailed, "the password is refused", error.to_string()).into(),
        };
        ask(&mut wire, &auth).await.map_err(refused)?;
    }
    if settings.db() != 0 {
        let mut select = Command::default();
        select.word("SELECT").word(settings.db().to_string());
        ask(&mut wire, &select).await?;
    }
    Ok(Box::new(wire))
}
