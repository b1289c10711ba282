//! Every setting: its names, its default, and what it is for.

/// The file that settings are read from.
pub const STOCK_CONFIG: &str = "STOCK_CONFIG";
/// Which database: a URL.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// Most connections to a database server.
pub const STOCK_DATABASE_CONNECTIONS: &str = "STOCK_DATABASE_CONNECTIONS";
/// Whether the service migrates the database.
pub const STOCK_MIGRATE: &str = "STOCK_MIGRATE";
/// Which lock nodes: URLs, separated by commas.
pub const REDLOCK_NODES: &str = "REDLOCK_NODES";
/// How long a lock node that was restarted does not vote.
pub const REDLOCK_RESTART_GUARD: &str = "REDLOCK_RESTART_GUARD";
/// Where the Redis of the cache and of resident levels is; none unless set.
pub const REDIS_HOST: &str = "REDIS_HOST";
/// The port of that Redis; 6379 unless set.
pub const REDIS_PORT: &str = "REDIS_PORT";
/// The password of that Redis; none unless set.
pub const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
/// The number of the database there; 0 unless set.
pub const REDIS_DB: &str = "REDIS_DB";
/// Whether that Redis is spoken to over TLS.
pub const REDIS_TLS: &str = "REDIS_TLS";
/// Which kind of repository.
pub const STOCK_REPOSITORY: &str = "STOCK_REPOSITORY";
/// How long resident levels may be ahead of the database.
pub const STOCK_RESIDENT_LAG: &str = "STOCK_RESIDENT_LAG";
/// How many records an instance keeps in its own cache.
pub const STOCK_CACHE_CAPACITY: &str = "STOCK_CACHE_CAPACITY";
/// Which records are brought into the cache when the service begins.
pub const STOCK_CACHE_WARM: &str = "STOCK_CACHE_WARM";
/// Where the service listens.
pub const STOCK_BIND: &str = "STOCK_BIND";
/// What clients of the service must know.
pub const STOCK_API_TOKEN: &str = "STOCK_API_TOKEN";
/// By which names the service may be addressed.
pub const STOCK_HOSTS: &str = "STOCK_HOSTS";
/// The certificates of the service.
pub const STOCK_TLS_CERT: &str = "STOCK_TLS_CERT";
/// The key of its certificate.
pub const STOCK_TLS_KEY: &str = "STOCK_TLS_KEY";
/// Most bytes of a request's body.
pub const STOCK_BODY_LIMIT: &str = "STOCK_BODY_LIMIT";
/// How long a request may take.
pub const STOCK_REQUEST_TIMEOUT: &str = "STOCK_REQUEST_TIMEOUT";
/// Most requests under way.
pub const STOCK_QUEUE: &str = "STOCK_QUEUE";
/// Most connections of clients.
pub const STOCK_CLIENTS: &str = "STOCK_CLIENTS";
/// How long the end may take.
pub const STOCK_SHUTDOWN_TIMEOUT: &str = "STOCK_SHUTDOWN_TIMEOUT";
/// How it is logged.
pub const STOCK_LOG_FORMAT: &str = "STOCK_LOG_FORMAT";
/// What is logged.
pub const RUST_LOG: &str = "RUST_LOG";

/// What must not be shown of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Nothing is secret.
    Open,
    /// The passwords in a URL, or in several.
    Urls,
    /// All of it.
    Secret,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The name of its variable.
    pub variable: &'static str,
    /// What is in force where nothing is set; empty for nothing.
    pub default: &'static str,
    /// What must not be shown.
    pub secrecy: Secrecy,
    /// What it is for and what is allowed.
    pub help: &'static str,
}

impl Setting {
    /// Every setting, in the order in which they are shown.
    pub const ALL: [Self; 26] = [
        Self::new(
            DATABASE_URL,
            super::DEFAULT_DATABASE,
            Secrecy::Urls,
            "The database: mysql://, mariadb:// or sqlite:; TLS by its parameters ssl-mode, ssl-ca, ssl-cert, ssl-key",
        ),
        Self::new(
            STOCK_DATABASE_CONNECTIONS,
            "32",
            Secrecy::Open,
            "Most connections to a database server, 1 to 1000; SQLite needs no more than it has",
        ),
        Self::new(
            STOCK_MIGRATE,
            "on",
            Secrecy::Open,
            "Whether `serve` brings the tables up to date (on, off); off for users without DDL rights: see `stock migrate`",
        ),
        Self::new(
            REDLOCK_NODES,
            "",
            Secrecy::Urls,
            "The lock nodes: redis://, rediss:// (TLS) or unix:// URLs, separated by commas; in-process ones unless \
             given, with SQLite only",
        ),
        Self::new(
            REDLOCK_RESTART_GUARD,
            "max-ttl",
            Secrecy::Open,
            "How long a restarted lock node does not vote: max-ttl, off, or whole seconds from 1 to 86400",
        ),
        Self::new(
            REDIS_HOST,
            "",
            // None belongs there, which keeps nobody from writing one.
            Secrecy::Urls,
            "The Redis that instances share, for the cache and for resident levels; no second cache level unless given",
        ),
        Self::new(REDIS_PORT, "6379", Secrecy::Open, "Its port, 1 to 65535"),
        Self::new(REDIS_PASSWORD, "", Secrecy::Secret, "Its password, if it wants one"),
        Self::new(REDIS_DB, "0", Secrecy::Open, "The number of its database, 0 to 65535"),
        Self::new(
            REDIS_TLS,
            "off",
            Secrecy::Open,
            "Whether it is spoken to over TLS (on, off); the system's authorities are trusted, or those of SSL_CERT_FILE",
        ),
        Self::new(
            STOCK_REPOSITORY,
            "redlock",
            Secrecy::Open,
            "What keeps writers apart: row-lock, redlock, or resident (levels in Redis, written back a moment later: \
             what Redis loses before that is lost)",
        ),
        Self::new(
            STOCK_RESIDENT_LAG,
            "0",
            Secrecy::Open,
            "How long changes of resident levels may wait to be written back, 0 to 600 seconds: faster in a rush that is \
             no longer, and lost with that Redis",
        ),
        Self::new(
            STOCK_CACHE_CAPACITY,
            "100000",
            Secrecy::Open,
            "How many records an instance keeps in its own cache, 0 to 100000000",
        ),
        Self::new(
            STOCK_CACHE_WARM,
            "",
            Secrecy::Open,
            "Records that `serve` brings into its caches when it begins: VARIANT/WAREHOUSE, separated by commas; needs \
             REDIS_HOST",
        ),
        Self::new(
            STOCK_BIND,
            "127.0.0.1:8080",
            Secrecy::Open,
            "Where the service listens: address:port, 0 for any port; beyond the loopback a token is needed",
        ),
        Self::new(
            STOCK_API_TOKEN,
            "",
            Secrecy::Secret,
            "What clients must send as `Authorization: Bearer …`: visible ASCII, beyond the loopback 16 characters or more; \
             nothing unless given",
        ),
        Self::new(
            STOCK_HOSTS,
            "",
            Secrecy::Open,
            "Names by which clients may address the service, separated by commas, beside localhost and addresses; any \
             name where there is a token and none is given",
        ),
        Self::new(STOCK_TLS_CERT, "", Secrecy::Open, "The service's certificates, a PEM file; plain HTTP unless given"),
        Self::new(STOCK_TLS_KEY, "", Secrecy::Open, "The key of its certificate, a PEM file"),
        Self::new(STOCK_BODY_LIMIT, "1048576", Secrecy::Open, "Most bytes of a request's body, 1024 to 67108864"),
        Self::new(
            STOCK_REQUEST_TIMEOUT,
            "30",
            Secrecy::Open,
            "How long a request is waited for, and an answer, 1 to 600 seconds",
        ),
        Self::new(
            STOCK_QUEUE,
            "4096",
            Secrecy::Open,
            "Most requests under way, 1 to 1000000; past that they are refused",
        ),
        Self::new(STOCK_CLIENTS, "4096", Secrecy::Open, "Most connections of clients, 1 to 1000000"),
        Self::new(
            STOCK_SHUTDOWN_TIMEOUT,
            "20",
            Secrecy::Open,
            "How long requests under way are waited for at the end, 1 to 600 seconds",
        ),
        Self::new(STOCK_LOG_FORMAT, "text", Secrecy::Open, "How log lines look: text or json"),
        Self::new(
            RUST_LOG,
            "",
            Secrecy::Open,
            "What is logged: levels (off, error, warn, info, debug, trace) and target=level pairs, separated by commas",
        ),
    ];

    const fn new(variable: &'static str, default: &'static str, secrecy: Secrecy, help: &'static str) -> Self {
        Self { variable, default, secrecy, help }
    }

    /// The setting of that variable.
    #[must_use]
    pub fn of(variable: &str) -> Option<&'static Self> {
        const ALL: &[Setting] = &Setting::ALL;
        ALL.iter().find(|setting| setting.variable == variable)
    }

    /// The name of its flag, without the dashes before it.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key().replace('_', "-")
    }

    /// Its key in a configuration file.
    #[must_use]
    pub fn key(&self) -> String {
        self.variable.strip_prefix("STOCK_").unwrap_or(self.variable).to_ascii_lowercase()
    }

    /// A value as it may be shown.
    #[must_use]
    pub fn shown(&self, value: &str) -> String {
        match self.secrecy {
            Secrecy::Open => value.to_owned(),
            Secrecy::Urls => crate::store::url::mask_all(value),
            Secrecy::Secret => "***".to_owned(),
        }
    }
}
