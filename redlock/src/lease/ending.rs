//! How a lease ends: handed over in this process, or released on every node that may hold it.

use std::sync::{Arc, PoisonError};

use super::{Core, Lease, LeaseTerms, Left};
use crate::error::{LossReason, Released};
use crate::line::Want;
use crate::meters;
use crate::quorum::Outcome;
use crate::round::{Until, Verdict};

impl Core {
    /// Ends the lease. Unless it goes on in this process, sends its release to every node that may
    /// hold it; needs no runtime.
    pub(crate) fn release(&self) -> Left {
        let was_valid = self.let_go();
        self.shared.renewals.forget(self);
        let next = |want| if was_valid { self.successor(want) } else { None };
        if self.shared.lines.pass_on(self, next) {
            meters::handed_over();
            return Left::Handed;
        }
        let healed = self.lock().healed;
        let reached = |node: usize| healed || !self.missed.contains(&node);
        Left::Released { was_valid, round: self.shared.release(&self.claim, reached, true) }
    }

    /// Ends the lease because nobody wants it any more; false if it was over before. Either way no heal is
    /// under way when this returns, and none will be sent.
    fn let_go(&self) -> bool {
        let was_over = self.loss().is_some();
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.end(self.lock(), LossReason::Released) == LossReason::Released && !was_over
    }

    /// The lease that follows this one in this process, for somebody who wants the same: the same
    /// claim on the same nodes with the next token.
    fn successor(&self, want: Want) -> Option<Lease> {
        let now = self.shared.clock.now();
        let state = self.lock();
        let left = state.deadline.since(now);
        if want.ttl != state.ttl || left.is_zero() || state.last {
            return None;
        }
        let token = self.chain.next(self.token, now).filter(|token| *token >= want.floor)?;
        let terms = LeaseTerms {
            start: now,
            deadline: state.deadline,
            ttl: want.ttl,
            token,
            chain: self.chain,
            // When the lease would have been renewed anyway.
            renew_at: want.renew.then(|| now.after(left.saturating_sub(want.ttl * 2 / 3))),
            max_hold: want.max_hold,
        };
        let healed = state.healed;
        drop(state);
        let lease = Lease::new(Arc::clone(&self.shared), Arc::clone(&self.claim), self.missed.clone(), &terms);
        lease.core.lock().healed = healed;
        Some(lease)
    }

    pub(crate) async fn released(&self) -> Released {
        let Left::Released { was_valid, round } = self.release() else {
            return Released::Released;
        };
        let verdict = round.wait_by(&self.shared.deadlines, Until::Decided, self.shared.terms.node_timeout).await;
        verdict.released(was_valid)
    }
}

impl Verdict {
    /// What a round of releases amounts to.
    fn released(&self, was_valid: bool) -> Released {
        let over = !was_valid || self.tally.refuted();
        match self.outcome {
            Outcome::Won if was_valid => Released::Released,
            _ if over => Released::AlreadyExpired,
            _ => Released::Unconfirmed,
        }
    }
}
