//! One statement over a connection of its own, rows as text: readiness, databases, and a look at rows that does not go
//! through the code under test.

use std::io;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row as _};
use tokio::time::timeout;

use crate::sql::Row;

/// How long an answer may take; a paused server must fail an assertion, not hang it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Runs `sql` on the server and in the database that `url` names.
pub(crate) async fn query(url: &str, sql: &str) -> io::Result<Vec<Row>> {
    let answered = async {
        let mut connection = MySqlConnection::connect(url).await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let value = |row: &sqlx::mysql::MySqlRow, at| {
            row.try_get_unchecked::<Option<Vec<u8>>, _>(at).map(|bytes| bytes.map(text))
        };
        let row = |row: &sqlx::mysql::MySqlRow| (0..row.len()).map(|at| value(row, at)).collect();
        rows.iter().map(row).collect::<Result<Vec<Row>, sqlx::Error>>()
    };
    match timeout(ANSWER_WITHIN, answered).await {
        Ok(rows) => rows.map_err(io_error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// What the system said where it was the system, so that a test can tell refused from denied.
fn io_error(error: sqlx::Error) -> io::Error {
    match error {
        sqlx::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
