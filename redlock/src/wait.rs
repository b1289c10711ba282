//! How long to pause between attempts.

use std::time::Duration;

use crate::chance::Chance;

/// Longest pause: a release is noticed within it.
const LONGEST: Duration = Duration::from_millis(100);
/// Shortest pause: about the round trip that another contender needs to finish its round.
const SHORTEST: Duration = Duration::from_millis(2);

/// Decorrelated jitter: each pause is drawn between the shortest and three times the last one, so
/// that contenders who collided once do not collide again
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug)]
pub(crate) struct Backoff {
    last: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { last: SHORTEST }
    }

    /// The next pause; not beyond `remaining`, the time after which the resource is free for
    /// certain, by more than the shortest pause.
    pub(crate) fn next(&mut self, remaining: Option<Duration>, chance: &Chance) -> Duration {
        let most = (self.last * 3).min(LONGEST).max(SHORTEST * 2);
        self.last = chance.between(SHORTEST, most);
        match remaining {
            Some(remaining) => self.last.min(remaining.saturating_add(SHORTEST)),
            None => self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_and_stay_in_bounds() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..200).map(|_| backoff.next(None, &Chance::System)).collect();
        assert!(pauses.iter().all(|p| (SHORTEST..=LONGEST).contains(p)));
        assert!(pauses.iter().any(|p| *p > LONGEST / 3), "it grows");
        assert!(pauses.windows(2).any(|w| w[0] != w[1]), "it has jitter");
    }

    #[test]
    fn a_lease_about_to_end_is_not_slept_over() {
        let mut backoff = Backoff::new();
        for _ in 0..50 {
            let pause = backoff.next(Some(Duration::from_millis(1)), &Chance::System);
            assert!(pause <= Duration::from_millis(3));
        }
    }
}
