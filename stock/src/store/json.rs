//! Rows as one JSON array of arrays: what a statement whose text never changes takes for any number of
//! rows. The order of the fields is that of the paths in the statements.

use std::fmt::Write as _;

use crate::hold::{Expiry, Hold};
use crate::log::LogEntry;
use crate::operation::StockKey;
use crate::record::RowWrite;
use crate::request::{OrderId, RequestId};

/// `[variant_id, warehouse_id]`
pub(super) fn keys(keys: &[StockKey]) -> String {
    table(keys, 24, |row, key| {
        row.number(key.variant_id.get());
        row.number(key.warehouse_id.get());
    })
}

/// Numbers, each in a row of its own.
pub(super) fn numbers(numbers: impl IntoIterator<Item = u64>) -> String {
    let numbers: Vec<_> = numbers.into_iter().collect();
    table(&numbers, 20, |row, number| row.number(*number))
}

/// Pairs of numbers.
pub(super) fn pairs(pairs: impl IntoIterator<Item = (u64, u64)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    table(&pairs, 30, |row, (first, second)| {
        row.number(*first);
        row.number(*second);
    })
}

/// `[request_id]`
pub(super) fn ids(ids: &[RequestId]) -> String {
    table(ids, 40, |row, id| row.text(id.as_str()))
}

/// `[order_id, stock_id]`
pub(super) fn places(places: &[(u64, OrderId)]) -> String {
    table(places, 60, |row, (stock_id, order_id)| {
        row.text(order_id.as_str());
        row.number(*stock_id);
    })
}

/// `[id, version and fence that were read, available, locked, reserved, version, fence, held locked,
/// held reserved, resident epoch, resident sequence]`
pub(super) fn rows(writes: &[RowWrite]) -> String {
    table(writes, 100, |row, write| {
        let (after, levels) = (&write.row, write.row.record.levels);
        let sequence = after.residence.map(|residence| residence.sequence);
        row.number(after.record.id);
        row.number(write.version);
        row.number(write.fence);
        row.number(levels.available());
        row.number(levels.locked());
        row.number(levels.reserved());
        row.number(after.record.version);
        row.number(after.fence);
        row.number(after.held.locked);
        row.number(after.held.reserved);
        row.optional(after.residence.map(|residence| residence.epoch));
        row.optional(sequence);
    })
}

/// `[stock_id, variant_id, warehouse_id, request_id, position, order_id, expires_in, action, quantity,
/// available, locked, reserved before, available, locked, reserved after, fence, version]`
pub(super) fn entries(entries: &[LogEntry]) -> String {
    table(entries, 200, |row, entry| {
        row.number(entry.stock_id);
        row.number(entry.key.variant_id.get());
        row.number(entry.key.warehouse_id.get());
        row.text(entry.request_id.as_str());
        row.number(u64::from(entry.position));
        row.optional_text(entry.order_id.as_ref().map(OrderId::as_str));
        row.optional(entry.expires_in.map(crate::request::ExpiresIn::get));
        row.text(entry.action.name());
        row.number(entry.quantity.get());
        for levels in [entry.before, entry.after] {
            row.number(levels.available());
            row.number(levels.locked());
            row.number(levels.reserved());
        }
        row.optional(entry.fence);
        row.number(entry.version);
    })
}

/// `[id, order_id, stock_id, variant_id, warehouse_id, locked, reserved, state, keeps its expiry,
/// expires in so many seconds, lapsed]`
pub(super) fn holds<'a>(holds: impl Iterator<Item = &'a Hold>) -> String {
    let holds: Vec<_> = holds.collect();
    table(&holds, 120, |row, hold| {
        let expires_in = match hold.expiry {
            Expiry::In(expires_in) => Some(expires_in.get()),
            Expiry::Never | Expiry::At(_) => None,
        };
        row.optional(hold.id);
        row.text(hold.order_id.as_str());
        row.number(hold.stock_id);
        row.number(hold.key.variant_id.get());
        row.number(hold.key.warehouse_id.get());
        row.number(hold.held.locked);
        row.number(hold.held.reserved);
        row.text(hold.state.name());
        row.number(u64::from(hold.ends_at().is_some()));
        row.optional(expires_in);
        row.number(u64::from(hold.lapsed));
    })
}

/// An array with a row for each item, each of about this length.
fn table<T>(items: &[T], length: usize, mut fill: impl FnMut(&mut Row<'_>, &T)) -> String {
    let mut text = String::with_capacity(2 + items.len() * length);
    text.push('[');
    for (number, item) in items.iter().enumerate() {
        text.push_str(if number == 0 { "[" } else { ",[" });
        fill(&mut Row { text: &mut text, is_first: true }, item);
        text.push(']');
    }
    text.push(']');
    text
}

struct Row<'a> {
    text: &'a mut String,
    is_first: bool,
}

impl Row<'_> {
    fn number(&mut self, number: u64) {
        self.separate();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{number}");
    }

    /// Ids are graphic ASCII, so two characters are all there is to escape.
    fn text(&mut self, text: &str) {
        self.separate();
        self.text.push('"');
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(character);
        }
        self.text.push('"');
    }

    fn optional(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.number(number),
            None => self.null(),
        }
    }

    fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    fn null(&mut self) {
        self.separate();
        self.text.push_str("null");
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let id = RequestId::new("a\"b\\c").unwrap();
        assert_eq!(ids(&[id.clone(), RequestId::new("d").unwrap()]), r#"[["a\"b\\c"],["d"]]"#);
        let read: Vec<Vec<String>> = serde_json::from_str(&ids(std::slice::from_ref(&id))).unwrap();
        assert_eq!(read, [[id.as_str()]]);
        assert_eq!(keys(&[]), "[]");
        assert_eq!(keys(&[StockKey::new(1, 2).unwrap()]), "[[1,2]]");
        assert_eq!(numbers([1, 2]), "[[1],[2]]");
    }
}
