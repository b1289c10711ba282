//! From a seed to a kind of world.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redlock::{RestartGuard, SimNetwork};

/// What clocks may be wrong by; the managers allow for as much.
pub(crate) const DRIFT: f64 = 0.01;

/// What a seed stands for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) managers: usize,
    pub(crate) tasks: usize,
    /// How often the world works and comes to rest.
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    pub(crate) ttl: Duration,
    pub(crate) node_timeout: Duration,
    pub(crate) restart_guard: RestartGuard,
    /// Whether restarted nodes may have forgotten everything; wall clocks agree then, because
    /// tokens lean on them where counters are lost.
    pub(crate) amnesia: bool,
    /// Between faults.
    pub(crate) quiet: RangeInclusive<Duration>,
    latency: Duration,
    loss: f64,
    duplication: f64,
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let amnesia = rng.random_bool(0.5);
        let guarded = amnesia || rng.random_bool(0.2);
        let without = crate::bug().as_deref() == Some("restart-guard-off");
        let busy = rng.random_range(20..400);
        Self {
            seed,
            nodes: if rng.random_bool(0.7) { 3 } else { 5 },
            managers: rng.random_range(2..=3),
            tasks: rng.random_range(1..=2),
            rounds: 2,
            round: millis(2_500),
            ttl: millis(rng.random_range(400..1_500)),
            node_timeout: millis(rng.random_range(30..120)),
            restart_guard: if guarded && !without { RestartGuard::MaxTtl } else { RestartGuard::Off },
            amnesia,
            quiet: millis(busy)..=millis(4 * busy),
            latency: millis(rng.random_range(1..30)),
            loss: if rng.random_bool(0.5) { rng.random_range(0.0..0.02) } else { 0.0 },
            duplication: if rng.random_bool(0.3) { 0.1 } else { 0.0 },
        }
    }

    /// A generator for one part of the world, apart from all others.
    pub(crate) fn rng(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ (part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The network on an ordinary day.
    pub(crate) fn network(&self) -> SimNetwork {
        SimNetwork::new()
            .latency(millis(1)..=self.latency + millis(1))
            .loss(self.loss)
            .duplication(self.duplication)
            .notice(millis(200))
    }

    /// The network where everybody is to come to rest.
    pub(crate) fn calm() -> SimNetwork {
        SimNetwork::new().latency(millis(1)..=millis(1)).notice(millis(200))
    }
}
