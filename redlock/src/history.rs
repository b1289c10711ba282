//! How long a node stays out, by what it says of its start and by what we saw of it before.

use std::time::Duration;

use crate::clock::Moment;

/// How far a node's wall clock may be from ours for its uptime to be believed.
const CREDIBLE: Duration = Duration::from_secs(1);

/// What a node says of its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uptime {
    /// In whole seconds, by the node's wall clock; negative when that was pushed back.
    pub(crate) seconds: i64,
    /// How far the node's wall clock is from ours.
    pub(crate) clock_off: Duration,
}

/// What is remembered of a node over its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The server seen last, when it was seen first, and whether another one was seen before.
    last: Option<(String, Moment, bool)>,
}

impl History {
    /// Takes in a new connection at `now`; answers until when the node stays out.
    ///
    /// The uptime is believed where the node's clock agrees with ours. Where it does not, or
    /// where another server was here before, only our own sight of this one counts.
    pub(crate) fn connected(&mut self, run_id: &str, uptime: Uptime, quarantine: Duration, now: Moment) -> Moment {
        let (first_seen, replaced) = match &self.last {
            Some((last, first_seen, replaced)) if last == run_id => (*first_seen, *replaced),
            Some(_) => (now, true),
            None => (now, false),
        };
        self.last = Some((run_id.to_owned(), first_seen, replaced));
        let by_sight = first_seen.after(quarantine);
        match u64::try_from(uptime.seconds) {
            Ok(up) if uptime.clock_off <= CREDIBLE && !replaced => {
                let left = quarantine.saturating_sub(Duration::from_secs(up));
                now.after(left).min(by_sight)
            }
            _ => by_sight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const GUARD: Duration = Duration::from_secs(11);

    fn up(seconds: i64) -> Uptime {
        Uptime { seconds, clock_off: Duration::ZERO }
    }

    fn left(history: &mut History, run_id: &str, uptime: Uptime, now: Moment) -> u64 {
        history.connected(run_id, uptime, GUARD, now).since(now).as_secs()
    }

    #[test]
    fn a_young_node_waits_for_the_rest() {
        let now = Clock::System.now();
        assert_eq!(left(&mut History::default(), "a", up(0), now), 11);
        assert_eq!(left(&mut History::default(), "a", up(4), now), 7);
        assert_eq!(left(&mut History::default(), "a", up(3600), now), 0);
    }

    #[test]
    fn a_reconnect_to_the_same_server_does_not_start_anew() {
        let now = Clock::System.now();
        let mut history = History::default();
        assert_eq!(left(&mut history, "a", up(0), now), 11);
        assert_eq!(left(&mut history, "a", up(8), now.after(Duration::from_secs(8))), 3);
    }

    #[test]
    fn another_server_waits_in_full_however_old_it_says_it_is() {
        let now = Clock::System.now();
        let mut history = History::default();
        assert_eq!(left(&mut history, "a", up(3600), now), 0);
        assert_eq!(left(&mut history, "b", up(7200), now), 11);
        assert_eq!(left(&mut history, "b", up(7205), now.after(Duration::from_secs(5))), 6);
        assert_eq!(left(&mut history, "b", up(7220), now.after(Duration::from_secs(20))), 0);
    }

    #[test]
    fn an_uptime_that_cannot_be_believed_is_not() {
        let now = Clock::System.now();
        let off = Uptime { seconds: 3602, clock_off: Duration::from_secs(3600) };
        assert_eq!(left(&mut History::default(), "a", off, now), 11);
        assert_eq!(left(&mut History::default(), "a", up(-3600), now), 11);
    }
}
