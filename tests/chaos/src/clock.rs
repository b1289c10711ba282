//! One clock for all processes: nanoseconds since the machine was started, the time spent asleep included. It is the
//! clock that leases are measured by, and no fault touches it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment, in nanoseconds; comparable between processes.
pub(crate) type Nanos = u64;

/// Now.
pub(crate) fn now() -> Nanos {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// A length in nanoseconds.
pub(crate) fn nanos(length: Duration) -> Nanos {
    u64::try_from(length.as_nanos()).unwrap_or(Nanos::MAX)
}

/// Seconds from one moment to a later one.
pub(crate) fn seconds(from: Nanos, to: Nanos) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
}
