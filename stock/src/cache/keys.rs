//! Names in Redis, and records as hashes.

use redis::Value;

use crate::levels::StockLevels;
use crate::operation::{Id, StockKey};
use crate::record::StockRecord;

/// Holds the generation, without expiry; 0 where there is none.
pub(super) const GENERATION: &str = "product_stock:generation";

/// What instances tell each other.
pub(super) const CHANNEL: &str = "product_stock:changed";

/// The fields of a record, in the order in which they are read.
pub(super) const FIELDS: [&str; 7] =
    ["id", "product_id", "stock", "available_stock", "locked_stock", "reserved_stock", "version"];

/// The key of a record.
pub(super) fn key(generation: u64, key: StockKey) -> String {
    let StockKey { variant_id, warehouse_id } = key;
    match generation {
        0 => format!("product_stock:{variant_id}:{warehouse_id}"),
        _ => format!("product_stock:g{generation}:{variant_id}:{warehouse_id}"),
    }
}

/// The values of a record's fields, in the order of [`FIELDS`].
pub(super) fn values(record: &StockRecord) -> [u64; 7] {
    let levels = record.levels;
    let product = record.product_id.get();
    [record.id, product, levels.stock(), levels.available(), levels.locked(), levels.reserved(), record.version]
}

/// The record that a hash says; `None` if it is not there, or is nothing that we would write.
pub(super) fn record(key: StockKey, hash: &Value) -> Option<StockRecord> {
    let Value::Array(fields) = hash else { return None };
    let numbers: Option<Vec<u64>> = fields.iter().map(number).collect();
    let [id, product, stock, available, locked, reserved, version] = numbers?.try_into().ok()?;
    let levels = StockLevels::from_figures(stock, available, locked, reserved).ok()?;
    Some(StockRecord { id, product_id: Id::new(product).ok()?, key, levels, version })
}

fn number(field: &Value) -> Option<u64> {
    match field {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// What one instance tells the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// There is this version of a record.
    Changed(StockKey, u64),
    /// Nobody knows what has become of a record.
    Doubtful(StockKey),
    /// The generation has risen.
    Cleared,
}

impl Hint {
    /// Reads what [`Display`](std::fmt::Display) writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
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

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

    fn field(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn keys_are_plain_until_the_first_clearing() {
        let stock = StockKey::new(42, 7).unwrap();
        assert_eq!(key(0, stock), "product_stock:42:7");
        assert_eq!(key(3, stock), "product_stock:g3:42:7");
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        let stock = StockKey::new(42, 0).unwrap();
        let written = StockRecord {
            id: 1,
            product_id: Id::new(9).unwrap(),
            key: stock,
            levels: StockLevels::new(3, 2, 1).unwrap(),
            version: 12,
        };
        let hash = |values: [u64; 7]| Value::Array(values.iter().map(|value| field(&value.to_string())).collect());
        assert_eq!(record(stock, &hash(values(&written))), Some(written));

        let mut spoilt = values(&written);
        spoilt[2] += 1;
        assert_eq!(record(stock, &hash(spoilt)), None, "levels that do not add up are nobody's");
        let missing = Value::Array(vec![Value::Nil; 7]);
        for nothing in [missing, Value::Nil, Value::Array(vec![field("1"); 6]), Value::Array(vec![field("x"); 7])] {
            assert_eq!(record(stock, &nothing), None, "{nothing:?}");
        }
    }

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
