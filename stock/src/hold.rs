//! What orders hold of a record, and what a change does to levels and holds together. Arithmetic
//! without I/O: every repository comes through here.
//!
//! A lock with an order id opens a hold, or adds to one. From then on the order moves what it holds
//! and no more: unlock and reserve take from its locked units, release and deduct from its reserved
//! ones. An operation without an order leaves alone what open holds cover. Receiving and counting
//! have nothing to do with holds, whatever order they name.
//!
//! A hold may end by itself while something of it is locked. It lives until somebody has unlocked
//! that ([`Request::expire`](crate::request::Request::expire)): a payment that commits before counts,
//! however late. What the order has paid for stays. A lock after that opens the hold anew.

use crate::failpoint::planted;
use crate::levels::{LevelsError, StockLevels};
use crate::operation::{MAX_INTEGER, Operation, StockKey};
use crate::request::{Change, ExpiresIn, OrderId};
use crate::timestamp::Timestamp;

/// Units that orders hold, of one hold or of all holds of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Held {
    /// Ordered, not paid yet.
    pub locked: u64,
    /// Paid, not shipped yet.
    pub reserved: u64,
}

impl Held {
    /// What is held after an order's `operation`; `None` if more is asked for than is held.
    fn apply(self, operation: Operation, units: u64) -> Option<Self> {
        let Self { locked, reserved } = self;
        Some(match operation {
            Operation::Lock => Self { locked: locked.checked_add(units)?, reserved },
            Operation::Unlock => Self { locked: locked.checked_sub(units)?, reserved },
            Operation::Reserve => Self { locked: locked.checked_sub(units)?, reserved: reserved.checked_add(units)? },
            Operation::Release | Operation::Deduct => Self { locked, reserved: reserved.checked_sub(units)? },
            Operation::Add | Operation::Reset => self,
        })
    }

    /// The units that `operation` takes from.
    fn source(self, operation: Operation) -> u64 {
        match operation {
            Operation::Release | Operation::Deduct => self.reserved,
            _ => self.locked,
        }
    }
}

/// Whether anything is left of a hold, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldState {
    /// The order holds units.
    Open,
    /// Nothing is left of it.
    Closed,
    /// Nothing is left of it, because it was not paid in time.
    Expired,
}

impl HoldState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::Expired];

    /// The name used in answers and the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }
}

/// When a hold may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// Not by itself.
    Never,
    /// From this moment on, by the database's clock.
    At(Timestamp),
    /// So long after it is written down, which it has not been yet.
    In(ExpiresIn),
}

/// What an order holds of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The number the database gave it; `None` until it is written down.
    pub id: Option<u64>,
    /// Whose it is.
    pub order_id: OrderId,
    /// The number of the record.
    pub stock_id: u64,
    /// Which record.
    pub key: StockKey,
    /// How many units.
    pub held: Held,
    /// Whether anything is left, and if not, why.
    pub state: HoldState,
    /// When what is locked may be unlocked.
    pub expiry: Expiry,
    /// Whether what was locked of it was unlocked because it was not paid in time, and nothing has been locked since.
    /// What had been paid by then is still held.
    pub lapsed: bool,
}

impl Hold {
    /// When what is locked may be unlocked, if that has been written down.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        match self.expiry {
            Expiry::At(moment) => Some(moment),
            _ => None,
        }
    }

    /// The hold after an order's change; `None` for an order that held nothing before.
    pub(crate) fn after(
        hold: Option<&Self>,
        stock_id: u64,
        order_id: &OrderId,
        change: &Change,
    ) -> Result<Self, Refusal> {
        let (operation, quantity) = (change.operation, change.quantity.get());
        let Some(hold) = hold.filter(|hold| hold.state == HoldState::Open) else {
            return Self::open(hold, stock_id, order_id, change);
        };
        if let Some(ended_at) = change.ended_at
            && (hold.ends_at() != Some(ended_at) || hold.held.locked != quantity)
        {
            return Err(Refusal::HoldChanged { order_id: order_id.clone() });
        }
        let mut held = hold.held.apply(operation, quantity).ok_or_else(|| hold.exceeded(operation, quantity))?;
        if change.ended_at.is_some() && planted("holds-kept-when-over") {
            held = hold.held;
        }
        let state = match (held == Held::default(), change.ended_at) {
            (false, _) => HoldState::Open,
            (true, None) => HoldState::Closed,
            (true, Some(_)) => HoldState::Expired,
        };
        let expiry = match (held.locked, change.expires_in) {
            // Nothing is left that could be unlocked.
            (0, _) => Expiry::Never,
            (_, Some(expires_in)) => Expiry::In(expires_in),
            (_, None) => hold.expiry,
        };
        let lapsed = change.ended_at.is_some() || (hold.lapsed && operation != Operation::Lock);
        Ok(Self { held, state, expiry, lapsed, ..hold.clone() })
    }

    /// More was asked for than is held, or than is held any more.
    fn exceeded(&self, operation: Operation, quantity: u64) -> Refusal {
        let order_id = self.order_id.clone();
        match operation {
            Operation::Unlock | Operation::Reserve if self.lapsed => Refusal::HoldExpired { order_id },
            _ => Refusal::HoldExceeded { order_id, held: self.held.source(operation), quantity },
        }
    }

    /// The hold of an order that holds nothing: only a lock opens it.
    fn open(closed: Option<&Self>, stock_id: u64, order_id: &OrderId, change: &Change) -> Result<Self, Refusal> {
        if change.operation != Operation::Lock {
            return Err(match closed {
                None => Refusal::HoldNotFound { order_id: order_id.clone() },
                Some(_) if change.ended_at.is_some() => Refusal::HoldChanged { order_id: order_id.clone() },
                Some(hold) if hold.state == HoldState::Expired => Refusal::HoldExpired { order_id: order_id.clone() },
                Some(hold) => hold.exceeded(change.operation, change.quantity.get()),
            });
        }
        Ok(Self {
            id: closed.and_then(|hold| hold.id),
            order_id: order_id.clone(),
            stock_id,
            key: change.key,
            held: Held { locked: change.quantity.get(), reserved: 0 },
            state: HoldState::Open,
            expiry: change.expires_in.map_or(Expiry::Never, Expiry::In),
            lapsed: false,
        })
    }
}

/// A record's units, and which of them open holds cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Units {
    /// All units.
    pub levels: StockLevels,
    /// Those that open holds cover.
    pub held: Held,
}

impl Units {
    /// What a change does to the record's units, and to the order's hold where it names an order.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing has changed then.
    pub fn apply(self, stock_id: u64, hold: Option<&Hold>, change: &Change) -> Result<(Self, Option<Hold>), Refusal> {
        let (operation, quantity) = (change.operation, change.quantity);
        let Some(order_id) = change.hold_of() else {
            let levels = self.levels.apply(operation, quantity)?;
            self.is_free(levels, operation, quantity.get())?;
            return Ok((Self { levels, ..self }, None));
        };
        // First, because it says more: units of a hold that expired may be gone from the levels too.
        let hold = Hold::after(hold, stock_id, order_id, change)?;
        let levels = self.levels.apply(operation, quantity)?;
        let held = self.held.apply(operation, quantity.get()).filter(|held| Self { levels, held: *held }.adds_up());
        // The sum covers each of its parts, so only a damaged row comes to this.
        let held = held.ok_or(LevelsError::Overflow { stock: levels.stock(), quantity: MAX_INTEGER })?;
        Ok((Self { levels, held }, Some(hold)))
    }

    /// Whether what holds cover is still there when somebody without an order has taken units.
    fn is_free(self, after: StockLevels, operation: Operation, quantity: u64) -> Result<(), Refusal> {
        if (Self { levels: after, ..self }).adds_up() {
            return Ok(());
        }
        let all = Held { locked: self.levels.locked(), reserved: self.levels.reserved() };
        let (units, held) = (all.source(operation), self.held.source(operation));
        Err(match operation {
            Operation::Release | Operation::Deduct => Refusal::ReservedIsHeld { reserved: units, held, quantity },
            _ => Refusal::LockedIsHeld { locked: units, held, quantity },
        })
    }

    fn adds_up(self) -> bool {
        self.held.locked <= self.levels.locked() && self.held.reserved <= self.levels.reserved()
    }
}

/// Whether the operation moves units that can belong to an order.
fn moves_holds(operation: Operation) -> bool {
    !matches!(operation, Operation::Add | Operation::Reset)
}

impl Change {
    /// The order whose hold must be known before this change can be made, if there is one.
    #[must_use]
    pub fn hold_of(&self) -> Option<&OrderId> {
        self.order_id.as_ref().filter(|_| moves_holds(self.operation))
    }
}

/// Why a change is refused. Nothing has changed, and the same change may be possible later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The levels do not allow it.
    #[error(transparent)]
    Levels(#[from] LevelsError),
    /// Orders hold so many of the locked units that too few are left for anybody else.
    #[error("{quantity} units asked for, {locked} locked, of which orders hold {held}")]
    LockedIsHeld {
        /// What is locked.
        locked: u64,
        /// What of it orders hold.
        held: u64,
        /// What was asked for.
        quantity: u64,
    },
    /// Orders hold so many of the reserved units that too few are left for anybody else.
    #[error("{quantity} units asked for, {reserved} reserved, of which orders hold {held}")]
    ReservedIsHeld {
        /// What is reserved.
        reserved: u64,
        /// What of it orders hold.
        held: u64,
        /// What was asked for.
        quantity: u64,
    },
    /// The order has never locked anything of this record.
    #[error("order {order_id} holds nothing of it")]
    HoldNotFound {
        /// Whose hold was looked for.
        order_id: OrderId,
    },
    /// The order holds less than was asked for.
    #[error("{quantity} units asked for, order {order_id} holds {held}")]
    HoldExceeded {
        /// Whose hold it is.
        order_id: OrderId,
        /// What it holds, locked or reserved, whichever was asked for.
        held: u64,
        /// What was asked for.
        quantity: u64,
    },
    /// The order was not paid in time, and its units were unlocked.
    #[error("what order {order_id} held has expired")]
    HoldExpired {
        /// Whose hold it was.
        order_id: OrderId,
    },
    /// The hold was to be ended, but is no longer as it was: paid, prolonged, or ended by somebody
    /// else.
    #[error("what order {order_id} holds has changed")]
    HoldChanged {
        /// Whose hold it is.
        order_id: OrderId,
    },
}

impl Refusal {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Levels(error) => error.code(),
            Self::LockedIsHeld { .. } => "insufficient_locked",
            Self::ReservedIsHeld { .. } => "insufficient_reserved",
            Self::HoldNotFound { .. } => "hold_not_found",
            Self::HoldExceeded { .. } => "hold_exceeded",
            Self::HoldExpired { .. } => "hold_expired",
            Self::HoldChanged { .. } => "hold_changed",
        }
    }
}
