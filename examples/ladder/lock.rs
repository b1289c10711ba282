//! What every rung is: a way to take a lock on one server, and a way to give it back.

use std::time::Duration;

use super::client::{Client, Phase};

/// A way to lock a key.
pub(crate) trait Lock: Copy + Send + Sync + 'static {
    /// Tries once; the value by which it is held, or `None` if somebody else holds it.
    fn try_acquire(
        self,
        client: &mut Client,
        key: &str,
        ttl: Duration,
    ) -> impl Future<Output = anyhow::Result<Option<String>>> + Send;

    /// Gives back what [`try_acquire`](Self::try_acquire) got.
    fn give_back(self, client: &mut Client, key: &str, value: &str) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Tries once, with commands counted from here.
pub(crate) async fn acquire(
    lock: impl Lock,
    client: &mut Client,
    key: &str,
    ttl: Duration,
) -> anyhow::Result<Option<String>> {
    client.enter(Phase::Acquire);
    lock.try_acquire(client, key, ttl).await
}

/// Gives it back, with commands counted from here.
pub(crate) async fn release(lock: impl Lock, client: &mut Client, key: &str, value: &str) -> anyhow::Result<()> {
    client.enter(Phase::Release);
    lock.give_back(client, key, value).await
}

/// A value that nobody else has.
pub(crate) fn owner() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Whole milliseconds, as Redis takes them.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
