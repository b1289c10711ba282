//! The clock leases are measured with: monotonic, and running while the machine is suspended.
//!
//! A lease must end when the laptop's lid is closed, and std's `Instant` stops there on Linux.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// A point on the lease clock; only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// Time from `earlier` to here, zero if that lies ahead.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }
}

/// Where moments and the time of day come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// `CLOCK_BOOTTIME` on Linux, the monotonic clock elsewhere.
    System,
    /// Tokio's clock, which tests pause and drive.
    Tokio {
        /// Unix time of moment zero.
        epoch: Duration,
    },
}

impl Clock {
    /// Tokio's clock, showing the real time of day now.
    pub(crate) fn tokio() -> Self {
        Self::Tokio { epoch: unix_time().saturating_sub(tokio_time()) }
    }

    /// Tokio's clock, showing the same time of day at the start of every run.
    #[cfg(feature = "sim")]
    pub(crate) fn replayed() -> Self {
        let start = Duration::from_secs(1_700_000_000);
        Self::Tokio { epoch: start.saturating_sub(tokio_time()) }
    }

    pub(crate) fn now(self) -> Moment {
        match self {
            Self::System => Moment(boot_time()),
            Self::Tokio { .. } => Moment(tokio_time()),
        }
    }

    /// Microseconds since 1970, by the wall clock: may jump, and promises nothing.
    pub(crate) fn unix_micros(self) -> u64 {
        let time = match self {
            Self::System => unix_time(),
            Self::Tokio { epoch } => epoch + tokio_time(),
        };
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    }
}

fn tokio_time() -> Duration {
    tokio::time::Instant::now().saturating_duration_since(anchor())
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A point before any instant a test can see. A paused clock starts at the real time at which it
/// was made, so an anchor taken on first use could lie ahead of another runtime's clock.
fn anchor() -> tokio::time::Instant {
    static ANCHOR: OnceLock<std::time::Instant> = OnceLock::new();
    let day = Duration::from_secs(24 * 60 * 60);
    let early = || {
        let now = std::time::Instant::now();
        now.checked_sub(day).unwrap_or(now)
    };
    (*ANCHOR.get_or_init(early)).into()
}

#[cfg(target_os = "linux")]
fn boot_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn boot_time() -> Duration {
    tokio::time::Instant::from_std(std::time::Instant::now()).saturating_duration_since(anchor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_forward() {
        let first = Clock::System.now();
        while Clock::System.now() == first {}
        assert!(Clock::System.now() > first);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_is_the_paused_one() {
        let clock = Clock::tokio();
        let (first, day) = (clock.now(), clock.unix_micros());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now().since(first), Duration::from_secs(3));
        assert_eq!(first.since(clock.now()), Duration::ZERO);
        assert_eq!(clock.unix_micros() - day, 3_000_000);
    }
}
