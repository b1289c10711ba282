//! What a run prints: rung, what went wrong, how often, what mends it.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

/// How often a flaw showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// So often.
    pub(crate) times: usize,
    /// Out of so many trials.
    pub(crate) of: usize,
}

impl Seen {
    /// Never, so far.
    pub(crate) fn none_of(of: usize) -> Self {
        Self { times: 0, of }
    }

    /// One more trial.
    pub(crate) fn count(&mut self, showed: bool) {
        self.times += usize::from(showed);
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.times, self.of)
    }
}

/// One rung with one of its flaws, and the same schedule on what mends it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The lock.
    pub(crate) rung: &'static str,
    /// What goes wrong with it.
    pub(crate) flaw: &'static str,
    /// How often it did.
    pub(crate) seen: Seen,
    /// What the next rung does about it.
    pub(crate) mended_by: &'static str,
    /// How often it went wrong there, under the same schedule.
    pub(crate) seen_then: Seen,
}

/// The whole climb.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    /// From the bottom up.
    pub(crate) rows: Vec<Row>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Ladder {
    /// Whether every flaw showed in every trial, and in none once it was mended.
    pub(crate) fn is_as_told(&self) -> bool {
        self.rows.iter().all(|row| row.seen.times == row.seen.of && row.seen_then.times == 0)
    }
}

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["", "rung", "what goes wrong", "seen", "what mends it", "seen then"]);
        for (index, row) in self.rows.iter().enumerate() {
            let (seen, then) = (row.seen.to_string(), row.seen_then.to_string());
            table.add_row([&(index + 1).to_string(), row.rung, row.flaw, &seen, row.mended_by, &then]);
        }
        for column in [0, 3, 5] {
            if let Some(numbers) = table.column_mut(column) {
                numbers.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}\nClimbed in {:.1} s, on real redis-servers.", self.took.as_secs_f64())
    }
}
