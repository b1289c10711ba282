//! Dropping everything that is cached, everywhere: after a database was restored.

use redis::{AsyncConnectionConfig, Client, RedisResult, Script};
use std::time::Duration;

use super::RedisPlace;
use super::keys::GENERATION;
use crate::hint::{CHANNEL, Hint};

/// Records of the first generation, and of later ones. Resident records are none of these.
const PATTERNS: [&str; 2] = ["product_stock:[0-9]*:[0-9]*", "product_stock:g[0-9]*:[0-9]*:[0-9]*"];

/// How many keys the server looks at in one step.
const STEP: u32 = 1_000;

/// Begins a new generation and removes the records of the ones before it; the new generation, and how
/// many records were removed. Instances drop what they have when they hear of it, or at their next look
/// into this Redis; those that cannot reach it keep records for a moment only.
///
/// # Errors
///
/// If the server does not answer or refuses. Once the generation has risen nothing old is used any more,
/// even if removing was not finished.
pub async fn clear(place: &RedisPlace) -> RedisResult<(u64, u64)> {
    let client = Client::open(place.connection_info()?)?;
    let patience = Some(Duration::from_secs(10));
    let config = AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    let mut link = client.get_multiplexed_async_connection_with_config(&config).await?;
    let script = Script::new(include_str!("clear.lua"));
    let generation: u64 =
        script.key(GENERATION).arg(CHANNEL).arg(Hint::Cleared.to_string()).invoke_async(&mut link).await?;
    let current = format!("product_stock:g{generation}:");
    let mut removed = 0;
    for pattern in PATTERNS {
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut link).await?;
            let old: Vec<_> = keys.into_iter().filter(|key| !key.starts_with(&current)).collect();
            if !old.is_empty() {
                removed += redis::cmd("UNLINK").arg(old).query_async::<u64>(&mut link).await?;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    Ok((generation, removed))
}
