//! What can go wrong with a database, sorted by what the caller can do about it.

use sqlx::error::{DatabaseError, Error as Driver};
use sqlx::migrate::MigrateError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::levels::InvalidLevels;

/// Why a store did not do what it was asked to. No message holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No answer, or the server is going down: try again later.
    #[error("the database is unavailable")]
    Unavailable(#[source] Driver),
    /// No room is left on the disk, or in what the database may use of it.
    #[error("the database is full")]
    Full(#[source] Driver),
    /// The server lacks what is needed, because it is too old.
    #[error("the database server is too old: it is {found}, needed is {needed}")]
    TooOld {
        /// What it says it is.
        found: String,
        /// What would do.
        needed: &'static str,
    },
    /// The database takes no writes: a replica, or a file without write permission.
    #[error("the database is read-only")]
    ReadOnly(#[source] Driver),
    /// Another writer was in the way (deadlock, lock wait, busy file). Rolled back, worth another
    /// try.
    #[error("another writer was in the way")]
    Conflict(#[source] Option<Driver>),
    /// A request of that id was carried out by somebody else in the meantime. Rolled back, worth
    /// another look.
    #[error("somebody else has carried out one of the requests")]
    DuplicateRequest(#[source] Driver),
    /// The server has no database of that name: it was never made, or has been dropped.
    #[error("the database does not exist on its server; make it and migrate it first")]
    MissingDatabase(#[source] Driver),
    /// A table is missing: the database was never migrated.
    #[error("a table is missing; migrate the database first")]
    MissingTable(#[source] Driver),
    /// The database was migrated by an older version of this program.
    #[error("the database was migrated by an older version; migration {missing} is missing")]
    OlderSchema {
        /// The first migration that is missing.
        missing: i64,
    },
    /// A column is missing: the database was migrated by another version of this program.
    #[error("a column is missing; migrate the database first")]
    MissingColumn(#[source] Driver),
    /// The database was migrated by a newer version of this program.
    #[error("the database was migrated by a newer version")]
    NewerSchema(#[source] Option<MigrateError>),
    /// A row holds what no version of this program writes.
    #[error("a row is damaged: {reason}")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// Everything else.
    #[error("the database refused")]
    Other(#[source] Driver),
    /// The tables could not be brought up to date.
    #[error("the database could not be migrated")]
    Migration(#[source] MigrateError),
}

impl StoreError {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "store_unavailable",
            Self::ReadOnly(_) => "store_read_only",
            Self::Conflict(_) => "store_conflict",
            Self::Full(_) => "store_full",
            Self::TooOld { .. } => "store_too_old",
            Self::DuplicateRequest(_) => "store_conflict",
            Self::MissingDatabase(_)
            | Self::MissingTable(_)
            | Self::MissingColumn(_)
            | Self::OlderSchema { .. }
            | Self::NewerSchema(_)
            | Self::Migration(_) => "store_schema",
            Self::Damaged { .. } => "store_damaged",
            Self::Other(_) => "store_error",
        }
    }

    /// The same once more, for somebody else who waits for the same transaction. Where it came from is
    /// kept as text.
    #[must_use]
    pub fn repeat(&self) -> Self {
        let driver = |error: &Driver| Driver::Io(std::io::Error::other(error.to_string()));
        match self {
            Self::Unavailable(error) => Self::Unavailable(driver(error)),
            Self::Full(error) => Self::Full(driver(error)),
            Self::TooOld { found, needed } => Self::TooOld { found: found.clone(), needed },
            Self::ReadOnly(error) => Self::ReadOnly(driver(error)),
            Self::Conflict(error) => Self::Conflict(error.as_ref().map(driver)),
            Self::DuplicateRequest(error) => Self::DuplicateRequest(driver(error)),
            Self::MissingDatabase(error) => Self::MissingDatabase(driver(error)),
            Self::MissingTable(error) => Self::MissingTable(driver(error)),
            Self::OlderSchema { missing } => Self::OlderSchema { missing: *missing },
            Self::MissingColumn(error) => Self::MissingColumn(driver(error)),
            Self::NewerSchema(_) => Self::NewerSchema(None),
            Self::Damaged { reason } => Self::Damaged { reason: reason.clone() },
            Self::Other(error) => Self::Other(driver(error)),
            Self::Migration(error) => Self::Other(driver(&Driver::Protocol(error.to_string()))),
        }
    }

    /// Whether the same transaction may succeed if it is done again at once.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }
}

impl From<Driver> for StoreError {
    fn from(error: Driver) -> Self {
        match &error {
            Driver::Io(_)
            | Driver::Tls(_)
            | Driver::Protocol(_)
            | Driver::PoolTimedOut
            | Driver::PoolClosed
            | Driver::WorkerCrashed
            | Driver::BeginFailed => Self::Unavailable(error),
            Driver::Database(answer) => match Kind::of(answer.as_ref()) {
                Kind::Unavailable => Self::Unavailable(error),
                Kind::ReadOnly => Self::ReadOnly(error),
                Kind::Conflict => Self::Conflict(Some(error)),
                Kind::Full => Self::Full(error),
                Kind::DuplicateRequest => Self::DuplicateRequest(error),
                Kind::MissingDatabase => Self::MissingDatabase(error),
                Kind::MissingTable => Self::MissingTable(error),
                Kind::MissingColumn => Self::MissingColumn(error),
                Kind::Other => Self::Other(error),
            },
            _ => Self::Other(error),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(driver) | MigrateError::ExecuteMigration(driver, _) => match Self::from(driver) {
                Self::Other(driver) => Self::Migration(MigrateError::Execute(driver)),
                sorted => sorted,
            },
            MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => Self::NewerSchema(Some(error)),
            _ => Self::Migration(error),
        }
    }
}

impl From<InvalidLevels> for StoreError {
    fn from(error: InvalidLevels) -> Self {
        Self::Damaged { reason: error.to_string() }
    }
}

/// Why a commit did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written.
    #[error("nothing was committed")]
    RolledBack(#[source] StoreError),
    /// The answer was lost: it may have been written, or not.
    #[error("whether it was committed is unknown")]
    Unknown(#[source] StoreError),
}

impl CommitError {
    /// What the database said, whatever that means for the commit.
    #[must_use]
    pub fn into_source(self) -> StoreError {
        match self {
            Self::RolledBack(error) | Self::Unknown(error) => error,
        }
    }
}

impl From<Driver> for CommitError {
    /// Only answers by which a server says that it did *not* commit count as that.
    fn from(error: Driver) -> Self {
        match StoreError::from(error) {
            error @ (StoreError::Conflict(_) | StoreError::ReadOnly(_) | StoreError::Full(_)) => {
                Self::RolledBack(error)
            }
            error => Self::Unknown(error),
        }
    }
}

/// How MySQL names the key that keeps a request from being carried out twice.
const REQUEST_KEY: &str = "product_stock_logs_request";

/// How SQLite names it.
const REQUEST_COLUMN: &str = "product_stock_logs.request_id";

/// What an answer of the database means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unavailable,
    ReadOnly,
    Conflict,
    Full,
    DuplicateRequest,
    MissingDatabase,
    MissingTable,
    MissingColumn,
    Other,
}

impl Kind {
    fn of(answer: &(dyn DatabaseError + 'static)) -> Self {
        if let Some(answer) = answer.try_downcast_ref::<MySqlDatabaseError>() {
            return Self::of_mysql(answer.number(), answer.message());
        }
        if let Some(answer) = answer.try_downcast_ref::<SqliteError>() {
            let code = answer.code().and_then(|code| code.parse().ok());
            return Self::of_sqlite(code.unwrap_or(0), answer.message());
        }
        Self::Other
    }

    /// By the server's error number; 1290 is shared by many options, so its text decides.
    fn of_mysql(number: u16, message: &str) -> Self {
        match number {
            // Record changed since last read (MariaDB), lock wait timeout, deadlock.
            1020 | 1205 | 1213 => Self::Conflict,
            1290 if message.contains("read-only") || message.contains("read_only") => Self::ReadOnly,
            1792 | 1836 | 1874 => Self::ReadOnly,
            1062 if message.contains(REQUEST_KEY) => Self::DuplicateRequest,
            // Named by the connection; no longer there for one that had it.
            1049 | 1046 => Self::MissingDatabase,
            1146 => Self::MissingTable,
            1054 => Self::MissingColumn,
            // Disk full, error writing a file, table full.
            1021 | 1026 | 1114 => Self::Full,
            // Too many connections, shutting down, connection killed, query interrupted, gone away
            // (MariaDB).
            1040 | 1053 | 1079 | 1184 | 1203 | 1226 | 1317 | 1927 | 2006 | 2013 => Self::Unavailable,
            // A connection closed for having been idle too long (MySQL).
            4031 => Self::Unavailable,
            _ => Self::Other,
        }
    }

    /// By the primary result code, which is the low byte of the extended one.
    fn of_sqlite(code: u32, message: &str) -> Self {
        match code & 0xff {
            // BUSY, LOCKED.
            5 | 6 => Self::Conflict,
            // READONLY.
            8 => Self::ReadOnly,
            // NOMEM, IOERR, CANTOPEN.
            7 | 10 | 14 => Self::Unavailable,
            // FULL.
            13 => Self::Full,
            // CONSTRAINT.
            19 if message.contains(REQUEST_COLUMN) => Self::DuplicateRequest,
            1 if message.starts_with("no such table") => Self::MissingTable,
            1 if message.starts_with("no such column") || message.contains("has no column") => Self::MissingColumn,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_answers_are_sorted() {
        for number in [1020, 1205, 1213] {
            assert_eq!(Kind::of_mysql(number, ""), Kind::Conflict);
        }
        let read_only = "The MariaDB server is running with the --read-only option";
        assert_eq!(Kind::of_mysql(1290, read_only), Kind::ReadOnly);
        let another = "The MySQL server is running with the --skip-grant-tables option";
        assert_eq!(Kind::of_mysql(1290, another), Kind::Other);
        assert_eq!(Kind::of_mysql(1146, ""), Kind::MissingTable);
        assert_eq!(Kind::of_mysql(1049, "Unknown database 'x'"), Kind::MissingDatabase);
        assert_eq!(Kind::of_mysql(1053, ""), Kind::Unavailable);
        assert_eq!(Kind::of_mysql(1054, ""), Kind::MissingColumn);
        assert_eq!(Kind::of_mysql(1114, "The table 'x' is full"), Kind::Full);
        let duplicate = "Duplicate entry 'a-0' for key 'product_stock_logs.product_stock_logs_request'";
        assert_eq!(Kind::of_mysql(1062, duplicate), Kind::DuplicateRequest);
        assert_eq!(Kind::of_mysql(1062, "Duplicate entry '1-2' for key 'x'"), Kind::Other);
        assert_eq!(Kind::of_mysql(1064, ""), Kind::Other);
    }

    #[test]
    fn sqlite_answers_are_sorted() {
        // BUSY_SNAPSHOT is an extended BUSY.
        assert_eq!(Kind::of_sqlite(517, ""), Kind::Conflict);
        assert_eq!(Kind::of_sqlite(8, ""), Kind::ReadOnly);
        // IOERR_WRITE is an extended IOERR.
        for code in [7, 778, 14] {
            assert_eq!(Kind::of_sqlite(code, ""), Kind::Unavailable);
        }
        assert_eq!(Kind::of_sqlite(1, "no such table: x"), Kind::MissingTable);
        assert_eq!(Kind::of_sqlite(1, "no such column: x"), Kind::MissingColumn);
        assert_eq!(Kind::of_sqlite(13, "database or disk is full"), Kind::Full);
        let duplicate = "UNIQUE constraint failed: product_stock_logs.request_id, product_stock_logs.position";
        assert_eq!(Kind::of_sqlite(2067, duplicate), Kind::DuplicateRequest);
        assert_eq!(Kind::of_sqlite(1, "near \"x\""), Kind::Other);
    }

    #[test]
    fn a_lost_answer_to_a_commit_is_no_rollback() {
        let lost = Driver::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(CommitError::from(lost), CommitError::Unknown(_)));
        let unsorted = Driver::Protocol("?".into());
        assert!(matches!(CommitError::from(unsorted), CommitError::Unknown(_)));
    }
}
