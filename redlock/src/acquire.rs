//! Attempts: a round, its roll-back when it fails, a pause, the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tracing::Instrument;

use crate::chain::Chain;
use crate::clock::Moment;
use crate::error::{Cause, LockError, NodeError, NodeFailure, TtlProblem};
use crate::failpoint;
use crate::fencing::{FencingToken, MAX_FENCE_FLOOR, Settlement};
use crate::guard::Guard;
use crate::hearing::Hearing;
use crate::lease::{Lease, LeaseTerms};
use crate::line::{Company, Keys, Obstacle, Ticket, Turn, Want};
use crate::meters;
use crate::node::{Reply, Request};
use crate::quorum::{Outcome, quorum};
use crate::renewal;
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
    let start = shared.clock.now();
    let attempts = attempts(&shared, &wanted, &keys, floor);
    let guard = attempts.instrument(span).await?;
    meters::granted(shared.clock.now().since(start));
    Ok(guard)
}

/// The smallest token that will do, as far as the caller knows.
fn floor(wanted: &Wanted) -> Result<FencingToken, LockError> {
    let above = wanted.floor.map_or(Some(0), |floor| floor.checked_add(1));
    let refused = || LockError::InvalidFenceFloor { floor: wanted.floor.unwrap_or_default() };
    above.filter(|above| *above <= MAX_FENCE_FLOOR + 1).and_then(FencingToken::new).ok_or_else(refused)
}

async fn attempts(shared: &Arc<Shared>, wanted: &Wanted, keys: &Keys, floor: FencingToken) -> Result<Guard, LockError> {
    let start = shared.clock.now();
    shared.meet().await;
    match wanted.patience {
        Patience::Once => {
            let guard =
                Attempt::begin(shared, (keys, wanted.ttl, floor), Company::default(), None).await.run(wanted).await?;
            shared.lines.hold(keys, guard.lease().core());
            Ok(guard)
        }
        Patience::Wait(wait) => {
            let want = Want { ttl: wanted.ttl, floor, renew: wanted.renew, max_hold: wanted.max_hold };
            let ticket = shared.lines.enter(keys, want);
            let until = wait.map(|wait| start.after(wait));
            let waiting = Waiting { shared, wanted, keys, floor, ticket, until };
            let resource = || wanted.resource.to_string();
            waiting.run().await.map_err(|last| {
                let waited = shared.clock.now().since(start);
                LockError::TimedOut { resource: resource(), waited, last: Box::new(last) }
            })
        }
    }
}

/// Somebody in a line.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    wanted: &'a Wanted,
    keys: &'a Keys,
    floor: FencingToken,
    ticket: Ticket<'a>,
    until: Option<Moment>,
}

impl Waiting<'_> {
    /// Waits for a turn, again and again; an error, when the time is over, is why the last one was
    /// of no use.
    async fn run(&self) -> Result<Guard, LockError> {
        let mut backoff = Backoff::new();
        let mut last = None;
        while let Some(turn) = self.ticket.turn(self.until, last.is_none()).await {
            let company = match turn {
                Turn::Handed(guard) => match self.take(guard).await {
                    Some(guard) => return Ok(guard),
                    None => continue,
                },
                Turn::Yield(most) => {
                    self.listen();
                    self.ticket.pause(self.shared.chance.between(most / 2, most), self.until).await;
                    continue;
                }
                Turn::Ask(company) => company,
            };
            let asked = (self.keys, self.wanted.ttl, self.floor);
            let left = self.ticket.left(self.until);
            let attempt = Attempt::begin(self.shared, asked, company, left).await;
            let error = match attempt.run(self.wanted).await {
                Ok(guard) => {
                    self.ticket.won(guard.lease().core());
                    return Ok(guard);
                }
                Err(error) => error,
            };
            tracing::debug!(%error, "attempt failed");
            self.ticket.failed(&error);
            if self.ticket.left(self.until).is_some_and(|left| left.is_zero()) {
                return Err(error);
            }
            let free_in = match error {
                LockError::Contended { retry_after, .. } => Some(retry_after),
                _ => None,
            };
            if free_in.is_some() {
                self.listen();
            }
            last = Some(error);
            self.ticket.pause(backoff.next(free_in, &self.shared.chance), self.until).await;
        }
        Err(last.unwrap_or_else(|| self.no_turn()))
    }

    /// Takes a lease that was passed on, with most of its time ahead.
    async fn take(&self, guard: Guard) -> Option<Guard> {
        if guard.lease().core().refresh().await {
            self.shared.renewals.note(guard.lease().core());
            tracing::debug!(token = %guard.fence(), "taken over");
            return Some(guard);
        }
        self.ticket.again();
        None
    }

    fn listen(&self) {
        let shared = self.shared;
        self.ticket.listen(|lines, keys| Hearing::open(&shared.nodes, &shared.name, lines, keys));
    }

    /// Why there was never a turn, in the words of a round.
    fn no_turn(&self) -> LockError {
        let retry_after = match self.ticket.obstacle() {
            Obstacle::Failed(error) => return error,
            Obstacle::Held(left) => left,
            Obstacle::Line => self.shared.terms.max_ttl,
        };
        LockError::Contended { resource: self.wanted.resource.to_string(), retry_after }
    }
}

/// One attempt. Dropped before it became a guard (lost, late, or its future was dropped), it
/// sends its release to every node, behind the acquire on the same connection.
struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    claim: Arc<Claim>,
    start: Moment,
    round: Arc<Round>,
    /// How many tokens it reserves.
    span: u32,
    company: Company,
    won: bool,
    _room: Option<SemaphorePermit<'a>>,
}

impl<'a> Attempt<'a> {
    /// Sends the acquire to every node, as soon as there is room for it; that is waited for at most as long
    /// as is `left`.
    async fn begin(
        shared: &'a Arc<Shared>,
        (keys, ttl, floor): (&Keys, Duration, FencingToken),
        company: Company,
        left: Option<Duration>,
    ) -> Self {
        let room = shared.room(left).await;
        // Taken before the first byte is sent: the nodes' clocks can only start later.
        let start = shared.clock.now();
        let claim = Arc::new(Claim::new(Arc::clone(keys), shared.fresh_value()));
        let span = Chain::span(company.own);
        let proposal = shared.proposal(keys, floor, span);
        let round = Round::ask(&shared.nodes, |_| {
            Asked::Request(Request::Acquire { claim: Arc::clone(&claim), ttl, proposal, span })
        });
        Self { shared, claim, start, round, span, company, won: false, _room: room }
    }

    async fn run(self, wanted: &Wanted) -> Result<Guard, LockError> {
        let outcome = self.decide(wanted).await;
        meters::attempt(outcome.as_ref().err());
        outcome
    }

    async fn decide(mut self, wanted: &Wanted) -> Result<Guard, LockError> {
        let limit = self.shared.terms.round_limit(wanted.ttl);
        let verdict = self.round.wait_by(&self.shared.deadlines, Until::Decided, limit).await;
        meters::round(self.shared.clock.now().since(self.start), &verdict.tally);
        if failpoint::planted("validity-from-reply") {
            self.start = self.shared.clock.now();
        }
        if verdict.outcome != Outcome::Won || verdict.has_twins() {
            return Err(self.explain(&verdict, wanted));
        }
        let top = self.settle(&verdict, wanted).await?;
        let elapsed = self.shared.clock.now().since(self.start);
        let Some(validity) = self.shared.terms.validity(wanted.ttl, elapsed) else {
            let problem = TtlProblem::UsedUp { round: elapsed };
            return Err(LockError::InvalidTtl { ttl: wanted.ttl, problem });
        };
        self.won = true;
        self.shared.memory.remember(self.claim.keys(), top);
        let token = top.below(u64::from(self.span - 1));
        let terms = LeaseTerms {
            start: self.start,
            deadline: self.start.after(elapsed + validity),
            ttl: wanted.ttl,
            token,
            chain: Chain::new(top, self.shared.clock.now(), self.company.others),
            renew_at: wanted.renew.then(|| self.start.after(renewal::pause(wanted.ttl, &self.shared.chance))),
            max_hold: wanted.max_hold,
        };
        let missed = (0..self.shared.nodes.len()).filter(|node| !self.round.may_have_reached(*node)).collect();
        let lease = Lease::new(Arc::clone(self.shared), Arc::clone(&self.claim), missed, &terms);
        self.shared.renewals.note(lease.core());
        tracing::debug!(?validity, %token, "acquired");
        Ok(Guard::new(lease))
    }

    /// The top of the tokens of a won round. Where fewer than a quorum of nodes granted exactly this one it
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
        let recorded = round.wait_by(&self.shared.deadlines, Until::Decided, limit).await;
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
            self.shared.release(&self.claim, |node| self.round.may_have_reached(node), false);
        }
    }
}
