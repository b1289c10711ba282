//! The terms under which leases are taken: what is possible, and what is left of it.

use std::time::Duration;

use crate::error::{ConfigError, TtlProblem};
use crate::restart::RestartGuard;
use crate::validity::{MAX_TTL, drift, validity};

/// The terms under which leases are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) node_timeout: Duration,
    pub(crate) drift_factor: f64,
}

impl Terms {
    /// Whether a lease of `ttl` is possible.
    pub(crate) fn check(&self, ttl: Duration) -> Result<(), TtlProblem> {
        if ttl > self.max_ttl {
            return Err(TtlProblem::AboveMax { max_ttl: self.max_ttl });
        }
        let drift = drift(ttl, self.drift_factor);
        if ttl <= drift { Err(TtlProblem::NotAboveDrift { drift }) } else { Ok(()) }
    }

    /// What is left of a lease of `ttl` after `elapsed`, if anything is.
    pub(crate) fn validity(&self, ttl: Duration, elapsed: Duration) -> Option<Duration> {
        validity(ttl, elapsed, self.drift_factor)
    }

    /// How long a round for a lease of `ttl` may take: longer than the lease makes no sense.
    pub(crate) fn round_limit(&self, ttl: Duration) -> Duration {
        self.node_timeout.min(ttl)
    }

    /// How long a restarted node stays out.
    pub(crate) fn quarantine(&self, guard: RestartGuard) -> Option<Duration> {
        match guard {
            RestartGuard::MaxTtl => {
                // A node's uptime is in whole seconds: it may be up to one younger than it says.
                Some(self.max_ttl + drift(self.max_ttl, self.drift_factor) + Duration::from_secs(1))
            }
            RestartGuard::For(quarantine) => Some(quarantine),
            RestartGuard::Off => None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let &Self { ttl, max_ttl, node_timeout: timeout, drift_factor: factor } = self;
        if !(0.0..=0.5).contains(&factor) {
            return Err(ConfigError::InvalidDriftFactor { factor });
        }
        if timeout.is_zero() {
            return Err(ConfigError::InvalidNodeTimeout { timeout });
        }
        if max_ttl < ttl {
            return Err(ConfigError::MaxTtlBelowTtl { max_ttl, ttl });
        }
        if max_ttl > MAX_TTL {
            return Err(ConfigError::MaxTtlTooLong { max_ttl, allowed: MAX_TTL });
        }
        self.check(ttl).map_err(|problem| ConfigError::InvalidTtl { ttl, problem })
    }
}
