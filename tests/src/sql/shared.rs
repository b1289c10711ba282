//! A SQL server that somebody else runs, for those who name one, and our own for everybody else.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Command, Stdio};

use url::Url;

use crate::error::StartError;
use crate::host::Host;
use crate::program;
use crate::sql::{Row, SqlServer};

const VARIABLE: &str = "TEST_DATABASE_URL";

/// The server that `TEST_DATABASE_URL` names if it is set, else a new one. A named server cannot be faulted, so a test
/// takes a database name of its own.
///
/// # Errors
///
/// As [`SqlServer::start`]; [`StartError::Environment`] if the URL cannot be read.
pub async fn shared_sql() -> Result<SqlServer, StartError> {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => named_server(text.trim()),
        _ => SqlServer::start().await,
    }
}

fn named_server(text: &str) -> Result<SqlServer, StartError> {
    let wrong = |reason: String| StartError::Environment { variable: VARIABLE, reason };
    let url = Url::parse(text).map_err(|error| wrong(format!("not a URL: {error}")))?;
    if url.scheme() != "mysql" {
        return Err(wrong("does not begin with mysql://".to_owned()));
    }
    let host = url.host_str().unwrap_or("127.0.0.1");
    let mut addrs = (host, url.port().unwrap_or(3306))
        .to_socket_addrs()
        .map_err(|error| wrong(format!("{host} cannot be found: {error}")))?;
    let addr = addrs.next().ok_or_else(|| wrong(format!("{host} has no address")))?;
    Ok(SqlServer { host: Host::Elsewhere(addr), named: Some(url) })
}

/// Runs one statement through the installed command-line client, which knows every way to log in.
pub(crate) async fn query(
    url: &Url,
    addr: SocketAddr,
    database: &str,
    sql: &str,
) -> io::Result<Vec<Row>> {
    let client = program::find(&["mariadb", "mysql"]).ok_or_else(|| {
        io::Error::other("a named server needs the command-line client `mariadb` or `mysql`")
    })?;
    let mut command = Command::new(client);
    command.args(["--protocol=tcp", "--batch", "--skip-column-names", "--connect-timeout=10"]);
    command.arg(format!("--host={}", addr.ip())).arg(format!("--port={}", addr.port()));
    command.arg(format!(
        "--user={}",
        Some(url.username()).filter(|user| !user.is_empty()).unwrap_or("root")
    ));
    command.env("MYSQL_PWD", url.password().unwrap_or_default()).stdin(Stdio::null());
    command.arg(format!("--execute={sql}")).args(Some(database).filter(|name| !name.is_empty()));
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let value = |text: &str| Some(text.to_owned()).filter(|text| text != "NULL");
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.split('\t').map(value).collect())
        .collect())
}
