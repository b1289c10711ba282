//! INFO's text, read.

use std::time::{Duration, SystemTime};

use redis::Value;

use crate::node::{NodeInfo, Role};

/// Reads the answer of `info.lua`; `None` where it is none.
pub(super) fn parse(values: &[Value]) -> Option<NodeInfo> {
    let [Value::BulkString(text), seconds, micros] = values else {
        return None;
    };
    let text = String::from_utf8_lossy(text);
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
    };
    Some(NodeInfo {
        run_id: field("run_id")?,
        version: field("valkey_version").or_else(|| field("redis_version"))?,
        role: if field("role")? == "master" { Role::Master } else { Role::Replica },
        cluster: field("cluster_enabled").as_deref() == Some("1"),
        uptime_seconds: field("uptime_in_seconds")?.parse().ok()?,
        append_only: field("aof_enabled").as_deref() == Some("1"),
        eviction: field("maxmemory_policy").unwrap_or_else(|| "unknown".to_owned()),
        clock_ahead_ms: ahead(time(seconds, micros)?),
    })
}

/// TIME's answer as a Unix time.
fn time(seconds: &Value, micros: &Value) -> Option<Duration> {
    let micros = u32::try_from(number(micros)?).ok().filter(|micros| *micros < 1_000_000)?;
    Some(Duration::new(number(seconds)?, 1_000 * micros))
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// By how many milliseconds `theirs`, a Unix time, is ahead of ours.
fn ahead(theirs: Duration) -> i64 {
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    millis(theirs).saturating_sub(millis(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_and_garbage_is_not() {
        let text = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nuptime_in_seconds:-3\r\n\
                    role:slave\r\naof_enabled:1\r\nmaxmemory_policy:allkeys-lru\r\ncluster_enabled:0\r\n";
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let info = parse(&[bulk(text), bulk("0"), bulk("999999")]).unwrap();
        assert_eq!((info.run_id.as_str(), info.version.as_str()), ("abc", "7.0.15"));
        assert_eq!((info.role, info.cluster, info.append_only), (Role::Replica, false, true));
        assert_eq!((info.uptime_seconds, info.eviction.as_str()), (-3, "allkeys-lru"));
        assert!(info.clock_ahead_ms < -1_000_000, "1970 is long ago");
        assert_eq!(parse(&[bulk("garbage"), bulk("0"), bulk("0")]), None);
        assert_eq!(parse(&[bulk(text), bulk("x"), bulk("0")]), None);
        assert_eq!(parse(&[bulk(text), bulk("18446744073709551615"), bulk("1000000")]), None);
        assert_eq!(parse(&[]), None);
    }
}
