//! Who may ask: the token, and what keeps pages of other sites out.
//!
//! A page of another site can let a browser send requests to the loopback, under a name of its own that it
//! points there (DNS rebinding). So the Host header must be a name of ours, and where there is an Origin it must be the
//! one that the request is sent to. Where there is a token, a page of another site does not know it; names are then
//! only checked if some are set.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq as _;

use super::App;
use super::page::PATHS;
use super::problem::{Code, Problem};
use crate::config::{ServiceConfig, Token};

/// Answered to everybody, token or not: what looks after the service has none, and the page asks for it.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Lets a request pass, or says why not.
pub(super) async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    match check(app.limits(), &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(limits: &ServiceConfig, request: &Request) -> Result<(), Problem> {
    let place = place(request.uri(), request.headers())?;
    if !is_ours(limits, &place) {
        let detail = "the service does not go by the name in the Host header";
        return Err(Problem::new(Code::MisdirectedRequest, detail));
    }
    if !is_same_origin(request.headers(), &place) {
        let detail = "requests of other sites' pages are not answered";
        return Err(Problem::new(Code::OriginNotAllowed, detail));
    }
    match &limits.token {
        Some(token) if !is_open(request.uri().path()) && !knows(token, request.headers()) => {
            let detail = "the header `Authorization: Bearer …` with the token is needed";
            Err(Problem::new(Code::Unauthorized, detail))
        }
        _ => Ok(()),
    }
}

/// Whether it is answered without the token.
fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || PATHS.contains(&path)
}

/// Host and port that the request is addressed to, in small letters: by the header, or by the address as HTTP/2 has it.
fn place(uri: &Uri, headers: &HeaderMap) -> Result<String, Problem> {
    let refused = || Problem::new(Code::MisdirectedRequest, "there is no one Host header");
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (uri.authority(), hosts.next(), hosts.next()) {
        (_, Some(_), Some(_)) | (None, None, _) => return Err(refused()),
        (None, Some(host), None) => host.to_str().map_err(|_| refused())?,
        (Some(authority), _, _) => authority.as_str(),
    };
    Ok(host.to_ascii_lowercase())
}

fn is_ours(limits: &ServiceConfig, place: &str) -> bool {
    let name = match place.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => place,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    // Nobody can point an address elsewhere.
    let is_address = address.parse::<std::net::IpAddr>().is_ok();
    let is_any_allowed = limits.token.is_some() && limits.hosts.is_empty();
    is_any_allowed || is_address || name == "localhost" || limits.hosts.iter().any(|host| host == name)
}

/// Whether it comes from a page of this very service, or from no page.
fn is_same_origin(headers: &HeaderMap, place: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let same = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    same == Some(place) && origins.next().is_none()
}

/// In a time that tells nothing of the token but its length.
fn knows(token: &Token, headers: &HeaderMap) -> bool {
    let given =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
    let Some((scheme, given)) = given else { return false };
    scheme.eq_ignore_ascii_case("bearer") && given.trim().as_bytes().ct_eq(token.reveal().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(limits: &ServiceConfig, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match check(limits, &request.body(axum::body::Body::empty()).unwrap()) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let mut limits = ServiceConfig::default();
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "[::1]", "192.168.0.1"] {
            assert_eq!(status(&limits, "/", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "", "127.0.0.1.evil.example"] {
            assert_eq!(status(&limits, "/", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(status(&limits, "/", &[]), 421);
        assert_eq!(status(&limits, "/", &[("host", "localhost"), ("host", "evil.example")]), 421);
        limits.hosts = vec!["stock.example".into()];
        assert_eq!(status(&limits, "/", &[("host", "stock.example:80")]), 200);
        limits.token = Token::new("t");
        assert_eq!(status(&limits, "/", &[("host", "evil.example")]), 421);
        limits.hosts.clear();
        assert_eq!(status(&limits, "/", &[("host", "anything.example")]), 200);
    }

    #[test]
    fn pages_of_other_sites_are_not_answered() {
        let limits = ServiceConfig::default();
        let from = |origin| status(&limits, "/", &[("host", "localhost:8080"), ("origin", origin)]);
        assert_eq!((from("http://localhost:8080"), from("https://LOCALHOST:8080")), (200, 200));
        for origin in
            ["http://localhost", "http://localhost:80801", "http://evil.example", "null", "", "localhost:8080"]
        {
            assert_eq!(from(origin), 403, "{origin}");
        }
    }

    #[test]
    fn the_token_is_needed_for_everything_but_the_open_paths() {
        let limits = ServiceConfig { token: Token::new("abc"), ..ServiceConfig::default() };
        let with = |path, value: &str| status(&limits, path, &[("host", "a"), ("authorization", value)]);
        for path in OPEN.into_iter().chain(PATHS) {
            assert_eq!(status(&limits, path, &[("host", "a")]), 200, "{path}");
        }
        for path in ["/v1/stocks", "/metrics", "/openapi.json", "/docs", "/v1/room", "/nowhere", "/healthz/"] {
            assert_eq!(status(&limits, path, &[("host", "a")]), 401, "{path}");
            assert_eq!((with(path, "Bearer abc"), with(path, "bearer  abc")), (200, 200));
        }
        for wrong in ["abc", "Bearer", "Bearer ", "Bearer ab", "Bearer abcd", "Basic abc", "Bearer ABC"] {
            assert_eq!(with("/metrics", wrong), 401, "{wrong}");
        }
    }
}
