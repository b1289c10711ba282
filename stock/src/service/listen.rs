//! Connections: taken, held to limits, and seen to their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics::gauge;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::counted::Counted;
use crate::config::TlsFiles;

/// How long the head of a request, and a handshake, may take; also how long a connection may lie idle.
const HEAD: Duration = Duration::from_secs(15);

/// How long nobody is let in after the system refused to.
const BREATH: Duration = Duration::from_millis(100);

/// Lets clients in, at most so many, until `closing`; then answers what they have asked and ends. Those that take
/// longer than `grace` are cut off. True if there was none.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    clients: usize,
    closing: CancellationToken,
    grace: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(clients));
    let cut = CancellationToken::new();
    let _cut_at_the_end = cut.clone().drop_guard();
    loop {
        let accepted = async {
            // Never closed. Who finds no room waits in the system's queue, which is bounded too.
            let seat = room.clone().acquire_owned().await.ok();
            (listener.accept().await, seat)
        };
        let (accepted, seat) = tokio::select! {
            () = closing.cancelled() => break,
            accepted = accepted => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (watcher, tls, router, cut) = (graceful.watcher(), tls.clone(), router.clone(), cut.clone());
        tokio::spawn(async move {
            let (_seat, _open) = (seat, Counted::new(gauge!("stock_http_connections")));
            let builder = builder();
            let spoken = Arc::new(AtomicBool::new(false));
            let service = Noting { inner: TowerToHyperService::new(router), spoken: spoken.clone() };
            // Until it is known which HTTP is spoken, nothing else keeps the time.
            let silent = async move {
                tokio::time::sleep(HEAD).await;
                if spoken.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = cut.cancelled() => {}
                () = silent => tracing::debug!("a connection on which nothing was asked"),
                () = async {
                    // Answers are small, and there is somebody who waits for each.
                    let _ = stream.set_nodelay(true);
                    match tls {
                        None => finish(watcher.watch(builder.serve_connection(TokioIo::new(stream), service))).await,
                        Some(tls) => {
                            let Some(stream) = shake_hands(&tls, stream).await else { return };
                            finish(watcher.watch(builder.serve_connection(TokioIo::new(stream), service))).await;
                        }
                    }
                } => {}
            }
        });
    }
    drop(listener);
    tokio::time::timeout(grace, graceful.shutdown()).await.is_ok()
}

/// Notes that something was asked.
struct Noting<S> {
    inner: S,
    spoken: Arc<AtomicBool>,
}

impl<R, S: Service<R>> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: R) -> S::Future {
        self.spoken.store(true, Ordering::Relaxed);
        self.inner.call(request)
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(HEAD).keep_alive_timeout(HEAD).max_concurrent_streams(32);
    builder
}

async fn finish<E: std::fmt::Display>(connection: impl Future<Output = Result<(), E>>) {
    if let Err(error) = connection.await {
        // Mostly somebody who has gone.
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn shake_hands(tls: &TlsAcceptor, stream: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    match tokio::time::timeout(HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// What TLS takes, read from its files.
///
/// # Errors
///
/// Files that cannot be read, or do not go together.
pub(super) fn acceptor(files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
    let path = &files.certificates;
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.with_context(|| path.display().to_string())?;
    anyhow::ensure!(!certificates.is_empty(), "{}: there is no certificate in it", path.display());
    let key = PrivateKeyDer::from_pem_file(&files.key).with_context(|| files.key.display().to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(certificates, key);
    let mut config = config.with_context(|| format!("{} and {}", path.display(), files.key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
