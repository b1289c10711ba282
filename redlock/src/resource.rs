//! What is locked and by whom: the resource, and the claim that one attempt puts on it.
//!
//! Names are checked before any I/O, because a bad one must cost nothing and leave nothing behind.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;

use crate::error::LockError;
use crate::fencing::counter_key;

/// Longest resource name, in bytes.
pub(crate) const MAX_NAME: usize = 1024;
/// Most keys in one resource: one script has to touch them all while its node serves nobody else.
pub(crate) const MAX_KEYS: usize = 1024;
/// Keys of the fencing counters; a lock key there would overwrite one.
pub(crate) const RESERVED_PREFIX: &str = "redlock:fence:";

/// What a lock is taken on: one name or several, all or nothing.
///
/// Order and repetition do not matter: `["a", "b"]`, `["b", "a"]` and `["a", "b", "a"]` are the
/// same resource, so two callers cannot dead-lock by naming keys in another order. A name is 1 to
/// 1,024 bytes; it is checked when the lock is asked for.
///
/// ```
/// use redlock::Resource;
///
/// assert_eq!(Resource::from(["sku:2", "sku:1"]), Resource::from(vec!["sku:1", "sku:2"]));
/// assert_eq!(Resource::from("order:42").to_string(), "order:42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    names: Vec<String>,
}

impl Resource {
    fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self { names }
    }

    /// The names, sorted and each once.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The lock keys: prefix and name, checked.
    pub(crate) fn keys(&self, prefix: &str) -> Result<Arc<[String]>, LockError> {
        let refuse = |name: &str, reason: String| LockError::InvalidResource { resource: shorten(name), reason };
        if self.names.is_empty() {
            return Err(refuse("", "a resource has at least one name".into()));
        }
        if self.names.len() > MAX_KEYS {
            let reason = format!("{} names, at most {MAX_KEYS} are allowed", self.names.len());
            return Err(refuse(&self.names[0], reason));
        }
        let key = |name: &String| {
            if name.is_empty() || name.len() > MAX_NAME {
                let reason = format!("{} bytes long, allowed are 1 to {MAX_NAME}", name.len());
                return Err(refuse(name, reason));
            }
            let key = format!("{prefix}{name}");
            if key.starts_with(RESERVED_PREFIX) {
                let reason = format!("keys that begin with `{RESERVED_PREFIX}` hold fencing tokens");
                return Err(refuse(name, reason));
            }
            Ok(key)
        };
        self.names.iter().map(key).collect()
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shorten(&self.names.join(", ")))
    }
}

impl From<&str> for Resource {
    fn from(name: &str) -> Self {
        Self::new(vec![name.to_owned()])
    }
}

impl From<String> for Resource {
    fn from(name: String) -> Self {
        Self::new(vec![name])
    }
}

impl From<&String> for Resource {
    fn from(name: &String) -> Self {
        Self::from(name.as_str())
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for Resource {
    fn from(names: [S; N]) -> Self {
        Self::new(names.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String>> From<Vec<S>> for Resource {
    fn from(names: Vec<S>) -> Self {
        Self::new(names.into_iter().map(Into::into).collect())
    }
}

impl<S: AsRef<str>> From<&[S]> for Resource {
    fn from(names: &[S]) -> Self {
        Self::new(names.iter().map(|name| name.as_ref().to_owned()).collect())
    }
}

/// The keys of one attempt and the value that proves who holds them.
///
/// Every attempt has a value of its own: a late grant of an old attempt can then neither block
/// nor release a new one.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    keys: Arc<[String]>,
    counters: Box<[String]>,
    value: Box<str>,
}

impl Claim {
    /// A claim on `keys` (prefix included) by `value`.
    #[must_use]
    pub fn new(keys: Arc<[String]>, value: impl Into<Box<str>>) -> Self {
        let counters = keys.iter().map(|key| counter_key(key)).collect();
        Self { keys, counters, value: value.into() }
    }

    /// The lock keys, prefix included.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The lock keys, to be kept by others.
    pub(crate) fn shared_keys(&self) -> &Arc<[String]> {
        &self.keys
    }

    /// The keys of the fencing counters, one a lock key, in the same order.
    #[must_use]
    pub fn counters(&self) -> &[String] {
        &self.counters
    }

    /// The value every key must hold for the claim to stand.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// The value of one attempt: the readable owner, a colon, 20 random bytes in base64. As a rule that is not
/// more than the 44 bytes that Redis keeps in one piece.
pub(crate) fn owner_value(owner: &str, random: [u8; 20]) -> String {
    let mut value = String::with_capacity(owner.len() + 28);
    value.push_str(owner);
    value.push(':');
    URL_SAFE_NO_PAD.encode_string(random, &mut value);
    value
}

/// A name fit for a message: at most 64 bytes of it, then how long it was.
pub(crate) fn shorten(name: &str) -> String {
    if name.len() <= 64 {
        return name.to_owned();
    }
    let cut = (0..=64).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!("{}… ({} bytes)", &name[..cut], name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(resource: impl Into<Resource>, prefix: &str) -> String {
        resource.into().keys(prefix).unwrap_err().to_string()
    }

    #[test]
    fn joined_names_cannot_be_confused() {
        let one = Resource::from(["ab", "c"]).keys("").unwrap();
        let other = Resource::from(["a", "bc"]).keys("").unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn a_huge_name_is_refused_in_a_short_message() {
        let message = refusal("é".repeat(5 << 20), "");
        assert!(message.contains("10485760 bytes"), "{message}");
        assert!(message.len() < 300, "{message}");
    }

    #[test]
    fn empty_names_and_empty_lists_are_refused() {
        assert!(refusal("", "").contains("0 bytes"));
        assert!(refusal(Vec::<String>::new(), "").contains("at least one name"));
        assert!(refusal(["a", ""], "").contains("0 bytes"));
    }

    #[test]
    fn keys_of_fencing_counters_are_refused_prefix_included() {
        assert!(refusal("redlock:fence:{x}", "").contains("fencing tokens"));
        assert!(refusal("fence:{x}", "redlock:").contains("fencing tokens"));
        assert!(Resource::from("fence:x").keys("").is_ok());
    }

    #[test]
    fn owner_values_are_printable_and_start_with_the_owner() {
        let value = owner_value("host:7", [0xff; 20]);
        assert_eq!(value, format!("host:7:{}8", "_".repeat(26)));
        assert!(owner_value("ip-10-0-0-1:1234", [0; 20]).len() <= 44);
    }
}
