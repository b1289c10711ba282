//! Attempts: a round, its roll-back when it fails, a pause, the next one.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::clock::Moment;
use crate::error::{LockError, TtlProblem};
use crate::guard::Guard;
use crate::lease::{Lease, RECHECK};
use crate::manager::Shared;
use crate::node::Request;
use crate::quorum::Outcome;
use crate::resource::{Claim, Resource};
use crate::round::{Round, Until, Verdict};
use crate::wait::Backoff;

/// What is asked for, checked.
pub(crate) struct Wanted {
    pub(crate) resource: Resource,
    pub(crate) ttl: Duration,
    pub(crate) renew: bool,
    /// How long to try; `None` for ever. Without patience there is one round.
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
    let span = tracing::debug_span!("lock", resource = %wanted.resource, ?ttl);
    attempts(&shared, &wanted, &keys).instrument(span).await
}

async fn attempts(shared: &Arc<Shared>, wanted: &Wanted, keys: &Arc<[String]>) -> Result<Guard, LockError> {
    let start = shared.clock.now();
    let mut backoff = Backoff::new();
    loop {
        let error = match Attempt::new(shared, keys, wanted.ttl).run(wanted).await {
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
        let pause = backoff.next(match error {
            LockError::Contended { retry_after, .. } => Some(retry_after),
            _ => None,
        });
        tokio::time::sleep(pause.min(left.unwrap_or(pause)).min(RECHECK)).await;
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
    fn new(shared: &'a Arc<Shared>, keys: &Arc<[String]>, ttl: Duration) -> Self {
        // Taken before the first byte is sent: the nodes' clocks can only start later.
        let start = shared.clock.now();
        let claim = Arc::new(Claim::new(Arc::clone(keys), shared.fresh_value()));
        let request = |_| Ok(Request::Acquire { claim: Arc::clone(&claim), ttl });
        let round = Round::ask(&shared.nodes, request);
        Self { shared, claim, start, round, won: false }
    }

    async fn run(mut self, wanted: &Wanted) -> Result<Guard, LockError> {
        let terms = &self.shared.terms;
        let limit = terms.round_limit(wanted.ttl);
        let verdict = self.round.wait(Until::Decided, limit).await;
        let elapsed = self.shared.clock.now().since(self.start);
        if verdict.outcome != Outcome::Won {
            return Err(self.explain(&verdict, wanted));
        }
        let Some(validity) = terms.validity(wanted.ttl, elapsed) else {
            let problem = TtlProblem::UsedUp { round: elapsed };
            return Err(LockError::InvalidTtl { ttl: wanted.ttl, problem });
        };
        self.won = true;
        let lease = Lease::new(
            Arc::clone(self.shared),
            Arc::clone(&self.claim),
            Arc::clone(&self.round),
            self.start,
            (wanted.ttl, elapsed + validity),
            wanted.renew,
        );
        self.shared.renewals.note(lease.core());
        tracing::debug!(?validity, "acquired");
        Ok(Guard::new(lease))
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
            self.shared.release(&self.claim, &self.round);
        }
    }
}
