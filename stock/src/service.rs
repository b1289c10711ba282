//! The instance over HTTP.
//!
//! Handlers are thin: they read with care (`input`), have it done (`app`), and answer (`answer`, `problem`). A
//! change goes on when its client is gone. What is asked for past the bounds is refused, never piled up. `docs` makes
//! the description of it all from the handlers themselves.
//!
//! Reading order: `problem`, `input`, `stocks`, `operations`, `orders`, `app`, `guard` (who may ask), `headers` (what browsers may do
//! with answers), `trace`, `health`,
//! `room` (what the control room shows), `listen` (connections).

mod answer;
mod app;
mod counted;
mod docs;
mod guard;
mod headers;
mod health;
mod input;
mod listen;
mod number;
mod operations;
mod orders;
mod page;
mod problem;
pub mod recorder;
mod room;
mod stocks;
mod trace;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use self::app::App;
use self::room::Room;
use crate::assembly::{Instance, Purpose};
use crate::config::ServiceConfig;

/// A place where the service will listen: taken, but nobody is answered yet.
#[derive(Debug)]
pub struct Place {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    config: ServiceConfig,
}

struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Place {
    /// Takes the address, so that one that is taken already is noticed before anything else is opened.
    ///
    /// # Errors
    ///
    /// [`ConfigError`](crate::config::ConfigError) if others could reach it and there is no token; an address or
    /// certificates that cannot be used.
    pub async fn take(config: &ServiceConfig) -> anyhow::Result<Self> {
        config.check_exposure()?;
        let tls = config.tls.as_ref().map(listen::acceptor).transpose()?.map(Tls);
        let listener =
            TcpListener::bind(config.bind).await.with_context(|| format!("cannot listen on {}", config.bind))?;
        let address = listener.local_addr().context("cannot tell where it listens")?;
        Ok(Self { listener, address, tls, config: config.clone() })
    }

    /// Answers whoever comes.
    #[must_use]
    pub fn open(self, instance: Arc<Instance>, purpose: Purpose) -> Service {
        let closing = CancellationToken::new();
        let room = Room::open(instance.clone(), purpose == Purpose::Demo, closing.clone());
        let app = App::new(instance, self.config.clone(), room, closing.clone());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", self.address);
        let (clients, grace) = (self.config.clients, self.config.shutdown_timeout);
        let tls = self.tls.map(|Tls(acceptor)| acceptor);
        let serving = tokio::spawn(listen::serve(self.listener, tls, router(app.clone()), clients, closing, grace));
        Service { url, address: self.address, app, serving }
    }
}

/// A service that answers. Dropped, it goes on.
#[derive(Debug)]
pub struct Service {
    url: String,
    address: SocketAddr,
    app: App,
    serving: JoinHandle<bool>,
}

impl Service {
    /// `http://127.0.0.1:8080`, or whatever it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nobody in any more, answers what has been asked, and finishes what was begun, for so long at most as
    /// the configuration says; true if nobody was cut off. The instance stays open.
    pub async fn close(self) -> bool {
        self.app.closing().cancel();
        let until = Instant::now() + self.app.limits().shutdown_timeout;
        let answered = self.serving.await.unwrap_or(false);
        // What was begun for clients that have gone.
        let left = until.saturating_duration_since(Instant::now()).max(LAST_MOMENT);
        let finished = tokio::time::timeout(left, self.app.all_done()).await.is_ok();
        if !(answered && finished) {
            tracing::warn!(answered, finished, "not everything was answered and finished in time");
        }
        answered && finished
    }
}

fn router(app: App) -> Router {
    let described = OpenApiRouter::with_openapi(docs::description(app.limits().token.is_some()))
        .merge(stocks::router())
        .merge(operations::router())
        .merge(orders::router())
        .merge(room::router(app.room().is_open()))
        .merge(health::router());
    let (router, description) = described.split_for_parts();
    router
        .merge(docs::pages(description))
        .merge(page::router())
        .fallback(problem::nothing_here)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(app.limits().body_limit))
        .layer(from_fn_with_state(app.clone(), guard::admit))
        .layer(middleware::map_response(problem::mend))
        .layer(CatchPanicLayer::custom(trace::panicked))
        .layer(from_fn(headers::guard))
        .layer(from_fn(trace::count))
        .layer(from_fn(trace::observe))
        .with_state(app)
}

/// How long what was begun has at least, when the time for connections is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// How long an instance is given to close after the service has: for leases and connections.
pub const LAST_STEPS: Duration = Duration::from_secs(10);
