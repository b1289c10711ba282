//! Database URLs: which are allowed, and how they are shown without their password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::mysql::MySqlConnectOptions;
use url::Url;

/// What a database URL may look like, for error messages.
pub const ALLOWED: &str = "mysql://user:password@host:port/database, mariadb://… or sqlite:path/to/file";

/// The parameters the MySQL driver knows. It ignores all others in silence, so `ssl_mode=REQUIRED`
/// would go unnoticed.
const MYSQL_PARAMETERS: [&str; 14] = [
    "charset",
    "collation",
    "socket",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "sslca",
    "sslcert",
    "sslkey",
    "sslmode",
    "statement-cache-capacity",
    "time-zone",
    "timezone",
];

/// A database this program can use. Neither `Debug` nor `Display` shows the password.
#[derive(Debug, Clone)]
pub enum DatabaseUrl {
    /// A MySQL or MariaDB server.
    MySql(MySqlUrl),
    /// A SQLite file.
    Sqlite(SqliteUrl),
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: String| InvalidDatabaseUrl { shown: mask(text), reason };
        match text.split_once(':') {
            Some(("mysql" | "mariadb", _)) => mysql(text).map(Self::MySql).map_err(invalid),
            Some(("sqlite", rest)) => sqlite(rest).map(Self::Sqlite).map_err(invalid),
            Some((scheme, _)) if !scheme.contains(['/', '@']) => {
                Err(invalid(format!("the scheme `{scheme}` is not supported")))
            }
            _ => Err(invalid("it has no scheme".into())),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(url) => f.write_str(&url.shown),
            Self::Sqlite(url) => write!(f, "sqlite:{}", url.path.display()),
        }
    }
}

/// How to reach a MySQL or MariaDB server.
#[derive(Clone)]
pub struct MySqlUrl {
    // Boxed, because there is a lot of it.
    pub(crate) options: Box<MySqlConnectOptions>,
    shown: String,
}

impl fmt::Debug for MySqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MySqlUrl").field(&self.shown).finish()
    }
}

/// Where a SQLite file is.
#[derive(Debug, Clone)]
pub struct SqliteUrl {
    pub(crate) path: PathBuf,
    pub(crate) max_pages: Option<u32>,
}

impl SqliteUrl {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_pages: None }
    }

    /// It may grow to so many pages, and counts as full then; no bound but the disk's unless set.
    #[must_use]
    pub fn max_pages(mut self, pages: u32) -> Self {
        self.max_pages = Some(pages);
        self
    }
}

/// A database URL that cannot be used; shown with its password masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is no usable database URL: {reason}; allowed are {ALLOWED}")]
pub struct InvalidDatabaseUrl {
    /// The URL, its password masked.
    pub shown: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A URL with its password replaced and its parameters left out, also if it cannot be parsed.
///
/// Everything between the scheme's user name and the last `@` counts as password: better too much
/// hidden than too little.
#[must_use]
pub fn mask(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let Some((secret, place)) = rest.rsplit_once('@') else {
        return text.split('?').next().unwrap_or_default().to_owned();
    };
    let user = match secret.split_once(':') {
        Some((user, _)) => format!("{user}:***"),
        None => secret.to_owned(),
    };
    let place = place.split('?').next().unwrap_or_default();
    if scheme.is_empty() {
        return format!("{user}@{place}");
    }
    format!("{scheme}://{user}@{place}")
}

/// URLs, separated by commas, without passwords. A comma that no URL follows belongs to the one before:
/// it may be in a password.
#[must_use]
pub fn mask_all(text: &str) -> String {
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',') {
        match urls.last_mut() {
            Some(last) if !part.contains("://") => {
                last.push(',');
                last.push_str(part);
            }
            _ => urls.push(part.trim().to_owned()),
        }
    }
    urls.iter().map(|url| mask(url)).collect::<Vec<_>>().join(",")
}

fn mysql(text: &str) -> Result<MySqlUrl, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.path().trim_matches('/').is_empty() {
        return Err("it names no database".into());
    }
    for (name, _) in url.query_pairs() {
        if !MYSQL_PARAMETERS.contains(&name.as_ref()) {
            return Err(format!("the parameter `{name}` is unknown (known are {})", MYSQL_PARAMETERS.join(", ")));
        }
    }
    // The driver's own message may quote the value it did not like.
    let options: MySqlConnectOptions = text.parse().map_err(|_| String::from("a part of it cannot be read"))?;
    Ok(MySqlUrl { options: Box::new(options), shown: mask(text) })
}

fn sqlite(rest: &str) -> Result<SqliteUrl, String> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if path == ":memory:" || parameters.contains("mode=memory") {
        return Err("a database in memory would be another one for each connection".into());
    }
    if path.is_empty() {
        return Err("it names no file".into());
    }
    if !matches!(parameters, "" | "mode=rwc" | "mode=rw") {
        return Err(format!("the parameters `{parameters}` are not supported"));
    }
    Ok(SqliteUrl::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<DatabaseUrl>().unwrap_err().to_string()
    }

    #[test]
    fn both_names_of_the_mysql_protocol_are_taken() {
        for scheme in ["mysql", "mariadb"] {
            let url: DatabaseUrl = format!("{scheme}://me:secret@db.example:3307/shop").parse().unwrap();
            assert!(matches!(url, DatabaseUrl::MySql(_)));
            assert_eq!(url.to_string(), format!("{scheme}://me:***@db.example:3307/shop"));
            assert!(!format!("{url:?}").contains("secret"));
        }
    }

    #[test]
    fn sqlite_files_are_taken_by_any_spelling() {
        for (text, path) in [
            ("sqlite:stock.db", "stock.db"),
            ("sqlite://stock.db", "stock.db"),
            ("sqlite:/var/stock.db", "/var/stock.db"),
            ("sqlite:///var/stock.db?mode=rwc", "/var/stock.db"),
        ] {
            let Ok(DatabaseUrl::Sqlite(url)) = text.parse() else {
                panic!("{text} was refused");
            };
            assert_eq!(url.path, PathBuf::from(path));
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        assert!(error("sqlite::memory:").contains("in memory"));
        assert!(error("sqlite:").contains("names no file"));
        assert!(error("postgres://h/d").contains("`postgres`"));
        assert!(error("stock.db").contains("no scheme"));
        assert!(error("mysql://root@localhost:3306").contains("names no database"));
        assert!(error("mysql://root@h/d?ssl_mode=REQUIRED").contains("`ssl_mode`"));
        assert!(error("mysql://root@h/d?ssl-mode=maybe").contains("cannot be read"));
        assert!(error("postgres://h/d").contains(ALLOWED));
    }

    #[test]
    fn a_comma_in_a_password_shows_nothing_of_it() {
        for text in ["mysql://u:se,cret@h/d", "redis://:se,cret@a,redis://u:cret@b,redis://c"] {
            assert!(!mask_all(text).contains("cret"), "{}", mask_all(text));
        }
        assert_eq!(mask_all("redis://a:1,redis://b:2"), "redis://a:1,redis://b:2");
    }

    #[test]
    fn no_spelling_shows_the_password() {
        for text in [
            "mysql://me:se@cret@host:99999999/d",
            "mysql://me:secret@host:99999999/d",
            "postgres://me:secret@host/d",
            "me:secret@host/d",
            "mysql://me:secret@host",
            "mysql://me:secret@host/d?ssl-mode=secret",
        ] {
            let message = error(text);
            assert!(!message.contains("cret"), "{message}");
            assert!(message.contains("host"), "{message}");
        }
    }
}
