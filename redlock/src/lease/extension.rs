//! How a lease goes on: extended on a quorum, and only then given back to nodes that had lost it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Core;
use crate::error::{ExtendError, LossReason};
use crate::failpoint;
use crate::meters;
use crate::node::{Reply, Request};
use crate::quorum::Outcome;
use crate::renewal;
use crate::round::{Asked, Round, Until, Verdict};

impl Core {
    /// One extension round: success is a quorum, over all nodes, of those that still held the
    /// value, within the old validity. Only then may nodes that had lost the key get it back.
    pub(super) async fn extend(&self, ttl: Duration, limit: Duration) -> Result<Arc<Round>, ExtendError> {
        let shared = &self.shared;
        if let Some(reason) = self.loss() {
            return Err(ExtendError::Lost(reason));
        }
        let start = shared.clock.now();
        let round = Round::ask(&shared.nodes, |_| {
            Asked::Request(Request::Extend { claim: Arc::clone(&self.claim), ttl, token: self.chain.top })
        });
        let verdict = round.wait_by(&shared.deadlines, Until::Decided, limit).await;
        if failpoint::planted("heal-before-quorum") {
            self.heal(&round, ttl).await;
        }
        if let Some(reason) = self.loss() {
            return Err(ExtendError::Lost(reason));
        }
        let elapsed = shared.clock.now().since(start);
        match (failpoint::outcome(&verdict), shared.terms.validity(ttl, elapsed)) {
            (Outcome::Won, Some(validity)) => {
                let mut state = self.lock();
                state.deadline = state.deadline.max(start.after(elapsed + validity));
                if state.renew_at.is_some() {
                    state.renew_at = Some(start.after(renewal::pause(ttl, &shared.chance)));
                }
                drop(state);
                meters::extended(None);
                Ok(round)
            }
            _ => {
                let error = self.not_extended(&verdict);
                meters::extended(Some(&error));
                Err(error)
            }
        }
    }

    /// Gives the lease back to the nodes that had lost it, once every node has answered the
    /// extension or the node timeout is over. Nobody waits for the answers: healed nodes count in
    /// the next extension. Sent only while it stands, so that on every connection a release
    /// comes after it.
    pub(crate) async fn heal(&self, extended: &Arc<Round>, ttl: Duration) {
        let verdict =
            extended.wait_by(&self.shared.deadlines, Until::Complete, self.shared.terms.round_limit(ttl)).await;
        let lost = |answer: &Option<_>| matches!(answer, Some(Ok(Reply::NotHeld)));
        if !verdict.answers.iter().any(lost) || self.loss().is_some() && !failpoint::planted("heal-before-quorum") {
            return;
        }
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if state.loss.is_some() && !failpoint::planted("heal-before-quorum") {
            return;
        }
        state.healed = true;
        drop(state);
        meters::healed();
        tracing::info!(keys = ?self.claim.keys(), "giving a lease back to nodes that lost it");
        Round::ask(&self.shared.nodes, |node| match &verdict.answers[node] {
            Some(Ok(Reply::NotHeld)) => {
                Asked::Request(Request::Heal { claim: Arc::clone(&self.claim), ttl, token: self.chain.top })
            }
            _ => Asked::Answer(Ok(Reply::Done)),
        });
    }

    fn not_extended(&self, verdict: &Verdict) -> ExtendError {
        if verdict.tally.refuted() {
            return ExtendError::Lost(self.end(self.lock(), LossReason::Quorum));
        }
        self.retry_renewal();
        ExtendError::Unavailable { nodes: verdict.failures(&self.shared.nodes) }
    }

    /// After a renewal without a quorum: sooner and sooner as the deadline comes closer.
    fn retry_renewal(&self) {
        let now = self.shared.clock.now();
        let mut state = self.lock();
        let pause = (state.deadline.since(now) / 4).max(Duration::from_millis(5));
        if let Some(at) = &mut state.renew_at {
            *at = now.after(pause).min(*at);
        }
    }

    /// One renewal by the renewal task: the round, after which nodes may have to be healed, and the ttl.
    /// Failures are for the log, loss is told by `lost`.
    pub(crate) async fn renew(&self) -> Option<(Arc<Round>, Duration)> {
        let ttl = self.lock().ttl;
        // Not as long as a node may take: a late quorum is a quorum, and asking again would only add to
        // what a slow node has to do. Nor as long as the lease has: a node that was away may be back.
        let left = self.validity();
        let limit = left.min((left / 3).max(self.shared.terms.node_timeout));
        match self.extend(ttl, limit).await {
            Ok(round) => Some((round, ttl)),
            Err(error) => {
                tracing::debug!(keys = ?self.claim.keys(), %error, "renewal failed");
                None
            }
        }
    }

    /// Asks for a renewal at once, in place of one that was cut short.
    pub(crate) fn renew_again(&self) {
        let now = self.shared.clock.now();
        if let Some(at) = &mut self.lock().renew_at {
            *at = now;
        }
    }

    /// Sees to it that a lease that was handed over has most of its time left; false where it could
    /// not be extended.
    pub(crate) async fn refresh(&self) -> bool {
        let now = self.shared.clock.now();
        let (ttl, left) = {
            let state = self.lock();
            (state.ttl, state.deadline.since(now))
        };
        if left > ttl / 2 {
            return true;
        }
        let limit = self.shared.terms.round_limit(ttl);
        let extended = self.extend(ttl, limit).await.is_ok();
        self.lock().last = !extended;
        extended
    }
}
