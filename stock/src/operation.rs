//! What is asked for: which operation, how many, on which record.
//!
//! These are the words every way in (library, service, demo) shares, so that each is checked in one
//! place.

use std::fmt;
use std::str::FromStr;

/// The largest quantity, level and id: 2^53 − 1, the last integer that every JSON reader keeps
/// exact.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// One of the seven things that can happen to a stock record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// An order was placed: available → locked.
    Lock,
    /// An order was cancelled: locked → available.
    Unlock,
    /// An order was paid: locked → reserved.
    Reserve,
    /// An order was refunded: reserved → available.
    Release,
    /// An order was shipped: reserved → gone.
    Deduct,
    /// Goods were received: stock and available rise.
    Add,
    /// A stock-take: stock becomes the counted value, locked and reserved stay.
    Reset,
}

impl Operation {
    /// Every operation, in the order an order lives through them.
    pub const ALL: [Self; 7] =
        [Self::Lock, Self::Unlock, Self::Reserve, Self::Release, Self::Deduct, Self::Add, Self::Reset];

    /// The name used in URLs, logs and the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Reserve => "reserve",
            Self::Release => "release",
            Self::Deduct => "deduct",
            Self::Add => "add",
            Self::Reset => "reset",
        }
    }

    /// The smallest quantity that makes sense: a stock-take may count nothing, the others move
    /// something.
    #[must_use]
    pub fn least_quantity(self) -> u64 {
        u64::from(self != Self::Reset)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operation {
    type Err = InvalidOperation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
            .ok_or_else(|| InvalidOperation { name: name.into() })
    }
}

/// A name that is none of the seven operations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no operation; allowed are lock, unlock, reserve, release, deduct, add and reset")]
pub struct InvalidOperation {
    /// What was given.
    pub name: String,
}

impl InvalidOperation {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_operation"
    }
}

/// How many units: 0 to 2^53 − 1.
///
/// Whether zero is allowed depends on the operation and is decided by the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(u64);

impl Quantity {
    /// A quantity of `units`.
    ///
    /// # Errors
    ///
    /// [`InvalidQuantity`] above 2^53 − 1.
    pub fn new(units: u64) -> Result<Self, InvalidQuantity> {
        if units > MAX_INTEGER {
            return Err(InvalidQuantity { quantity: units, least: 0 });
        }
        Ok(Self(units))
    }

    /// The number of units.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number of units, if `operation` can be done with that many.
    ///
    /// # Errors
    ///
    /// [`InvalidQuantity`] for zero units of anything but a reset.
    pub fn for_operation(self, operation: Operation) -> Result<u64, InvalidQuantity> {
        let least = operation.least_quantity();
        if self.0 < least {
            return Err(InvalidQuantity { quantity: self.0, least });
        }
        Ok(self.0)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A quantity outside what an operation can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the quantity {quantity} is outside {least} to {MAX_INTEGER}")]
pub struct InvalidQuantity {
    /// What was given.
    pub quantity: u64,
    /// The smallest quantity allowed there.
    pub least: u64,
}

impl InvalidQuantity {
    /// The stable machine code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_quantity"
    }
}

/// The number of a product, a variant or a warehouse: 0 to 2^53 − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

impl Id {
    /// The id `number`.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] above 2^53 − 1.
    pub fn new(number: u64) -> Result<Self, InvalidId> {
        if number > MAX_INTEGER {
            return Err(InvalidId { number });
        }
        Ok(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An id that is too large to be kept exactly everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id {number} is above {MAX_INTEGER}")]
pub struct InvalidId {
    /// What was given.
    pub number: u64,
}

/// Which record: a variant in a warehouse. Warehouse 0 is the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StockKey {
    /// The variant of a product.
    pub variant_id: Id,
    /// The warehouse it lies in.
    pub warehouse_id: Id,
}

impl StockKey {
    /// The key of a variant in a warehouse.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] if either number is above 2^53 − 1.
    pub fn new(variant_id: u64, warehouse_id: u64) -> Result<Self, InvalidId> {
        Ok(Self { variant_id: Id::new(variant_id)?, warehouse_id: Id::new(warehouse_id)? })
    }

    /// The resource whose lock guards this record, the same in every program that shares the stock.
    #[must_use]
    pub fn lock_key(self) -> String {
        format!("lock:product_stock:{}:{}", self.variant_id, self.warehouse_id)
    }
}

impl FromStr for StockKey {
    type Err = InvalidStockKey;

    /// `VARIANT/WAREHOUSE`, as in paths.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text
            .split_once('/')
            .and_then(|(variant, warehouse)| Some((variant.parse().ok()?, warehouse.parse().ok()?)));
        numbers.and_then(|(variant, warehouse)| Self::new(variant, warehouse).ok()).ok_or(InvalidStockKey)
    }
}

/// A text that names no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record is named VARIANT/WAREHOUSE, such as 42/0, each from 0 to {MAX_INTEGER}")]
pub struct InvalidStockKey;

impl fmt::Display for StockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "variant {} in warehouse {}", self.variant_id, self.warehouse_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_written() {
        for operation in Operation::ALL {
            assert_eq!(operation.to_string().parse(), Ok(operation));
        }
        let error = "Lock".parse::<Operation>().unwrap_err();
        assert_eq!(error.code(), "invalid_operation");
        assert!(error.to_string().contains("`Lock`"), "{error}");
    }

    #[test]
    fn quantities_end_where_doubles_stop_being_exact() {
        assert_eq!(Quantity::new(MAX_INTEGER).map(Quantity::get), Ok(MAX_INTEGER));
        let error = Quantity::new(MAX_INTEGER + 1).unwrap_err();
        assert_eq!(error.code(), "invalid_quantity");
        assert!(error.to_string().contains("9007199254740992"), "{error}");
    }

    #[test]
    fn only_a_reset_takes_nothing() {
        let nothing = Quantity::new(0).unwrap();
        for operation in Operation::ALL {
            let allowed = nothing.for_operation(operation).is_ok();
            assert_eq!(allowed, operation == Operation::Reset, "{operation}");
        }
    }

    #[test]
    fn records_are_named_as_in_paths() {
        assert_eq!("42/7".parse(), StockKey::new(42, 7).map_err(|_| InvalidStockKey));
        for wrong in ["42", "42/", "/0", "-1/0", "42/0/1", "42 / 0", "9007199254740992/0"] {
            assert_eq!(wrong.parse::<StockKey>(), Err(InvalidStockKey), "{wrong}");
        }
    }

    #[test]
    fn the_lock_key_is_the_one_other_programs_use() {
        let key = StockKey::new(42, 0).unwrap();
        assert_eq!(key.lock_key(), "lock:product_stock:42:0");
        assert!(StockKey::new(MAX_INTEGER + 1, 0).is_err());
    }
}
