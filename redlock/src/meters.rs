//! What happens, counted and timed through the `metrics` facade (feature `metrics`); without the feature
//! nothing of it is left. What there is, is in `docs/metrics.md`.

#![cfg_attr(not(feature = "metrics"), allow(unused_variables, reason = "nobody looks at what there is to report"))]

use std::time::Duration;

#[cfg(feature = "metrics")]
use ::metrics::{counter, histogram};

use crate::error::{ExtendError, LockError, LossReason};
use crate::quorum::Tally;

/// A round of acquisition was decided, or its time was up.
pub(crate) fn round(took: Duration, tally: &Tally) {
    #[cfg(feature = "metrics")]
    {
        histogram!("redlock_round_seconds").record(took.as_secs_f64());
        for (vote, count) in tally.votes() {
            counter!("redlock_votes_total", "vote" => vote).increment(count as u64);
        }
    }
}

/// An attempt is over.
pub(crate) fn attempt(error: Option<&LockError>) {
    #[cfg(feature = "metrics")]
    {
        let outcome = match error {
            None => "won",
            Some(LockError::Contended { .. }) => "contended",
            Some(LockError::Unavailable { .. }) => "unavailable",
            Some(_) => "invalid",
        };
        counter!("redlock_attempts_total", "outcome" => outcome).increment(1);
    }
}

/// A lock is held, after so long.
pub(crate) fn granted(waited: Duration) {
    #[cfg(feature = "metrics")]
    histogram!("redlock_wait_seconds").record(waited.as_secs_f64());
}

/// A lease was passed on.
pub(crate) fn handed_over() {
    #[cfg(feature = "metrics")]
    counter!("redlock_handovers_total").increment(1);
}

/// An extension is over.
pub(crate) fn extended(error: Option<&ExtendError>) {
    #[cfg(feature = "metrics")]
    {
        let outcome = match error {
            None => "extended",
            Some(ExtendError::Lost(_)) => "lost",
            Some(_) => "failed",
        };
        counter!("redlock_renewals_total", "outcome" => outcome).increment(1);
    }
}

/// A lease is given back to nodes that had lost it.
pub(crate) fn healed() {
    #[cfg(feature = "metrics")]
    counter!("redlock_heals_total").increment(1);
}

/// A node has answered a command.
#[cfg(feature = "redis")]
pub(crate) fn answered(node: &str, since: tokio::time::Instant) {
    #[cfg(feature = "metrics")]
    histogram!("redlock_command_seconds", "node" => node.to_owned()).record(since.elapsed().as_secs_f64());
}

/// A lease is over, after so long and with so much left.
pub(crate) fn over(held: Duration, left: Duration, reason: LossReason) {
    #[cfg(feature = "metrics")]
    {
        histogram!("redlock_held_seconds").record(held.as_secs_f64());
        let reason = match reason {
            LossReason::Released => return histogram!("redlock_validity_left_seconds").record(left.as_secs_f64()),
            LossReason::Deadline => "deadline",
            LossReason::Quorum => "quorum",
            LossReason::MaxHold => "max_hold",
        };
        counter!("redlock_lost_total", "reason" => reason).increment(1);
    }
}
