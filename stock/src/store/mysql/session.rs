//! A connection to a server that may stop answering at any moment.
//!
//! Every answer is waited for a bounded time. A connection that is dropped in the middle of a
//! statement or a transaction, for whatever reason, is closed, and the server rolls back by itself;
//! a pool would wait for it to become usable again, which may be never.

use std::io;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySql, MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection, Executor, Row};

use super::literals;
use crate::log::LogEntry;
use crate::store::session::{Fields, Session, Statement, Value};
use crate::store::{Access, BoxFuture, StoreError, Writers};

/// READ COMMITTED: a locking read returns the newest row and locks no gaps.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// How long the server waits for a session, and lets it wait, in whole seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// `wait_timeout`: a process that is stopped in the middle of a transaction loses its row locks
    /// after that many seconds of silence.
    silence: u64,
    /// `innodb_lock_wait_timeout`.
    lock_wait: u64,
}

impl Limits {
    /// A stopped process keeps its rows little longer than a lease, whether it has one or not. Five seconds of waiting
    /// are many writers in a queue; those who hold leases have other rows to write meanwhile, and a second is the least
    /// that MySQL knows.
    pub(super) fn of(access: Access) -> Self {
        let lock_wait = match access.writers {
            Writers::Queue => 5,
            Writers::HoldLeases => 1,
        };
        Self { silence: access.lease.as_secs() + 1, lock_wait }
    }

    /// `sql_mode`: a value that does not fit is an error and is not cut off.
    fn settings(self) -> String {
        format!(
            "SET SESSION wait_timeout = {}, SESSION innodb_lock_wait_timeout = {}, \
             SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
            self.silence, self.lock_wait
        )
    }

    /// Connections are given up before the server closes them.
    fn idle_timeout(self) -> Duration {
        Duration::from_secs(self.silence) / 2
    }
}

const BEGIN: &str = "BEGIN";

/// How long a new connection, or a free one, is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long a connection that nobody uses is trusted to be there: less than a server takes to die and be back.
const TRUSTED: Duration = Duration::from_millis(50);

/// How long an answer is waited for; above `innodb_lock_wait_timeout`, whose end is an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a rollback is waited for. Without an answer the connection is closed, which has the
/// same effect.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(1);

/// Sessions, made when they are needed.
pub(super) fn pool(options: &MySqlConnectOptions, limits: Limits, connections: u32) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(limits.idle_timeout())
        .test_before_acquire(false)
        .before_acquire(|connection, of| Box::pin(is_alive(connection, of.idle_for)))
        .after_connect(move |connection, _| Box::pin(prepare(connection, limits)))
        // Texts hold rows by the hundred, which belong into no log.
        .connect_lazy_with(options.clone().disable_statement_logging())
}

/// Whether a connection that was not used for so long is still good. One that was used just now is not asked, which
/// would cost each transaction a round trip.
async fn is_alive(connection: &mut MySqlConnection, idle: Duration) -> Result<bool, sqlx::Error> {
    Ok(idle < TRUSTED || connection.ping().await.is_ok())
}

/// A connection outside of the pool, to be closed by the caller.
pub(super) async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, StoreError> {
    let connected = within(CONNECT_TIMEOUT, async {
        let mut connection = MySqlConnection::connect_with(options).await?;
        prepare(&mut connection, Limits::of(Access::default())).await?;
        Ok(connection)
    });
    Ok(connected.await?)
}

async fn prepare(connection: &mut MySqlConnection, limits: Limits) -> Result<(), sqlx::Error> {
    connection.execute(ISOLATION).await?;
    connection.execute(AssertSqlSafe(limits.settings())).await?;
    Ok(())
}

/// A connection of the pool. Dropped without having been given back, it is closed.
pub(in crate::store) struct MySqlSession {
    connection: PoolConnection<MySql>,
    /// Whether a transaction begins with the next statement.
    begins: bool,
    usable: bool,
}

impl MySqlSession {
    /// Takes a connection out of the pool.
    pub(super) async fn take(pool: &MySqlPool) -> Result<Self, StoreError> {
        Ok(Self { connection: pool.acquire().await?, begins: false, usable: false })
    }

    /// Begins a transaction, which the server hears of with the first statement.
    pub(super) fn begin(&mut self) {
        self.begins = true;
    }

    /// Tells the server that a transaction begins, if it has not heard of it.
    async fn begin_now(&mut self) -> Result<(), sqlx::Error> {
        if std::mem::take(&mut self.begins) {
            within(ANSWER_TIMEOUT, self.connection.execute(BEGIN)).await?;
        }
        Ok(())
    }

    /// Executes texts in one round trip, up to the first that fails; how many rows each has found.
    async fn texts(&mut self, texts: &[String]) -> (Vec<u64>, Result<(), sqlx::Error>) {
        let begins = std::mem::take(&mut self.begins);
        let text = if begins { format!("{BEGIN};{}", texts.join(";")) } else { texts.join(";") };
        let mut found = Vec::with_capacity(1 + texts.len());
        let executed = within(ANSWER_TIMEOUT, async {
            let mut answers = self.connection.execute_many(AssertSqlSafe(text));
            while let Some(answer) = answers.try_next().await? {
                found.push(answer.rows_affected());
            }
            Ok(())
        });
        let executed = executed.await;
        if begins && !found.is_empty() {
            found.remove(0);
        }
        (found, executed)
    }

    /// Ends the transaction with this word, if the server has heard of it.
    async fn end(mut self, word: &'static str, limit: Duration) -> Result<(), sqlx::Error> {
        if !self.begins {
            within(limit, self.connection.execute(word)).await?;
        }
        self.back();
        Ok(())
    }
}

impl Session for MySqlSession {
    type Row = MySqlRow;

    fn execute(&mut self, statement: Statement) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async {
            self.begin_now().await?;
            let done = within(ANSWER_TIMEOUT, bound(statement).execute(&mut *self.connection)).await?;
            Ok(done.rows_affected())
        })
    }

    fn append(&mut self, entries: &[LogEntry]) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        let text = literals::append(entries);
        Box::pin(async {
            let (found, executed) = self.texts(&[text]).await;
            executed.map(|()| found.into_iter().sum())
        })
    }

    fn execute_logged<'a>(
        &'a mut self,
        statement: Statement,
        entries: &'a [LogEntry],
    ) -> BoxFuture<'a, Result<(u64, u64), sqlx::Error>> {
        Box::pin(async move {
            let texts = [literals::filled(&statement), literals::append(entries)];
            let (found, executed) = self.texts(&texts).await;
            // Somebody else was there; that the log has that entry already says no more.
            if found.first() == Some(&0) {
                return Ok((0, 0));
            }
            executed?;
            match found[..] {
                [found, added] => Ok((found, added)),
                _ => Err(sqlx::Error::Protocol(format!("two statements were answered by {found:?}"))),
            }
        })
    }

    fn all(&mut self, statement: Statement) -> BoxFuture<'_, Result<Vec<MySqlRow>, sqlx::Error>> {
        Box::pin(async {
            self.begin_now().await?;
            within(ANSWER_TIMEOUT, bound(statement).fetch_all(&mut *self.connection)).await
        })
    }

    fn commit(self) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(self.end("COMMIT", ANSWER_TIMEOUT))
    }

    fn rollback(self) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(self.end("ROLLBACK", ROLLBACK_TIMEOUT))
    }

    fn back(mut self) {
        self.usable = true;
    }
}

impl Drop for MySqlSession {
    fn drop(&mut self) {
        if !self.usable {
            self.connection.close_on_drop();
        }
    }
}

impl Fields for MySqlRow {
    fn number(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        self.try_get(column)
    }
}

fn bound(statement: Statement) -> Query<'static, MySql, MySqlArguments> {
    statement.values.into_iter().fold(sqlx::query(statement.text), |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
    })
}

/// What comes within `limit`; else an error of the kind that a broken connection has.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use testkit::SqlServer;

    use super::*;
    use crate::store::DatabaseUrl;

    /// What others rely on that share the rows: how long a stopped process may have them, how long anybody waits for
    /// one, what a locking read sees, and that nothing is cut off.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_session_is_set_up() {
        let server = SqlServer::start().await.unwrap();
        let DatabaseUrl::MySql(url) = server.url("test").parse().unwrap() else { panic!("it is MySQL") };
        let lease = Duration::from_secs(2);
        for (access, silence, lock_wait) in [
            (Access::default(), 11, 5),
            (Access { writers: Writers::HoldLeases, ..Access::default() }, 11, 1),
            (Access { lease, ..Access::default() }, 3, 5),
        ] {
            let pool = pool(&url.options, Limits::of(access), 1);
            let mut session = pool.acquire().await.unwrap();
            let question = "SELECT @@wait_timeout, @@innodb_lock_wait_timeout";
            let limits: (u64, u64) = sqlx::query_as(question).fetch_one(&mut *session).await.unwrap();
            assert_eq!(limits, (silence, lock_wait), "{access:?}");
            let mode: String = sqlx::query_scalar("SELECT @@sql_mode").fetch_one(&mut *session).await.unwrap();
            assert!(mode.contains("STRICT_ALL_TABLES"), "{mode}");
            let isolation = "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')";
            for row in session.fetch_all(isolation).await.unwrap() {
                assert_eq!(row.get::<String, _>(1), "READ-COMMITTED");
            }
        }
    }
}
