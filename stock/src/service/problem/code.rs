//! What can go wrong, by the name that programs know it by: one list, from which statuses, the description of the
//! service and its tests are made.

use std::fmt;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Names a kind of problem; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(example = "insufficient_stock")]
pub(in crate::service) enum Code {
    InvalidJson,
    Unauthorized,
    OriginNotAllowed,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    InsufficientStock,
    InsufficientLocked,
    InsufficientReserved,
    HoldNotFound,
    HoldExceeded,
    HoldExpired,
    HoldChanged,
    Overflow,
    BelowCommitted,
    RequestConflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    MisdirectedRequest,
    InvalidQuantity,
    InvalidOperation,
    InvalidRequest,
    Internal,
    StoreTooOld,
    StoreSchema,
    StoreDamaged,
    StoreError,
    Overloaded,
    LockContended,
    LocksUnavailable,
    LeaseLost,
    StaleFence,
    StoreUnavailable,
    StoreConflict,
    StoreFull,
    StoreReadOnly,
    Resident,
    ResidentUnavailable,
    ResidentDiverged,
    Timeout,
    OutcomeUnknown,
    NotReady,
}

impl Code {
    /// All of them, by status.
    pub(in crate::service) const ALL: [Self; 42] = [
        Self::InvalidJson,
        Self::Unauthorized,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::InsufficientStock,
        Self::InsufficientLocked,
        Self::InsufficientReserved,
        Self::HoldNotFound,
        Self::HoldExceeded,
        Self::HoldExpired,
        Self::HoldChanged,
        Self::Overflow,
        Self::BelowCommitted,
        Self::RequestConflict,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
        Self::InvalidQuantity,
        Self::InvalidOperation,
        Self::InvalidRequest,
        Self::Internal,
        Self::StoreTooOld,
        Self::StoreSchema,
        Self::StoreDamaged,
        Self::StoreError,
        Self::Overloaded,
        Self::LockContended,
        Self::LocksUnavailable,
        Self::LeaseLost,
        Self::StaleFence,
        Self::StoreUnavailable,
        Self::StoreConflict,
        Self::StoreFull,
        Self::StoreReadOnly,
        Self::Resident,
        Self::ResidentUnavailable,
        Self::ResidentDiverged,
        Self::Timeout,
        Self::OutcomeUnknown,
        Self::NotReady,
    ];

    /// The one of that name.
    pub(in crate::service) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// As programs read it.
    pub(in crate::service) fn name(self) -> &'static str {
        self.about().1
    }

    /// The status it comes with, always the same.
    pub(in crate::service) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.about().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What it means, for people.
    pub(in crate::service) fn meaning(self) -> &'static str {
        self.about().2
    }

    fn about(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidJson => (400, "invalid_json", "the body cannot be read"),
            Self::Unauthorized => (401, "unauthorized", "the token is missing or wrong"),
            Self::OriginNotAllowed => (403, "origin_not_allowed", "a page of another site asks"),
            Self::NotFound => (404, "not_found", "there is no such record, or nothing at that path"),
            Self::MethodNotAllowed => {
                (405, "method_not_allowed", "the path does not know the method; `allow` says which")
            }
            Self::RequestTimeout => (408, "request_timeout", "the body did not come in time"),
            Self::InsufficientStock => (409, "insufficient_stock", "fewer units are available"),
            Self::InsufficientLocked => (409, "insufficient_locked", "fewer units are locked, or holds keep them"),
            Self::InsufficientReserved => {
                (409, "insufficient_reserved", "fewer units are reserved, or holds keep them")
            }
            Self::HoldNotFound => (409, "hold_not_found", "the order holds nothing of it"),
            Self::HoldExceeded => (409, "hold_exceeded", "the order holds fewer units"),
            Self::HoldExpired => (409, "hold_expired", "the order's time is over"),
            Self::HoldChanged => (409, "hold_changed", "the hold is another one by now"),
            Self::Overflow => (409, "overflow", "a level would exceed 2^53 − 1"),
            Self::BelowCommitted => (409, "below_committed", "`reset` below what is locked and reserved"),
            Self::RequestConflict => (409, "request_conflict", "the request id was used for another request"),
            Self::PayloadTooLarge => (413, "payload_too_large", "the body is too long"),
            Self::UnsupportedMediaType => (415, "unsupported_media_type", "the body is no `application/json`"),
            Self::MisdirectedRequest => (421, "misdirected_request", "the service does not go by the name in Host"),
            Self::InvalidQuantity => (422, "invalid_quantity", "no number of units, or none that is allowed there"),
            Self::InvalidOperation => (422, "invalid_operation", "there is no such operation"),
            Self::InvalidRequest => (422, "invalid_request", "nobody could carry that out; `detail` says why"),
            Self::Internal => (500, "internal", "a mistake of the service"),
            Self::StoreTooOld => (500, "store_too_old", "the database server is too old"),
            Self::StoreSchema => (500, "store_schema", "the database was not migrated, or by another version"),
            Self::StoreDamaged => (500, "store_damaged", "a row holds what nobody writes"),
            Self::StoreError => (500, "store_error", "the database refused"),
            Self::Overloaded => (503, "overloaded", "too much is asked for at once"),
            Self::LockContended => (503, "lock_contended", "others hold the lock"),
            Self::LocksUnavailable => (503, "locks_unavailable", "no quorum of lock nodes answers"),
            Self::LeaseLost => (503, "lease_lost", "the lease ended before the commit; nothing has changed"),
            Self::StaleFence => (503, "stale_fence", "the record has seen larger tokens; nothing has changed"),
            Self::StoreUnavailable => (503, "store_unavailable", "the database does not answer; nothing has changed"),
            Self::StoreConflict => (503, "store_conflict", "another writer was in the way; nothing has changed"),
            Self::StoreFull => (503, "store_full", "the database has no room left"),
            Self::StoreReadOnly => (503, "store_read_only", "the database takes no writes"),
            Self::Resident => (503, "resident", "the record's levels live in Redis, where this repository does not go"),
            Self::ResidentUnavailable => (503, "resident_unavailable", "the Redis of resident levels does not answer"),
            Self::ResidentDiverged => (503, "resident_diverged", "Redis and the database disagree: `stock reconcile`"),
            Self::Timeout => (503, "timeout", "it takes too long"),
            Self::OutcomeUnknown => (503, "outcome_unknown", "done or not; ask again under the id in `request_id`"),
            Self::NotReady => (503, "not_ready", "only from `/readyz`: it cannot do its work now"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name_which_is_also_what_is_written() {
        for code in Code::ALL {
            assert_eq!(Code::of(code.name()), Some(code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
            assert!(code.status().as_u16() >= 400 && !code.meaning().is_empty(), "{code}");
        }
        let statuses: Vec<_> = Code::ALL.map(|code| code.status().as_u16()).into();
        assert!(statuses.is_sorted(), "{statuses:?}");
    }

    /// Errors of the domain know no HTTP: they have a name, which must be on the list.
    #[test]
    fn every_name_that_an_error_gives_itself_is_known() {
        let sources = [
            include_str!("../../error.rs"),
            include_str!("../../hold.rs"),
            include_str!("../../levels.rs"),
            include_str!("../../operation.rs"),
            include_str!("../../request.rs"),
            include_str!("../../store/error.rs"),
        ];
        let mut found = 0;
        for source in sources {
            let body = source.split("pub fn code(&self) -> &'static str {").nth(1).unwrap();
            let body = body.split("\n    }\n").next().unwrap();
            for name in body.split('"').skip(1).step_by(2) {
                assert!(Code::of(name).is_some(), "{name} is no code");
                found += 1;
            }
        }
        assert!(found > 30, "only {found} were found");
    }

    /// Programs are written against what the README says.
    #[test]
    fn the_readme_lists_every_code_and_no_other() {
        let readme = include_str!("../../../../README.md");
        let row = |code: Code| format!("| {} | `{code}` | {} |", code.status().as_u16(), code.meaning());
        let expected = Code::ALL.map(row).join("\n");
        let table = readme.split("| status | code | |\n|---|---|---|\n").nth(1).unwrap_or_default();
        let table = table.split("\n\n").next().unwrap_or_default();
        assert_eq!(table, expected, "the table of problems should be:\n{expected}");
    }
}
