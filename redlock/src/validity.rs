//! Ttl and drift to validity: arithmetic only, no clock.

use std::time::Duration;

/// The fixed part of the drift: Redis expires keys with a resolution of a millisecond, on both
/// ends of the lease.
pub(crate) const DRIFT_FLOOR: Duration = Duration::from_millis(2);

/// Longest lease. Fencing counters live seven days after their last use, so no lease may outlive
/// its counter.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What clocks may differ by over a lease: `ttl × factor + 2 ms`, as the Redlock page has it
/// (<https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/>).
pub(crate) fn drift(ttl: Duration, factor: f64) -> Duration {
    ttl.mul_f64(factor) + DRIFT_FLOOR
}

/// What is left of a lease when its round took `elapsed`: `ttl − elapsed − drift`, or `None` when
/// nothing is left.
pub(crate) fn validity(ttl: Duration, elapsed: Duration, factor: f64) -> Option<Duration> {
    ttl.checked_sub(elapsed)?.checked_sub(drift(ttl, factor)).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ten_second_lease_loses_its_round_and_its_drift() {
        let left = validity(Duration::from_secs(10), Duration::from_millis(8), 0.01);
        assert_eq!(left, Some(Duration::from_millis(10_000 - 8 - 100 - 2)));
    }

    #[test]
    fn nothing_is_left_of_a_ttl_that_drift_uses_up() {
        assert_eq!(validity(Duration::from_millis(2), Duration::ZERO, 0.01), None);
        assert_eq!(validity(Duration::from_micros(1), Duration::ZERO, 0.01), None);
    }

    proptest! {
        #[test]
        fn validity_is_below_the_ttl_and_never_underflows(
            ttl in 0..=MAX_TTL.as_nanos(), elapsed in 0..=u128::from(u64::MAX), factor in 0.0..0.5
        ) {
            let nanos = |n: u128| Duration::from_nanos(u64::try_from(n).unwrap());
            if let Some(left) = validity(nanos(ttl), nanos(elapsed), factor) {
                prop_assert!(left < nanos(ttl));
                prop_assert!(left + nanos(elapsed) < nanos(ttl));
            }
        }
    }
}
