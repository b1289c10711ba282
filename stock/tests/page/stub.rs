//! A service that says what a test wants: the page's own files, and a stream that is written by hand.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html", include_str!("../../src/service/page/room.html")),
    ("/room.css", "text/css", include_str!("../../src/service/page/room.css")),
    ("/room.js", "text/javascript", include_str!("../../src/service/page/room.js")),
    ("/room.svg", "image/svg+xml", include_str!("../../src/service/page/room.svg")),
];

/// Ends with the test.
pub(crate) struct Stub {
    pub(crate) url: String,
    /// What the stream says next; nothing ends it.
    said: broadcast::Sender<Option<String>>,
    /// What whoever comes is answered.
    status: Arc<AtomicU16>,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let (said, status) = (broadcast::channel(16).0, Arc::new(AtomicU16::new(200)));
        let files = FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
            router.route(path, get(move || async move { ([(CONTENT_TYPE, kind)], text) }))
        });
        let (teller, answer) = (said.clone(), status.clone());
        let router = files.route("/v1/room/stream", get(async move || listen(&teller, &answer)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, said, status }
    }

    /// Says this to whoever listens, and waits until somebody does.
    pub(crate) async fn say(&self, text: &str) {
        testkit::eventually(Duration::from_secs(10), async || self.said.receiver_count() > 0).await;
        self.said.send(Some(text.to_owned())).unwrap();
    }

    /// Ends the stream; whoever comes again is answered so.
    pub(crate) fn hang_up(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
        let _ = self.said.send(None);
    }
}

fn listen(said: &broadcast::Sender<Option<String>>, status: &AtomicU16) -> Response {
    let status = StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap();
    if status != StatusCode::OK {
        return status.into_response();
    }
    let heard = stream::unfold(said.subscribe(), async |mut said| {
        let text = said.recv().await.ok()??;
        Some((Ok::<_, Infallible>(text), said))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(heard)).into_response()
}
