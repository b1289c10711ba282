//! Leases handed over inside a process: a range of tokens, and how long the process may keep them
//! from others.
//!
//! An acquisition reserves a range of tokens on the nodes by recording its top; each hand-over
//! takes the next one, so tokens grow as if the nodes had been asked.

use std::time::Duration;

use crate::clock::Moment;
use crate::failpoint::planted;
use crate::fencing::FencingToken;

/// How many tokens an acquisition reserves when others of its process wait: enough that asking the
/// nodes is the exception. Not more, because proposals follow the time of day in microseconds, and
/// tokens that are used up faster run ahead of it.
const SPAN: u32 = 256;

/// How long a process keeps a lease to itself that nobody else is known to want. Somebody may have
/// come since without a chance to say so.
const ALONE: Duration = Duration::from_millis(100);

/// How long, where other processes wait: a few short sections, so that the way between the
/// processes does not cost more than the work.
const SHARED: Duration = Duration::from_millis(20);

/// What an acquisition has to hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The largest token reserved.
    pub(crate) top: FencingToken,
    /// When handing over ends.
    until: Moment,
}

impl Chain {
    /// How many tokens to reserve.
    pub(crate) fn span(company: bool) -> u32 {
        if company { SPAN } else { 1 }
    }

    /// A chain that begins now, with tokens up to `top`.
    pub(crate) fn new(top: FencingToken, now: Moment, others: bool) -> Self {
        Self { top, until: now.after(if others { SHARED } else { ALONE }) }
    }

    /// The token for the lease after the one with `token`, if there may be one now.
    pub(crate) fn next(&self, token: FencingToken, now: Moment) -> Option<FencingToken> {
        let next = token.above(u64::from(!planted("hand-over-repeats-token")))?;
        (next <= self.top && now < self.until).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn token(number: u64) -> FencingToken {
        FencingToken::new(number).unwrap()
    }

    #[test]
    fn it_ends_with_its_tokens() {
        let now = Clock::System.now();
        let chain = Chain::new(token(10), now, false);
        assert_eq!(chain.next(token(8), now), Some(token(9)));
        assert_eq!(chain.next(token(9), now), Some(token(10)));
        assert_eq!(chain.next(token(10), now), None);
    }

    #[test]
    fn it_ends_with_its_time_and_sooner_where_others_wait() {
        let now = Clock::System.now();
        for (others, limit) in [(false, ALONE), (true, SHARED)] {
            let chain = Chain::new(token(10), now, others);
            assert!(chain.next(token(1), now.after(limit - Duration::from_nanos(1))).is_some());
            assert_eq!(chain.next(token(1), now.after(limit)), None);
        }
        assert!(SHARED < ALONE);
    }
}
