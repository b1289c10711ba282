//! Whole numbers in bodies: taken as JSON has them, and refused with the code that fits what they are for.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::problem::{Code, Problem};
use crate::operation::{Id, MAX_INTEGER, Quantity};

/// Any JSON number. What is no whole number from 0 to 2^53 − 1 is kept as [`None`], since who reads the field
/// knows what that means there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(Option<u64>);

impl Number {
    /// So many units.
    pub(super) fn quantity(self) -> Result<Quantity, Problem> {
        match self.0 {
            Some(units) => Ok(Quantity::new(units)?),
            None => Err(Problem::new(
                Code::InvalidQuantity,
                format!("the quantity is no whole number from 0 to {MAX_INTEGER}"),
            )),
        }
    }

    /// The number of something.
    pub(super) fn id(self, name: &str) -> Result<Id, Problem> {
        Id::new(self.get(name)?).map_err(|error| Problem::invalid(format!("{name}: {error}")))
    }

    /// A whole number.
    pub(super) fn get(self, name: &str) -> Result<u64, Problem> {
        self.0.ok_or_else(|| Problem::invalid(format!("{name} is no whole number from 0 to {MAX_INTEGER}")))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(Some(number).filter(|number| *number <= MAX_INTEGER)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(u64::try_from(number).ok().filter(|number| *number <= MAX_INTEGER)))
            }

            // 3.0 is a whole number to JSON Schema, and what some languages send.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "every whole number up to 2^53 − 1 is exact"
            )]
            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                let is_whole = number.fract() == 0.0 && (0.0..=MAX_INTEGER as f64).contains(&number);
                Ok(Number(is_whole.then_some(number as u64)))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn whole_numbers_are_taken_however_they_are_written() {
        for (text, number) in [("0", 0), ("3.0", 3), ("1e2", 100), ("9007199254740991", MAX_INTEGER), ("-0", 0)] {
            assert_eq!(read(text), Number(Some(number)), "{text}");
        }
        for text in ["-1", "1.5", "9007199254740992", "1e300", "18446744073709551615", "99999999999999999999"] {
            assert_eq!(read(text), Number(None), "{text}");
        }
        for text in ["\"1\"", "null", "true", "[1]"] {
            assert!(serde_json::from_str::<Number>(text).is_err(), "{text}");
        }
    }
}
