//! Why an operation on a stock record was not done, sorted by what its caller can do about it.

use std::error::Error;
use std::time::Duration;

use crate::hold::Refusal;
use crate::operation::StockKey;
use crate::request::{InvalidRequest, RequestId};
use crate::store::StoreError;
use crate::workbench::Rejection;

/// Why a repository did not do what it was asked to.
///
/// Nothing has changed, except after [`RepositoryError::OutcomeUnknown`], where nobody knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// There is no such record.
    #[error("there is no record of {key}")]
    NotFound {
        /// What was looked for.
        key: StockKey,
    },
    /// Levels or holds do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody could carry that out.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// Another request was carried out under this id.
    #[error("request id {request_id} has been used for another request")]
    RequestConflict {
        /// The id.
        request_id: RequestId,
    },
    /// The record's levels live in Redis, and this repository does not go there.
    #[error(
        "{key} is resident: its levels live in Redis, and only the resident repository changes them; \
             it can release them"
    )]
    Resident {
        /// Which record.
        key: StockKey,
    },
    /// The Redis that holds resident levels did not do it. Nothing has changed; try again later.
    #[error("the Redis that holds resident levels is unavailable")]
    ResidentUnavailable {
        /// What it said instead.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A record's levels in Redis and in the database cannot both be right; nothing of it is written back
    /// until somebody has looked.
    #[error("resident {key} and the database do not agree: {reason}")]
    ResidentDiverged {
        /// Which record.
        key: StockKey,
        /// What does not agree.
        reason: String,
    },
    /// The answer of the Redis that holds resident levels was lost: it may have been done, or not.
    #[error("whether request {request_id} was carried out is unknown: the answer of Redis was lost")]
    ResidentUnknown {
        /// Asked again under this id, it is carried out once.
        request_id: RequestId,
        /// What came instead of an answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The lock was held by others for as long as was waited. Try again later.
    #[error("the lock of {key} is held by others")]
    LockContended {
        /// Whose lock it is.
        key: StockKey,
        /// When the present holder's lease ends at the latest.
        retry_after: Duration,
    },
    /// The lock nodes did not give an answer that a majority stands behind. Try again later.
    #[error("the lock nodes are unavailable")]
    LocksUnavailable {
        /// What each of them said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The lease ended before the change could be committed; it was rolled back. Try again at once.
    #[error("the lease on {key} ended before the commit")]
    LeaseLost {
        /// Whose lease it was.
        key: StockKey,
    },
    /// The record has seen a larger token than that of the lease, and leases with larger ones could
    /// not be had. Try again later.
    #[error("the lease on {key} has token {fence}, but the record has seen {stored}")]
    StaleFence {
        /// Whose lease it was.
        key: StockKey,
        /// The lease's token.
        fence: u64,
        /// The largest token the record has seen.
        stored: u64,
    },
    /// Too many requests wait already, or the repository has been closed. Try again later.
    #[error("too many requests wait already")]
    Overloaded,
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer to the commit was lost: it may have been done, or not.
    #[error("whether request {request_id} was carried out is unknown: the answer to the commit was lost")]
    OutcomeUnknown {
        /// Asked again under this id, it is carried out once.
        request_id: RequestId,
        /// What came instead of an answer.
        #[source]
        source: StoreError,
    },
}

impl RepositoryError {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Refused(error) => error.code(),
            Self::Invalid(error) => error.code(),
            Self::RequestConflict { .. } => "request_conflict",
            Self::Resident { .. } => "resident",
            Self::ResidentUnavailable { .. } => "resident_unavailable",
            Self::ResidentDiverged { .. } => "resident_diverged",
            Self::ResidentUnknown { .. } => "outcome_unknown",
            Self::LockContended { .. } => "lock_contended",
            Self::LocksUnavailable { .. } => "locks_unavailable",
            Self::LeaseLost { .. } => "lease_lost",
            Self::StaleFence { .. } => "stale_fence",
            Self::Overloaded => "overloaded",
            Self::Store(error) => error.code(),
            Self::OutcomeUnknown { .. } => "outcome_unknown",
        }
    }
}

impl From<Rejection> for RepositoryError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound { key } => Self::NotFound { key },
            Rejection::Resident { key } => Self::Resident { key },
            Rejection::Refused(refusal) => Self::Refused(refusal),
            Rejection::Conflict { request_id } => Self::RequestConflict { request_id },
        }
    }
}
