//! Headers of every answer: what a browser may do with it. Figures and levels are nobody's to keep, and nothing here is
//! a part of another site's page.

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// What programs get is no page: nothing of it is loaded or run.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page to try the service sets styles of its own, and has pictures in its text.
const DOCS: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SAME_SITE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Sets what the answer does not set itself.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let is_docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    set(response.headers_mut(), is_docs);
    response
}

fn set(headers: &mut HeaderMap, is_docs: bool) {
    for (name, value) in [
        (CACHE_CONTROL, if is_docs { "no-cache" } else { "no-store" }),
        (CONTENT_SECURITY_POLICY, if is_docs { DOCS } else { NOTHING }),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (SAME_SITE, "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
