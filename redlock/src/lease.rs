//! A won lock: what is left of it, and the moment it is over.

mod ending;
mod extension;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::chain::Chain;
use crate::clock::Moment;
use crate::error::{ExtendError, LossReason};
use crate::fencing::FencingToken;
use crate::line::Keys;
use crate::meters;
use crate::resource::Claim;
use crate::round::Round;
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
    /// When it was asked for, or handed over.
    start: Moment,
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
            start: terms.start,
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

    pub(crate) fn token(&self) -> FencingToken {
        self.token
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
        let (now, end) = (self.shared.clock.now(), state.end());
        drop(state);
        meters::over(now.since(self.start), end.since(now), reason);
        self.over.notify_waiters();
        if reason != LossReason::Released {
            tracing::warn!(keys = ?self.claim.keys(), %reason, "lease lost");
            self.shared.lines.lost(self.keys());
        }
        reason
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
