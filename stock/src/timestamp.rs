//! A moment by the database's clock, the only one that all instances share.

/// Microseconds since the beginning of 1970, UTC, as the database counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment so many microseconds after the beginning of 1970, UTC.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the beginning of 1970, UTC.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }
}
