//! The levels of a stock record and the seven transitions between them.
//!
//! Everything that decides whether units may move is here, as arithmetic without I/O: every
//! repository calls these functions, none restates them.

use crate::failpoint::planted;
use crate::operation::{InvalidQuantity, MAX_INTEGER, Operation, Quantity};

/// How many units a record has, and what they are bound to.
///
/// `stock` = `available` + `locked` + `reserved`, each between 0 and 2^53 − 1. There is no way to
/// make a value for which that does not hold: the stock on hand is not stored but added up, and the
/// sum is checked whenever a value is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StockLevels {
    available: u64,
    locked: u64,
    reserved: u64,
}

impl StockLevels {
    /// Levels made of their three parts.
    ///
    /// # Errors
    ///
    /// [`LevelsError::Overflow`] if they add up to more than 2^53 − 1.
    pub fn new(available: u64, locked: u64, reserved: u64) -> Result<Self, LevelsError> {
        let stock = available.saturating_add(locked).saturating_add(reserved);
        if stock > MAX_INTEGER {
            return Err(LevelsError::Overflow { stock: 0, quantity: stock });
        }
        Ok(Self { available, locked, reserved })
    }

    /// Levels as they were written down, the stock on hand included.
    ///
    /// # Errors
    ///
    /// [`InvalidLevels`] if the figures do not add up or are too large.
    pub fn from_figures(stock: u64, available: u64, locked: u64, reserved: u64) -> Result<Self, InvalidLevels> {
        match Self::new(available, locked, reserved) {
            Ok(levels) if levels.stock() == stock => Ok(levels),
            _ => Err(InvalidLevels { stock, available, locked, reserved }),
        }
    }

    /// Levels of a record that is new: everything on hand is available.
    #[must_use]
    pub fn received(stock: Quantity) -> Self {
        Self { available: stock.get(), locked: 0, reserved: 0 }
    }

    /// Units on hand: available, locked and reserved ones.
    #[must_use]
    pub fn stock(self) -> u64 {
        self.available + self.locked + self.reserved
    }

    /// Units anyone may still order.
    #[must_use]
    pub fn available(self) -> u64 {
        self.available
    }

    /// Units of placed orders that are not paid yet.
    #[must_use]
    pub fn locked(self) -> u64 {
        self.locked
    }

    /// Units of paid orders that are not shipped yet.
    #[must_use]
    pub fn reserved(self) -> u64 {
        self.reserved
    }

    /// The levels after `operation` with `quantity` units.
    ///
    /// # Errors
    ///
    /// What the transition of that name refuses, with the figures.
    pub fn apply(self, operation: Operation, quantity: Quantity) -> Result<Self, LevelsError> {
        let units = quantity.for_operation(operation)?;
        match operation {
            Operation::Lock => self.lock(units),
            Operation::Unlock => self.unlock(units),
            Operation::Reserve => self.reserve(units),
            Operation::Release => self.release(units),
            Operation::Deduct => self.deduct(units),
            Operation::Add => self.add(units),
            Operation::Reset => self.reset(units),
        }
    }

    /// Available → locked.
    fn lock(self, units: u64) -> Result<Self, LevelsError> {
        Ok(Self { available: self.take_available(units)?, locked: self.locked + units, ..self })
    }

    /// Locked → available.
    fn unlock(self, units: u64) -> Result<Self, LevelsError> {
        Ok(Self { locked: self.take_locked(units)?, available: self.available + units, ..self })
    }

    /// Locked → reserved.
    fn reserve(self, units: u64) -> Result<Self, LevelsError> {
        Ok(Self { locked: self.take_locked(units)?, reserved: self.reserved + units, ..self })
    }

    /// Reserved → available.
    fn release(self, units: u64) -> Result<Self, LevelsError> {
        Ok(Self { reserved: self.take_reserved(units)?, available: self.available + units, ..self })
    }

    /// Reserved → gone; the stock on hand falls with it.
    fn deduct(self, units: u64) -> Result<Self, LevelsError> {
        Ok(Self { reserved: self.take_reserved(units)?, ..self })
    }

    /// Stock and available rise.
    fn add(self, units: u64) -> Result<Self, LevelsError> {
        let stock = self.stock();
        if units > MAX_INTEGER - stock {
            return Err(LevelsError::Overflow { stock, quantity: units });
        }
        Ok(Self { available: self.available + units, ..self })
    }

    /// Stock becomes the counted value; what is committed to orders stays.
    fn reset(self, stock: u64) -> Result<Self, LevelsError> {
        let available = stock.checked_sub(self.locked + self.reserved).ok_or(LevelsError::BelowCommitted {
            locked: self.locked,
            reserved: self.reserved,
            quantity: stock,
        })?;
        Ok(Self { available, ..self })
    }

    fn take_available(self, quantity: u64) -> Result<u64, LevelsError> {
        let available = self.available;
        if planted("levels-oversold") {
            return Ok(available.saturating_sub(quantity));
        }
        available.checked_sub(quantity).ok_or(LevelsError::InsufficientStock { available, quantity })
    }

    fn take_locked(self, quantity: u64) -> Result<u64, LevelsError> {
        let locked = self.locked;
        locked.checked_sub(quantity).ok_or(LevelsError::InsufficientLocked { locked, quantity })
    }

    fn take_reserved(self, quantity: u64) -> Result<u64, LevelsError> {
        let reserved = self.reserved;
        reserved.checked_sub(quantity).ok_or(LevelsError::InsufficientReserved { reserved, quantity })
    }
}

/// Why levels cannot change that way. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelsError {
    /// Fewer units are available than were asked for.
    #[error("{quantity} units asked for, {available} available")]
    InsufficientStock {
        /// What is available.
        available: u64,
        /// What was asked for.
        quantity: u64,
    },
    /// Fewer units are locked than were asked for.
    #[error("{quantity} units asked for, {locked} locked")]
    InsufficientLocked {
        /// What is locked.
        locked: u64,
        /// What was asked for.
        quantity: u64,
    },
    /// Fewer units are reserved than were asked for.
    #[error("{quantity} units asked for, {reserved} reserved")]
    InsufficientReserved {
        /// What is reserved.
        reserved: u64,
        /// What was asked for.
        quantity: u64,
    },
    /// The stock on hand would pass 2^53 − 1.
    #[error("{quantity} units on top of {stock} are more than {MAX_INTEGER}")]
    Overflow {
        /// What is on hand.
        stock: u64,
        /// What was to come on top.
        quantity: u64,
    },
    /// A stock-take counted less than what is committed to orders.
    #[error("{quantity} units counted, {locked} locked and {reserved} reserved")]
    BelowCommitted {
        /// What is locked.
        locked: u64,
        /// What is reserved.
        reserved: u64,
        /// What was counted.
        quantity: u64,
    },
    /// The operation cannot be done with that many units at all.
    #[error(transparent)]
    InvalidQuantity(#[from] InvalidQuantity),
}

impl LevelsError {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InsufficientStock { .. } => "insufficient_stock",
            Self::InsufficientLocked { .. } => "insufficient_locked",
            Self::InsufficientReserved { .. } => "insufficient_reserved",
            Self::Overflow { .. } => "overflow",
            Self::BelowCommitted { .. } => "below_committed",
            Self::InvalidQuantity(error) => error.code(),
        }
    }
}

/// Figures that cannot be the levels of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stock {stock} is not {available} available + {locked} locked + {reserved} reserved, or too large")]
pub struct InvalidLevels {
    /// The stock on hand.
    pub stock: u64,
    /// The available units.
    pub available: u64,
    /// The locked units.
    pub locked: u64,
    /// The reserved units.
    pub reserved: u64,
}
