//! What instances tell each other about records, so that nobody keeps a copy that is out of date.

use std::fmt;

use crate::operation::StockKey;

/// Where they tell it.
pub(crate) const CHANNEL: &str = "product_stock:changed";

/// What one instance tells the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// There is this version of a record.
    Changed(StockKey, u64),
    /// Nobody knows what has become of a record.
    Doubtful(StockKey),
    /// The generation has risen.
    Cleared,
}

impl Hint {
    /// Reads what [`Display`](fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "cleared" {
            return Some(Self::Cleared);
        }
        let (place, version) = text.rsplit_once(':')?;
        let (variant, warehouse) = place.split_once(':')?;
        let key = StockKey::new(variant.parse().ok()?, warehouse.parse().ok()?).ok()?;
        match version {
            "-" => Some(Self::Doubtful(key)),
            version => Some(Self::Changed(key, version.parse().ok()?)),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(key, version) => write!(f, "{}:{}:{version}", key.variant_id, key.warehouse_id),
            Self::Doubtful(key) => write!(f, "{}:{}:-", key.variant_id, key.warehouse_id),
            Self::Cleared => f.write_str("cleared"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_read_as_they_are_written() {
        let stock = StockKey::new(42, 7).unwrap();
        for hint in [Hint::Changed(stock, 12), Hint::Doubtful(stock), Hint::Cleared] {
            assert_eq!(Hint::parse(&hint.to_string()), Some(hint));
        }
        for nonsense in ["", "1", "1:2", "a:b:c", "1:2:x"] {
            assert_eq!(Hint::parse(nonsense), None, "{nonsense}");
        }
    }
}
