//! What a simulated network does to those who use it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What befalls the traffic between one handle and its node. The default is a perfect network
/// without latency.
///
/// ```
/// use std::time::Duration;
/// use redlock::{Redlock, SimNetwork, SimNode};
///
/// let node = SimNode::new("far away");
/// let slow = SimNetwork::new().latency(Duration::from_millis(1)..=Duration::from_millis(9)).loss(0.01);
/// let redlock = Redlock::builder().node(node.over(slow, 42)).build()?;
/// # Ok::<(), redlock::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct SimNetwork {
    pub(super) latency: RangeInclusive<Duration>,
    pub(super) request_loss: f64,
    pub(super) reply_loss: f64,
    pub(super) duplication: f64,
    pub(super) notice: Duration,
}

impl Default for SimNetwork {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO..=Duration::ZERO,
            request_loss: 0.0,
            reply_loss: 0.0,
            duplication: 0.0,
            notice: Duration::from_secs(5),
        }
    }
}

impl SimNetwork {
    /// A perfect network without latency.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long every request, and every answer, is under way. Default: not at all.
    pub fn latency(mut self, latency: RangeInclusive<Duration>) -> Self {
        self.latency = latency;
        self
    }

    /// How likely a request is lost, and an answer. Default: never.
    pub fn loss(mut self, probability: f64) -> Self {
        (self.request_loss, self.reply_loss) = (probability, probability);
        self
    }

    /// How likely a request is lost. One is a partition in that direction. Default: never.
    pub fn request_loss(mut self, probability: f64) -> Self {
        self.request_loss = probability;
        self
    }

    /// How likely an answer is lost. One is a partition in that direction. Default: never.
    pub fn reply_loss(mut self, probability: f64) -> Self {
        self.reply_loss = probability;
        self
    }

    /// How likely an answer comes twice. Default: never.
    pub fn duplication(mut self, probability: f64) -> Self {
        self.duplication = probability;
        self
    }

    /// How long it takes at most until a client gives up a connection that is dead. Default: 5 s.
    pub fn notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }
}
