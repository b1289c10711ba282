//! The control room's page: a few files, part of the program, that ask nobody else for anything.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;

use super::App;

/// Answered to everybody: what it shows it asks for with the token.
pub(super) const PATHS: [&str; 4] = ["/", "/room.css", "/room.js", "/room.svg"];

/// Only what this service serves is loaded, run and asked, and no other site may put the page into its own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn router() -> Router<App> {
    let files = [
        ("text/html; charset=utf-8", include_str!("page/room.html")),
        ("text/css; charset=utf-8", include_str!("page/room.css")),
        ("text/javascript; charset=utf-8", include_str!("page/room.js")),
        ("image/svg+xml", include_str!("page/room.svg")),
    ];
    PATHS.into_iter().zip(files).fold(Router::new(), |router, (path, (kind, text))| {
        let headers = [
            (CONTENT_TYPE, kind),
            // Another version of the program has another page.
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
        ];
        router.route(path, get(move || async move { (headers, text) }))
    })
}
