//! `stock health`: asks the instance on this machine how it is, for whatever restarts it.

#[path = "health/own.rs"]
mod own;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use clap::Args;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use stock::config::{Config, TlsFiles};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::settings::Settings;

/// Longest answer that is read.
const MOST_BYTES: usize = 64 * 1024;

/// Whether the instance on this machine can do its work.
///
/// Asks /readyz where STOCK_BIND says that it listens, and prints what it answers. The exit status is 0 if it is ready,
/// 1 if it is not or does not answer.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Only whether it lives, whatever its database and lock nodes do.
    #[arg(long)]
    live: bool,
    /// How many seconds it has to answer, 1 to 60.
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

impl Health {
    /// Asks, prints, and says how it is.
    pub(crate) async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let address = reachable(config.service.bind);
        let path = if self.live { "/healthz" } else { "/readyz" };
        let asked = ask(address, config.service.tls.as_ref(), path);
        let (is_well, answer) = tokio::time::timeout(Duration::from_secs(self.timeout), asked)
            .await
            .with_context(|| format!("{address} does not answer within {} s", self.timeout))?
            .with_context(|| format!("{address} cannot be asked"))?;
        if is_well {
            println!("{answer}");
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("{answer}");
        Ok(ExitCode::FAILURE)
    }
}

/// Where an instance is reached from its own machine that listens there.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// Whether the answer was a good one, and its text.
async fn ask(address: SocketAddr, tls: Option<&TlsFiles>, path: &str) -> anyhow::Result<(bool, String)> {
    ensure!(address.port() != 0, "STOCK_BIND names no port");
    let stream = TcpStream::connect(address).await?;
    match tls {
        None => speak(stream, address, path).await,
        Some(files) => {
            let name = ServerName::IpAddress(address.ip().into());
            speak(own::connector(files)?.connect(name, stream).await?, address, path).await
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<(bool, String)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    // An address is a name that every instance goes by.
    let request = Request::get(path).header(header::HOST, address.to_string()).body(Body::empty())?;
    let response = sender.send_request(request).await?;
    let is_well = response.status().is_success();
    let body = to_bytes(Body::new(response.into_body()), MOST_BYTES).await?;
    connection.abort();
    Ok((is_well, String::from_utf8_lossy(&body).into_owned()))
}
