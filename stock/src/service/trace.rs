//! Every request has an id and a span, is counted and timed; one that panics is answered too.

use std::any::Any;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, gauge, histogram};
use tracing::{Instrument as _, field};

use super::counted::Counted;
use super::problem::{Code, Problem};

/// Methods by which requests are counted; clients may invent others.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::PATCH, Method::OPTIONS];

/// Names a request in logs: the client's own name for it, or one that is made.
const ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers a request, and tells of it.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let (id, begun) = (id(request.headers()), Instant::now());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let shown = id.to_str().unwrap_or_default();
    let span = tracing::error_span!("request", id = shown, %method, path, status = field::Empty, code = field::Empty);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let code = response.extensions().get::<Code>().map(|code| code.name());
    span.record("status", status).record("code", code);
    span.in_scope(|| tracing::info!(micros = begun.elapsed().as_micros(), "answered"));
    response.headers_mut().insert(ID, id);
    response
}

/// Counts and times requests by their route; those that have none are counted together.
pub(super) async fn count(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let method = METHODS.iter().find(|method| *method == request.method()).map_or("other", Method::as_str);
    let (route, begun) = (route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned()), Instant::now());
    // Dropped also where its client has gone.
    let under_way = Counted::new(gauge!("stock_http_requests_in_flight"));
    let response = next.run(request).await;
    drop(under_way);
    let status = response.status().as_u16().to_string();
    histogram!("stock_http_request_seconds", "method" => method, "route" => route.clone())
        .record(begun.elapsed().as_secs_f64());
    counter!("stock_http_requests_total", "method" => method, "route" => route, "status" => status).increment(1);
    if let Some(code) = response.extensions().get::<Code>() {
        counter!("stock_http_problems_total", "code" => code.name()).increment(1);
    }
    response
}

/// What is answered in the place of whoever panicked.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    Problem::internal().into_response()
}

/// The client's id if it is one that can be logged.
fn id(headers: &HeaderMap) -> HeaderValue {
    let is_usable = |id: &&HeaderValue| {
        (1..=128).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    let made = || {
        let id = format!("{:032x}", rand::random::<u128>());
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    };
    headers.get(ID).filter(is_usable).cloned().unwrap_or_else(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_logged_is_replaced() {
        let with = |id: &str| {
            let headers = HeaderMap::from_iter([(ID, HeaderValue::from_str(id).unwrap())]);
            super::id(&headers)
        };
        assert_eq!(with("abc-1.2:3"), "abc-1.2:3");
        for strange in ["", "a b", "a=\"b\"", &"x".repeat(129)] {
            assert_eq!(with(strange).len(), 32, "{strange}");
        }
        assert_ne!(super::id(&HeaderMap::new()), super::id(&HeaderMap::new()));
    }
}
