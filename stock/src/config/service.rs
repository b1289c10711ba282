//! What the HTTP service needs to know.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::setting::{
    STOCK_API_TOKEN, STOCK_BIND, STOCK_BODY_LIMIT, STOCK_CLIENTS, STOCK_HOSTS, STOCK_QUEUE, STOCK_REQUEST_TIMEOUT,
    STOCK_SHUTDOWN_TIMEOUT, STOCK_TLS_CERT, STOCK_TLS_KEY,
};
use super::source::{Source, Values};

/// A secret that clients must know. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// How many characters it needs at least where others can try.
    pub const LEAST: usize = 16;

    /// A token of visible ASCII, as a header can carry it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_usable.then(|| Self(text.to_owned()))
    }

    /// The characters.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Files with what TLS takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those it was signed with: PEM.
    pub certificates: PathBuf,
    /// The key of the certificate: PEM.
    pub key: PathBuf,
}

/// How the service listens, and what it puts up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Where it listens; port 0 for any that is free.
    pub bind: SocketAddr,
    /// What clients must know, if anything.
    pub token: Option<Token>,
    /// Names by which it may be addressed, in small letters.
    pub hosts: Vec<String>,
    /// Plain HTTP unless set.
    pub tls: Option<TlsFiles>,
    /// Most bytes of a body.
    pub body_limit: usize,
    /// How long a request is waited for, and an answer.
    pub request_timeout: Duration,
    /// Most requests under way.
    pub queue: usize,
    /// Most connections.
    pub clients: usize,
    /// How long requests under way are waited for at the end.
    pub shutdown_timeout: Duration,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token: None,
            hosts: Vec::new(),
            tls: None,
            body_limit: 1 << 20,
            request_timeout: Duration::from_secs(30),
            queue: 4_096,
            clients: 4_096,
            shutdown_timeout: Duration::from_secs(20),
        }
    }
}

impl ServiceConfig {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let default = Self::default();
        let seconds = |variable, default: Duration| {
            Ok(Duration::from_secs(values.number(variable, default.as_secs(), 1..=600)?))
        };
        Ok(Self {
            bind: values.parse(STOCK_BIND, address)?.unwrap_or(default.bind),
            token: values.parse(STOCK_API_TOKEN, token)?,
            hosts: values.parse(STOCK_HOSTS, hosts)?.unwrap_or_default(),
            tls: tls(values)?,
            body_limit: values.number(STOCK_BODY_LIMIT, default.body_limit, 1_024..=1 << 26)?,
            request_timeout: seconds(STOCK_REQUEST_TIMEOUT, default.request_timeout)?,
            queue: values.number(STOCK_QUEUE, default.queue, 1..=1_000_000)?,
            clients: values.number(STOCK_CLIENTS, default.clients, 1..=1_000_000)?,
            shutdown_timeout: seconds(STOCK_SHUTDOWN_TIMEOUT, default.shutdown_timeout)?,
        })
    }

    /// Whether it is safe to listen there: what others can reach needs a token that they do not find by trying.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for an address beyond the loopback without a token, or with one that is shorter than
    /// [`Token::LEAST`].
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        let wrong = match &self.token {
            _ if self.bind.ip().is_loopback() => return Ok(()),
            Some(token) if token.reveal().len() >= Token::LEAST => return Ok(()),
            Some(token) => format!("has {} characters, of which {} are needed", token.reveal().len(), Token::LEAST),
            None => "is not set".to_owned(),
        };
        let reason =
            format!("others can reach it there, and {STOCK_API_TOKEN} {wrong}; allowed without are loopback addresses");
        Err(ConfigError { variable: STOCK_BIND, origin: Source::Environment, value: self.bind.to_string(), reason })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address = local.as_deref().unwrap_or(text).parse();
    address.map_err(|_| "allowed are address:port, such as 127.0.0.1:8080, 0.0.0.0:8080 and [::1]:0".to_owned())
}

fn token(text: &str) -> Result<Token, String> {
    Token::new(text).ok_or_else(|| "allowed are letters, digits and signs of ASCII, without spaces".to_owned())
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    if names.iter().all(is_name) {
        return Ok(names);
    }
    Err("allowed are host names without ports, separated by commas".to_owned())
}

fn tls(values: &Values) -> Result<Option<TlsFiles>, ConfigError> {
    match (values.text(STOCK_TLS_CERT), values.text(STOCK_TLS_KEY)) {
        (None, None) => Ok(None),
        (Some(certificates), Some(key)) => Ok(Some(TlsFiles { certificates: certificates.into(), key: key.into() })),
        (Some(_), None) => Err(values.refuse(STOCK_TLS_CERT, format!("{STOCK_TLS_KEY} is not set; both are needed"))),
        (None, Some(_)) => Err(values.refuse(STOCK_TLS_KEY, format!("{STOCK_TLS_CERT} is not set; both are needed"))),
    }
}
