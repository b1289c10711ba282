//! Bugs that can be planted: a simulation must find each of them, or it would not find others.
//!
//! Without the feature `failpoints` everything here is compiled away.

use crate::quorum::Outcome;
use crate::round::Verdict;

/// Whether the bug called `name` is planted in this process.
#[cfg(feature = "failpoints")]
pub(crate) fn planted(name: &str) -> bool {
    fail::eval(name, |_| ()).is_some()
}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}

/// How a round of extensions ended. The bug `quorum-over-granted` counts over the nodes that
/// answered instead of over all of them.
pub(crate) fn outcome(verdict: &Verdict) -> Outcome {
    if planted("quorum-over-granted") && verdict.is_won_over_answered() {
        return Outcome::Won;
    }
    verdict.outcome
}

impl Verdict {
    fn is_won_over_answered(&self) -> bool {
        use crate::node::Reply;
        let answered = self.answers.iter().flatten().flatten();
        let (yes, no): (Vec<_>, Vec<_>) = answered.partition(|reply| **reply == Reply::Done);
        !yes.is_empty() && yes.len() >= crate::quorum::quorum(yes.len() + no.len())
    }
}
