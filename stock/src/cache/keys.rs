//! Names in Redis, and records as hashes.

use redis::Value;

use crate::levels::StockLevels;
use crate::operation::{Id, StockKey};
use crate::record::StockRecord;

/// Holds the generation, without expiry; 0 where there is none.
pub(super) const GENERATION: &str = "product_stock:generation";

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
}
