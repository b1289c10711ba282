//! Attempts: a round, its roll-back when it fails, a pause, the next one.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::clock::Moment;
use crate::error::{Cause, LockError, NodeError, NodeFailure, TtlProblem};
use crate::failpoint;
use crate::fencing::{FencingToken, MAX_FENCE_FLOOR, Settlement};
use crate::guard::Guard;
use crate::lease::{Lease, LeaseTerms};
use crate::node::{Reply, Request};
use crate::quorum::{Outcome, quorum};
use crate::resource::{Claim, Resource};
use crate::round::{Asked, Round, Until, Verdict};
use crate::shared::Shared;
use crate::wait::Backoff;

/// What is asked for; [`acquire`] checks it.
pub(crate) struct Wanted {
    pub(crate) resource: Resource,
    pub(crate) ttl: Duration,
    pub(crate) renew: bool,
    /// When the lease ends whatever renewals say.
    pub(crate) max_hold: Option<Duration>,
    /// The token must be above this.
    pub(crate) floor: Option<u64>,
    pub(crate) patience: Patience,
}

/// How often to try.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// One round.
    Once,
    /// Again and again, for so long; `None` for ever.
    Wait(Option<Duration>),
}

/// Acquires, or says why not.
pub(crate) async fn acquire(shared: Arc<Shared>, wanted: Wanted) -> Result<Guard, LockError> {
    let ttl = wanted.ttl;
    shared.terms.check(ttl).map_err(|problem| LockError::InvalidTtl { ttl, problem })?;
    let keys = wanted.resource.keys(&shared.prefix)?;
    let floor = floor(&wanted)?;
    let span = tracing::debug_span!("lock", resource = %wanted.resource, ?ttl);
    if wanted.max_hold.is_some_and(|hold| hold.is_zero()) {
        return Err(LockError::InvalidMaxHold);
    }
    let attempts = attempts(&shared, &wanted, &keys, floor);
    attempts.instrument(span).await
}

/// The smallest token that will do, as far as the caller knows.
fn floor(wanted: &Wanted) -> Result<FencingToken, LockError> {
    let above = wanted.floor.map_or(Some(0), |floor| floor.checked_add(1));
    let refused = || LockError::InvalidFenceFloor { floor: wanted.floor.unwrap_or_default() };
    above.filter(|above| *above <= MAX_FENCE_FLOOR + 1).and_then(FencingToken::new).ok_or_else(refused)
}

async fn attempts(
    shared: &Arc<Shared>,
    wanted: &Wanted,
    keys: &Arc<[String]>,
    floor: FencingToken,
) -> Result<Guard, LockError> {
    let start = shared.clock.now();
    shared.meet().await;
    let mut backoff = Backoff::new();
    loop {
        let error = match Attempt::new(shared, keys, wanted.ttl, floor).run(wanted).await {
            Ok(guard) => return Ok(guard),
            Err(error) => error,
        };
        tracing::debug!(%error, "attempt failed");
        let Patience::Wait(wait) = wanted.patience else {
            return Err(error);
        };
        let waited = shared.clock.now().since(start);
        let left = wait.map(|wait| wait.saturating_sub(waited));
        if left == Some(Duration::ZERO) {
            let resource = wanted.resource.to_string();
            return Err(LockError::TimedOut { resource, waited, last: Box::new(error) });
        }
        let free_in = match error {
            LockError::Contended { retry_after, .. } => Some(retry_after),
            _ => None,
        };
        let pause = backoff.next(free_in, &shared.chance);
        tokio::time::sleep(pause.min(left.unwrap_or(pause))).await;
    }
}

/// One attempt. Dropped before it became a guard (lost, late, or its future was dropped), it
/// sends its release to every node, behind the acquire on the same connection.
struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    claim: Arc<Claim>,
    start: Moment,
    round: Arc<Round>,
    won: bool,
}

impl<'a> Attempt<'a> {
    /// Sends the acquire to every node.
    fn new(shared: &'a Arc<Shared>, keys: &Arc<[String]>, ttl: Duration, floor: FencingToken) -> Self {
        // Taken before the first byte is sent: the nodes' clocks can only start later.
        let start = shared.clock.now();
        let claim = Arc::new(Claim::new(Arc::clone(keys), shared.fresh_value()));
        let span = 1;
        let proposal = shared.proposal(keys, floor, span);
        let round = Round::ask(&shared.nodes, |_| {
            Asked::Request(Request::Acquire { claim: Arc::clone(&claim), ttl, proposal, span })
        });
        Self { shared, claim, start, round, won: false }
    }

    async fn run(mut self, wanted: &Wanted) -> Result<Guard, LockError> {
        let limit = self.shared.terms.round_limit(wanted.ttl);
        let verdict = self.round.wait(Until::Decided, limit).await;
        if failpoint::planted("validity-from-reply") {
            self.start = self.shared.clock.now();
        }
        if verdict.outcome != Outcome::Won || verdict.has_twins() {
            return Err(self.explain(&verdict, wanted));
        }
        let token = self.settle(&verdict, wanted).await?;
        let elapsed = self.shared.clock.now().since(self.start);
        let Some(validity) = self.shared.terms.validity(wanted.ttl, elapsed) else {
            let problem = TtlProblem::UsedUp { round: elapsed };
            return Err(LockError::InvalidTtl { ttl: wanted.ttl, problem });
        };
        self.won = true;
        self.shared.memory.remember(self.claim.keys(), token);
        let terms = LeaseTerms {
            start: self.start,
            deadline: self.start.after(elapsed + validity),
            ttl: wanted.ttl,
            token,
            renew: wanted.renew,
            max_hold: wanted.max_hold,
        };
        let (claim, round) = (Arc::clone(&self.claim), Arc::clone(&self.round));
        let lease = Lease::new(Arc::clone(self.shared), claim, round, &terms);
        self.shared.renewals.note(lease.core());
        tracing::debug!(?validity, %token, "acquired");
        Ok(Guard::new(lease))
    }

    /// The token of a won round. Where fewer than a quorum of nodes granted exactly this one it
    /// is written back first, to the nodes that granted another; those count that still hold the claim.
    async fn settle(&self, verdict: &Verdict, wanted: &Wanted) -> Result<FencingToken, LockError> {
        let nodes = &self.shared.nodes;
        let Some(settlement) = Settlement::of(verdict.tokens()) else {
            return Err(self.explain(verdict, wanted));
        };
        let token = settlement.token;
        if !settlement.needs_write_back(quorum(nodes.len())) {
            return Ok(token);
        }
        tracing::debug!(%token, "nodes granted different tokens; writing back");
        let round = Round::ask(nodes, |node| match &verdict.answers[node] {
            Some(Ok(Reply::Granted { token: granted })) if *granted == token => Asked::Answer(Ok(Reply::Done)),
            Some(Ok(Reply::Granted { .. })) => Asked::Request(Request::Raise { claim: Arc::clone(&self.claim), token }),
            // It may have granted since, and a larger token: somebody else's may be there who came
            // in between, and ours would not be the larger one.
            None => Asked::Answer(Err(NodeError::unsent(Cause::Timeout, "had not granted when the round was won"))),
            Some(refused) => Asked::Answer(refused.clone()),
        });
        let limit = self.shared.terms.round_limit(wanted.ttl);
        let recorded = round.wait(Until::Decided, limit).await;
        match recorded.outcome {
            Outcome::Won => Ok(token),
            _ => Err(self.unrecorded(&recorded, wanted)),
        }
    }

    /// Some nodes no longer held the lock when the token came, or did not answer.
    fn unrecorded(&self, recorded: &Verdict, wanted: &Wanted) -> LockError {
        let gone = NodeError::new(Cause::Protocol, "the key was gone before the token was recorded");
        let shared = self.shared;
        let mut nodes = recorded.failures(&shared.nodes);
        for (node, answer) in shared.nodes.iter().zip(&recorded.answers) {
            if matches!(answer, Some(Ok(Reply::NotHeld))) {
                nodes.push(NodeFailure::new(node.name(), &gone));
            }
        }
        LockError::Unavailable { resource: wanted.resource.to_string(), nodes }
    }

    /// Contended or unavailable: whichever made the quorum impossible.
    fn explain(&self, verdict: &Verdict, wanted: &Wanted) -> LockError {
        let shared = self.shared;
        let resource = wanted.resource.to_string();
        let held = verdict.shortest_remaining();
        let short_on_time =
            verdict.outcome == Outcome::Pending && shared.terms.round_limit(wanted.ttl) < shared.terms.node_timeout;
        if short_on_time {
            // It was this ttl, not the node timeout, that cut the round short.
            let problem = TtlProblem::UsedUp { round: shared.clock.now().since(self.start) };
            return LockError::InvalidTtl { ttl: wanted.ttl, problem };
        }
        let silent = verdict.outcome == Outcome::Pending;
        match held {
            Some(remaining) if !silent && !verdict.tally.crippled() => {
                LockError::Contended { resource, retry_after: remaining.unwrap_or(shared.terms.max_ttl) }
            }
            _ => LockError::Unavailable { resource, nodes: verdict.failures(&shared.nodes) },
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.won {
            self.shared.release(&self.claim, Some(&self.round));
        }
    }
}
