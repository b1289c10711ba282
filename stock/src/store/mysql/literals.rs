//! Statements with their values in them.
//!
//! What is written in one go, however many rows it is, takes statements prepared for exactly so many, or texts that the
//! server takes apart: several at once, in one round trip. Sets as JSON take neither; but MariaDB looks through a row of
//! JSON from its beginning for each of its columns, which for the log took it longer than all the writing.

use crate::log::LogEntry;
use crate::request::{ExpiresIn, OrderId};
use crate::store::dialect::entry_columns;
use crate::store::session::{Statement, Value};

const APPEND: &str = concat!("INSERT INTO product_stock_logs (", entry_columns!(), ") VALUES ");

/// About as long as a row of the log is.
const ROW: usize = 280;

/// A fixed text with its values in the places of its question marks.
pub(super) fn filled(statement: &Statement) -> String {
    let mut text = String::with_capacity(2 * statement.text.len());
    debug_assert_eq!(statement.text.matches('?').count(), statement.values.len(), "{}", statement.text);
    let mut values = statement.values.iter();
    for piece in statement.text.split_inclusive('?') {
        match (piece.strip_suffix('?'), values.next()) {
            (Some(before), Some(value)) => {
                text.push_str(before);
                match value {
                    Value::Number(number) => push_optional(&mut text, *number, push_signed),
                    Value::Text(value) => push_optional(&mut text, value.as_deref(), push_text),
                }
            }
            _ => text.push_str(piece),
        }
    }
    text
}

/// A statement that adds entries to the log.
pub(super) fn append(entries: &[LogEntry]) -> String {
    let mut text = String::with_capacity(APPEND.len() + entries.len() * ROW);
    text.push_str(APPEND);
    for entry in entries {
        push_entry(&mut text, entry);
    }
    // After the last row.
    text.pop();
    text
}

/// A row, and a comma.
fn push_entry(text: &mut String, entry: &LogEntry) {
    let mut row = Row { text, separator: '(' };
    row.push(entry.stock_id, push_number);
    row.push(entry.key.variant_id.get(), push_number);
    row.push(entry.key.warehouse_id.get(), push_number);
    row.push(entry.request_id.as_str(), push_text);
    row.push(u64::from(entry.position), push_number);
    row.optional(entry.order_id.as_ref().map(OrderId::as_str), push_text);
    row.optional(entry.expires_in.map(ExpiresIn::get), push_number);
    row.push(entry.action.name(), push_text);
    row.push(entry.quantity.get(), push_number);
    for levels in [entry.before, entry.after] {
        row.push(levels.stock(), push_number);
        row.push(levels.available(), push_number);
        row.push(levels.locked(), push_number);
        row.push(levels.reserved(), push_number);
    }
    row.optional(entry.fence, push_number);
    row.push(entry.version, push_number);
    text.push_str("),");
}

struct Row<'a> {
    text: &'a mut String,
    /// What comes before the next value.
    separator: char,
}

impl Row<'_> {
    fn push<T>(&mut self, value: T, push: fn(&mut String, T)) {
        self.text.push(std::mem::replace(&mut self.separator, ','));
        push(self.text, value);
    }

    fn optional<T>(&mut self, value: Option<T>, push: fn(&mut String, T)) {
        self.text.push(std::mem::replace(&mut self.separator, ','));
        push_optional(self.text, value, push);
    }
}

fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

fn push_signed(text: &mut String, number: i64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// In hexadecimal, so that whatever it says means nothing to the server.
fn push_text(text: &mut String, value: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str("X'");
    for byte in value.bytes() {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.push('\'');
}

fn push_optional<T>(text: &mut String, value: Option<T>, push: impl FnOnce(&mut String, T)) {
    match value {
        Some(value) => push(text, value),
        None => text.push_str("NULL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels::StockLevels;
    use crate::operation::{Operation, Quantity, StockKey};
    use crate::request::RequestId;

    #[test]
    fn rows_of_the_log_have_no_text_that_could_be_taken_for_anything_else() {
        let entry = LogEntry {
            stock_id: 1,
            key: StockKey::new(2, 3).unwrap(),
            request_id: RequestId::new("'\\a").unwrap(),
            position: 4,
            order_id: None,
            expires_in: None,
            action: Operation::Lock,
            quantity: Quantity::new(5).unwrap(),
            before: StockLevels::new(6, 7, 8).unwrap(),
            after: StockLevels::new(1, 12, 8).unwrap(),
            fence: Some(9_007_199_254_740_991),
            version: 10,
        };
        let row = "(1,2,3,X'275c61',4,NULL,NULL,X'6c6f636b',5,21,6,7,8,21,1,12,8,9007199254740991,10)";
        assert_eq!(append(&[entry.clone(), entry]), format!("{APPEND}{row},{row}"));
    }

    #[test]
    fn values_stand_where_question_marks_stood() {
        let statement = Statement::new("a = ?, b = ? WHERE c = ? AND d IS NOT NULL");
        let statement = statement.number(7).optional(None).text("'?");
        assert_eq!(filled(&statement), "a = 7, b = NULL WHERE c = X'273f' AND d IS NOT NULL");
    }
}
