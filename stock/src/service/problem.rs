//! What went wrong, as clients read it: `application/problem+json` with a stable code. The one place in which
//! errors become statuses.

mod code;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response as Documented, ResponseBuilder, Type,
};
use utoipa::{IntoResponses, ToSchema};

pub(super) use self::code::Code;
use crate::error::RepositoryError;
use crate::request::{InvalidRequest, RequestId};
use crate::store::StoreError;

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// An answer that is not what was asked for.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
    request_id: Option<RequestId>,
}

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// Always `about:blank`: the code says more.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, for programs.
    code: Code,
    /// What happened, for people.
    detail: String,
    /// The id of the request whose outcome is unknown: asked again under it, it is carried out once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None, request_id: None }
    }

    /// A request that nobody could carry out.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// Something that is over soon.
    pub(super) fn unavailable(code: Code, detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(code, detail) }
    }

    /// More has been asked for than this instance takes on.
    pub(super) fn overloaded() -> Self {
        Self::unavailable(Code::Overloaded, "too much is asked for at once", Duration::from_secs(1))
    }

    /// Nobody knows what has become of the request.
    pub(super) fn unknown(request_id: RequestId, detail: impl Into<String>) -> Self {
        let problem = Self::unavailable(Code::OutcomeUnknown, detail, Duration::from_secs(1));
        Self { request_id: Some(request_id), ..problem }
    }

    /// A mistake of this program.
    pub(super) fn internal() -> Self {
        Self::new(Code::Internal, "something went wrong that should not have")
    }

    #[cfg(test)]
    fn parts(&self) -> (u16, &'static str) {
        (self.code.status().as_u16(), self.code.name())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = ProblemBody {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Unknown"),
            status: status.as_u16(),
            code: self.code,
            detail: self.detail,
            request_id: self.request_id.as_ref().map(ToString::to_string),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Whole seconds, and never at once.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For whoever logs and counts the answer.
        response.extensions_mut().insert(self.code);
        response
    }
}

/// What an error calls itself; all of those names are on the list.
fn named(code: &str) -> Code {
    Code::of(code).unwrap_or(Code::Internal)
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        Self::new(named(error.code()), error.to_string())
    }
}

impl From<crate::operation::InvalidQuantity> for Problem {
    fn from(error: crate::operation::InvalidQuantity) -> Self {
        Self::new(named(error.code()), error.to_string())
    }
}

impl From<crate::operation::InvalidOperation> for Problem {
    fn from(error: crate::operation::InvalidOperation) -> Self {
        // The name may be of any length.
        let detail = "that is no operation; allowed are lock, unlock, reserve, release, deduct, add and reset";
        Self::new(named(error.code()), detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        RepositoryError::from(error).into()
    }
}

impl From<RepositoryError> for Problem {
    fn from(error: RepositoryError) -> Self {
        let code = named(error.code());
        let status = code.status();
        if status.is_server_error() {
            tracing::warn!(error = &error as &dyn std::error::Error, %code, "a request failed");
        }
        let problem = Self::new(code, error.to_string());
        let retry_after = match &error {
            RepositoryError::LockContended { retry_after, .. } => Some(*retry_after),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(Duration::from_secs(1)),
            _ => None,
        };
        let request_id = match error {
            RepositoryError::OutcomeUnknown { request_id, .. }
            | RepositoryError::ResidentUnknown { request_id, .. } => Some(request_id),
            _ => None,
        };
        Self { retry_after, request_id, ..problem }
    }
}

/// Problems of what everybody may ask.
pub(super) struct Open;

/// Problems that anything else may answer with.
pub(super) struct Always;

/// And those of whatever names a record.
pub(super) struct Named;

/// And those of lists and other things with parameters.
pub(super) struct Asking;

/// And those of whatever has a body and makes a record.
pub(super) struct Sending;

/// And those of whatever changes records.
pub(super) struct Changing;

const OPEN: [u16; 3] = [403, 421, 500];

const ALWAYS: [u16; 5] = [401, 403, 421, 500, 503];

impl IntoResponses for Open {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        described(OPEN)
    }
}

impl IntoResponses for Always {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        documented(&[])
    }
}

impl IntoResponses for Named {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        documented(&[404, 422])
    }
}

impl IntoResponses for Asking {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        documented(&[422])
    }
}

impl IntoResponses for Sending {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        documented(&[400, 408, 413, 415, 422])
    }
}

impl IntoResponses for Changing {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        documented(&[400, 404, 408, 409, 413, 415, 422])
    }
}

fn documented(more: &[u16]) -> BTreeMap<String, RefOr<Documented>> {
    described(ALWAYS.iter().chain(more).copied())
}

fn described(statuses: impl IntoIterator<Item = u16>) -> BTreeMap<String, RefOr<Documented>> {
    statuses.into_iter().map(|status| (status.to_string(), RefOr::T(document(status)))).collect()
}

pub(super) fn document(status: u16) -> Documented {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(meanings(status)).content(MEDIA_TYPE, content);
    let header = |kind: Type, text: &str| {
        HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind))).description(Some(text)).build()
    };
    match status {
        503 => response.header("retry-after", header(Type::Integer, "After how many seconds to try again")),
        401 => response.header("www-authenticate", header(Type::String, "Always `Bearer`")),
        _ => response,
    }
    .build()
}

/// Every code that comes with that status, and what it means.
fn meanings(status: u16) -> String {
    let codes = Code::ALL.into_iter().filter(|code| code.status().as_u16() == status);
    codes.map(|code| format!("`{code}`: {}", code.meaning())).collect::<Vec<_>>().join("; ")
}

/// Makes a problem of whatever else says that something is wrong: layers and pages that are not ours.
pub(super) async fn mend(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<Code>().is_some() {
        return response;
    }
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        _ if status.is_server_error() => Code::Internal,
        _ => Code::InvalidRequest,
    };
    let mut mended = Problem::new(code, "the service cannot do that").into_response();
    if let Some(allow) = response.headers().get(ALLOW) {
        mended.headers_mut().insert(ALLOW, allow.clone());
    }
    mended
}

/// The answer to a method that the path does not know; the router says which it does.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("see the header {ALLOW}"))
}

/// The answer where there is nothing.
pub(super) async fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "there is nothing here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::Refusal;
    use crate::levels::LevelsError;
    use crate::operation::StockKey;
    use crate::request::OrderId;

    #[test]
    fn every_refusal_is_a_conflict_and_says_why() {
        let (key, order_id) = (StockKey::new(1, 0).unwrap(), OrderId::new("o").unwrap());
        let refusals: [(Refusal, &str); 4] = [
            (LevelsError::Overflow { stock: 1, quantity: 1 }.into(), "overflow"),
            (Refusal::HoldNotFound { order_id: order_id.clone() }, "hold_not_found"),
            (Refusal::HoldExceeded { order_id: order_id.clone(), held: 1, quantity: 2 }, "hold_exceeded"),
            (Refusal::HoldExpired { order_id }, "hold_expired"),
        ];
        for (refusal, code) in refusals {
            assert_eq!(Problem::from(RepositoryError::from(refusal)).parts(), (409, code));
        }
        assert_eq!(Problem::from(RepositoryError::NotFound { key }).parts(), (404, "not_found"));
        assert_eq!(Problem::from(RepositoryError::Overloaded).parts(), (503, "overloaded"));
    }

    #[test]
    fn whole_seconds_are_waited_and_never_none() {
        let key = StockKey::new(1, 0).unwrap();
        for (millis, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            let retry_after = Duration::from_millis(millis);
            let response = Problem::from(RepositoryError::LockContended { key, retry_after }).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn an_unknown_outcome_names_the_request() {
        let request_id = RequestId::new("mine").unwrap();
        let source = StoreError::Conflict(None);
        let problem = Problem::from(RepositoryError::OutcomeUnknown { request_id, source });
        assert_eq!(problem.request_id.as_ref().map(RequestId::as_str), Some("mine"));
        assert_eq!(problem.parts(), (503, "outcome_unknown"));
    }
}
