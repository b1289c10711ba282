//! A node's URL: what may be shown of it, and what must not.

use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use url::Url;

use crate::error::ConfigError;
use crate::resource::shorten;

/// Reads `url`; errors show it without its password.
pub(super) fn parse(url: &str) -> Result<ConnectionInfo, ConfigError> {
    let refuse = |reason: String| ConfigError::InvalidUrl { url: masked(url), reason };
    let parsed = Url::parse(url)
        .map_err(|error| refuse(format!("{error}; expected redis://[user:password@]host[:port][/db]")))?;
    let known = ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"];
    if !known.contains(&parsed.scheme()) {
        let reason = format!("unknown scheme `{}`; allowed are redis, rediss (TLS) and unix", shorten(parsed.scheme()));
        return Err(refuse(reason));
    }
    let info = url.into_connection_info().map_err(|error| {
        // The detail of a parser may quote what it could not read.
        refuse(without_secrets(&error.to_string(), &[password(&parsed)]))
    })?;
    if !info.addr().is_supported() {
        return Err(refuse("TLS needs the feature `tls` of this crate".to_owned()));
    }
    Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true).set_keepalive(keepalive())))
}

/// What a connection says while it has nothing to say: whatever stands between here and the node keeps it,
/// and one that has been cut without a word is noticed before a lock is asked for over it.
fn keepalive() -> TcpKeepalive {
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(3));
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
    let probes = probes.with_retries(3);
    probes
}

/// The node's name: where it is, without user, password and database.
pub(super) fn name(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) => format!("redis://{}:{port}", bracketed(host)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            format!("rediss://{}:{port}", bracketed(host))
        }
        ConnectionAddr::Unix(path) => format!("unix://{}", path.display()),
        other => other.to_string(),
    }
}

/// Replaces every secret in `text`, whoever put it there.
pub(super) fn without_secrets(text: &str, secrets: &[Option<String>]) -> String {
    let hide = |text: String, secret: &String| text.replace(secret.as_str(), "***");
    let known = secrets.iter().flatten().filter(|secret| !secret.is_empty());
    known.fold(text.to_owned(), hide)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn password(url: &Url) -> Option<String> {
    url.password().map(ToOwned::to_owned)
}

/// The URL with everything between scheme and `@` hidden, and everything after `?`; also where it
/// cannot be parsed.
fn masked(url: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, ""), |(place, _)| (place, "?***"));
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    let scheme = place.find("://").filter(|end| is_scheme(&place[..*end])).map_or(0, |end| end + 3);
    match place.rfind('@') {
        Some(at) if at >= scheme => shorten(&format!("{}***{}{query}", &place[..scheme], &place[at..])),
        _ => shorten(&format!("{place}{query}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        parse(url).unwrap_err().to_string()
    }

    #[test]
    fn names_show_neither_user_nor_password_nor_database() {
        let name_of = |url: &str| name(parse(url).unwrap().addr());
        assert_eq!(name_of("redis://me:secret@10.0.0.1:7000/3"), "redis://10.0.0.1:7000");
        assert_eq!(name_of("redis://[::1]:7000"), "redis://[::1]:7000");
        assert_eq!(name_of("unix:///run/redis.sock"), "unix:///run/redis.sock");
    }

    #[test]
    fn unreadable_urls_are_named_without_their_password() {
        for url in [
            "redis://me:s3cret@host:99999",
            "http://me:s3cret@host",
            "me:s3cret@host",
            "redis://me:s3cret@host/notadb",
            "redis://me:s3cr@t@host:x",
            "unix:///host.sock?pass=s3cret&db=abc",
            "http://host/?pass=s3cret",
            "me:s3cret://x@host",
        ] {
            let message = refusal(url);
            assert!(message.contains("host"), "{message}");
            assert!(!message.contains("s3cr"), "{message}");
        }
        assert!(refusal("10.0.0.1:6379").contains("expected redis://"));
        assert!(refusal("ftp://10.0.0.1").contains("unknown scheme `ftp`"));
    }
}
