//! A won lock: what is left of it, how it is extended, and the moment it is over.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::chain::Chain;
use crate::clock::Moment;
use crate::error::{ExtendError, LossReason, Released};
use crate::failpoint;
use crate::fencing::FencingToken;
use crate::line::{Keys, Want};
use crate::node::{Reply, Request};
use crate::quorum::Outcome;
use crate::resource::Claim;
use crate::round::{Asked, Round, Until, Verdict};
use crate::shared::Shared;

/// Timers do not count the time a machine is suspended, so whoever waits looks at the clock at
/// least this often.
pub(crate) const RECHECK: Duration = Duration::from_millis(250);

/// A lease as [`run`](crate::LockRequest::run) lends it to the work: it can be watched and
/// extended; only the guard that owns it can release it.
#[derive(Clone)]
pub struct Lease {
    core: Arc<Core>,
}

/// What was won.
pub(crate) struct LeaseTerms {
    pub(crate) start: Moment,
    pub(crate) deadline: Moment,
    pub(crate) ttl: Duration,
    pub(crate) token: FencingToken,
    /// More tokens, for leases that follow in this process.
    pub(crate) chain: Chain,
    /// When to renew first, if at all.
    pub(crate) renew_at: Option<Moment>,
    pub(crate) max_hold: Option<Duration>,
}

/// What guard, renewal and waiters share of one lease.
pub(crate) struct Core {
    /// Tells leases apart that are due at the same moment.
    id: u64,
    shared: Arc<Shared>,
    claim: Arc<Claim>,
    token: FencingToken,
    chain: Chain,
    /// The nodes that are known not to have seen the request that won it; few or none.
    missed: Box<[usize]>,
    state: Mutex<State>,
    /// Held where a heal is sent, and where the lease ends: a heal is before the end or not at all.
    /// Not the state's lock, because sending delivers answers to others.
    sending: Mutex<()>,
    over: Notify,
}

struct State {
    deadline: Moment,
    /// When the lease ends whatever renewals say.
    hold_until: Option<Moment>,
    /// Whether nodes may hold it that its acquire never reached.
    healed: bool,
    /// Whether it is not handed over any more.
    last: bool,
    /// What a renewal asks for.
    ttl: Duration,
    /// When to renew next; `None` where nobody asked for renewal.
    renew_at: Option<Moment>,
    /// Set once, when the lease is over.
    loss: Option<LossReason>,
    /// Where the renewal task has this lease noted down.
    noted: Option<Moment>,
}

/// How a lease was left.
pub(crate) enum Left {
    /// Somebody else of this process has it now.
    Handed,
    /// Its release is on its way.
    Released {
        /// Whether it still stood.
        was_valid: bool,
        round: Arc<Round>,
    },
}

/// What the renewal task has to do for a lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing any more.
    Over,
    /// Extend it now.
    Renew,
    /// Look again then.
    At(Moment),
}

impl State {
    /// When the lease is over, as things stand.
    fn end(&self) -> Moment {
        self.hold_until.map_or(self.deadline, |until| until.min(self.deadline))
    }
}

impl Lease {
    pub(crate) fn new(shared: Arc<Shared>, claim: Arc<Claim>, missed: Box<[usize]>, terms: &LeaseTerms) -> Self {
        let state = State {
            deadline: terms.deadline,
            hold_until: terms.max_hold.map(|hold| terms.start.after(hold)),
            healed: false,
            last: false,
            ttl: terms.ttl,
            renew_at: terms.renew_at,
            loss: None,
            noted: None,
        };
        let (id, token, chain) = (shared.next_id(), terms.token, terms.chain);
        let core = Core {
            id,
            shared,
            claim,
            token,
            chain,
            missed,
            state: Mutex::new(state),
            sending: Mutex::default(),
            over: Notify::new(),
        };
        Self { core: Arc::new(core) }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The token of this lease: larger than that of any lease of the resource before it.
    #[must_use]
    pub fn fence(&self) -> FencingToken {
        self.core.token
    }

    /// What is left of the lease; zero once it is lost or released.
    #[must_use]
    pub fn validity(&self) -> Duration {
        self.core.validity()
    }

    /// Whether the lease still stands. True now says nothing of a moment later: whoever must be
    /// sure does the work in less than [`validity`](Self::validity).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.validity().is_zero()
    }

    /// Resolves when the lease is over, with the reason. Many may wait; it does not keep the
    /// lease alive, and needs a runtime with time enabled.
    ///
    /// A hung node cannot delay it: the end of validity is watched as well as failed renewals.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it only watches.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let core = Arc::clone(&self.core);
        async move { core.lost().await }
    }

    /// Asks the nodes to let the lease live `ttl` from now, and makes that the ttl of renewals.
    /// Never shortens a lease.
    ///
    /// # Errors
    ///
    /// [`ExtendError::Lost`] when the lease is over, before or because of this;
    /// [`ExtendError::Unavailable`] when no quorum answered, the lease then stands as it was;
    /// [`ExtendError::InvalidTtl`] without I/O.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: dropped half-way, the lease stands as it was, and nodes that were reached
    /// keep the key longer than anybody counts on.
    pub async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.core.shared.terms.check(ttl).map_err(|problem| ExtendError::InvalidTtl { ttl, problem })?;
        let limit = self.core.shared.terms.round_limit(ttl);
        let round = self.core.extend(ttl, limit).await?;
        let core = Arc::clone(&self.core);
        // The caller need not wait for the slowest node; this ends with the node timeout.
        tokio::spawn(async move { core.heal(&round, ttl).await });
        self.core.lock().ttl = ttl;
        self.core.shared.renewals.note(&self.core);
        Ok(())
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("keys", &self.core.claim.keys())
            .field("value", &self.core.claim.value())
            .field("validity", &self.validity())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn keys(&self) -> &Keys {
        self.claim.shared_keys()
    }

    /// What is left of the lease, if it stands. Only looks, so it may be called under locks.
    pub(crate) fn remaining(&self, now: Moment) -> Option<Duration> {
        let state = self.lock();
        let left = state.end().since(now);
        (state.loss.is_none() && !left.is_zero()).then_some(left)
    }

    /// The reason why the lease is over, if it is: whoever looks first notices the deadline.
    pub(crate) fn loss(&self) -> Option<LossReason> {
        let now = self.shared.clock.now();
        let state = self.lock();
        if state.loss.is_none() && now >= state.end() {
            let held_out = state.hold_until.is_some_and(|until| until <= state.deadline);
            let reason = if held_out { LossReason::MaxHold } else { LossReason::Deadline };
            return Some(self.end(state, reason));
        }
        state.loss
    }

    fn validity(&self) -> Duration {
        if self.loss().is_some() {
            return Duration::ZERO;
        }
        self.lock().end().since(self.shared.clock.now())
    }

    async fn lost(&self) -> LossReason {
        loop {
            let mut over = std::pin::pin!(self.over.notified());
            // Enlisted before the look, so that a loss in between is not missed.
            over.as_mut().enable();
            if let Some(reason) = self.loss() {
                return reason;
            }
            let _ = tokio::time::timeout(self.validity().min(RECHECK), over).await;
        }
    }

    /// Ends the lease once; later reasons do not count.
    fn end(&self, mut state: MutexGuard<'_, State>, reason: LossReason) -> LossReason {
        if let Some(reason) = state.loss {
            return reason;
        }
        state.loss = Some(reason);
        drop(state);
        self.over.notify_waiters();
        if reason != LossReason::Released {
            tracing::warn!(keys = ?self.claim.keys(), %reason, "lease lost");
            self.shared.lines.lost(self.keys());
        }
        reason
    }

    /// One extension round: success is a quorum, over all nodes, of those that still held the
    /// value, within the old validity. Only then may nodes that had lost the key get it back.
    async fn extend(&self, ttl: Duration, limit: Duration) -> Result<Arc<Round>, ExtendError> {
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
                    state.renew_at = Some(start.after(ttl / 3));
                }
                drop(state);
                Ok(round)
            }
            _ => Err(self.not_extended(&verdict)),
        }
    }

    /// Gives the lease back to the nodes that had lost it, once every node has answered the
    /// extension or the node timeout is over. Nobody waits for the answers: healed nodes count in
    /// the next extension. Sent only while it stands, so that on every connection a release
    /// comes after it.
    async fn heal(&self, extended: &Arc<Round>, ttl: Duration) {
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
            *at = now.after(pause);
        }
    }

    /// One renewal by the renewal task; failures are for the log, loss is told by `lost`.
    pub(crate) async fn renew(&self) {
        let ttl = self.lock().ttl;
        // As long as the lease has, not as long as a node may take: a late quorum is a quorum, and
        // asking again would only add to what a slow node has to do.
        match self.extend(ttl, self.validity()).await {
            Ok(round) => self.heal(&round, ttl).await,
            Err(error) => tracing::debug!(keys = ?self.claim.keys(), %error, "renewal failed"),
        }
    }

    /// When the renewal task should look at this lease next; `None` once it is over.
    pub(crate) fn next(&self) -> Option<Moment> {
        if self.loss().is_some() {
            return None;
        }
        let state = self.lock();
        Some(state.renew_at.map_or(state.end(), |at| at.min(state.end())))
    }

    /// What to do for this lease now. Asking notices a passed deadline.
    pub(crate) fn due(&self) -> Due {
        if self.loss().is_some() {
            return Due::Over;
        }
        let now = self.shared.clock.now();
        let mut state = self.lock();
        let deadline = state.end();
        match &mut state.renew_at {
            Some(at) if *at <= now => {
                // Until this renewal is settled only the deadline matters.
                *at = deadline;
                Due::Renew
            }
            Some(at) => Due::At(deadline.min(*at)),
            None => Due::At(deadline),
        }
    }

    /// Replaces the note of where the renewal task has this lease.
    pub(crate) fn swap_note(&self, noted: Option<Moment>) -> Option<Moment> {
        std::mem::replace(&mut self.lock().noted, noted)
    }

    /// Ends the lease. Unless it goes on in this process, sends its release to every node that may
    /// hold it; needs no runtime.
    pub(crate) fn release(&self) -> Left {
        let was_valid = self.loss().is_none() && self.let_go();
        self.shared.renewals.forget(self);
        let next = |want| if was_valid { self.successor(want) } else { None };
        if self.shared.lines.pass_on(self, next) {
            return Left::Handed;
        }
        let healed = self.lock().healed;
        let reached = |node: usize| healed || !self.missed.contains(&node);
        Left::Released { was_valid, round: self.shared.release(&self.claim, reached, true) }
    }

    /// Ends the lease because nobody wants it any more; false if it was over before.
    fn let_go(&self) -> bool {
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.end(self.lock(), LossReason::Released) == LossReason::Released
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

    pub(crate) async fn released(&self) -> Released {
        let Left::Released { was_valid, round } = self.release() else {
            return Released::Released;
        };
        let verdict = round.wait_by(&self.shared.deadlines, Until::Decided, self.shared.terms.node_timeout).await;
        verdict.released(was_valid)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
