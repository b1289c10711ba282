//! What came of it: a table, and whether it was right.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::tally::Told;
use crate::log::Audit;

/// Why the sale ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing was left to sell.
    SoldOut,
    /// The time was up.
    TimeUp,
    /// Somebody stopped it.
    Interrupted,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SoldOut => "Sold out",
            Self::TimeUp => "Time was up",
            Self::Interrupted => "Interrupted",
        })
    }
}

/// The outcome of a sale. Shown, it is the table at the end of the demo.
#[derive(Debug, Clone)]
pub struct Report {
    pub(super) stock: u64,
    pub(super) end: End,
    pub(super) took: Duration,
    pub(super) told: Told,
    /// How often a lock node has failed meanwhile; `None` where nobody counted.
    pub(super) node_failures: Option<u64>,
    /// What the database says afterwards, or why it could not be asked.
    pub(super) audit: Result<Audit, String>,
    /// Whether every change was logged; the unguarded repository keeps no log.
    pub(super) logged: bool,
}

impl Report {
    /// Units promised to buyers beyond what was put in.
    #[must_use]
    pub fn oversold(&self) -> u64 {
        self.told.promised().max(self.told.sold()).saturating_sub(self.stock)
    }

    /// Whether nothing was oversold, and the database agrees with itself and with what buyers were
    /// told.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.oversold() == 0 && self.database().1.is_none()
    }

    /// What the database says, in a word, and in a sentence where that is not right.
    fn database(&self) -> (&'static str, Option<String>) {
        match self.audit.as_ref().map(|audit| self.disagreement(audit)) {
            Ok(None) => ("agrees", None),
            Ok(Some(reason)) => ("disagrees", Some(format!("The database disagrees: {reason}."))),
            Err(reason) => ("no answer", Some(format!("The database could not be asked: {reason}."))),
        }
    }

    /// What is wrong in the database, if anything is.
    fn disagreement(&self, audit: &Audit) -> Option<String> {
        let least = self.told.sold();
        let most = least + self.told.maybe_sold();
        // More than was put in cannot have left: the difference is then simply wrong.
        let left = self.stock.checked_sub(audit.record.levels.stock());
        if left.is_none_or(|left| left < least || left > most) {
            let left = left.map_or("less than nothing".into(), |left| left.to_string());
            return Some(format!("{left} left the shelf, buyers were told {least}"));
        }
        if !self.logged {
            return None;
        }
        if let Err(discrepancy) = audit.reconcile() {
            return Some(discrepancy.to_string());
        }
        let logged = audit.log.deducted;
        (logged < least || logged > most).then(|| format!("the log has {logged} sold, buyers were told {least}"))
    }

    fn failures(&self) -> String {
        let reasons: Vec<_> = self.told.failed.iter().map(|(code, count)| format!("{count} {code}")).collect();
        match reasons.as_slice() {
            [] => "0".into(),
            reasons => format!("{} ({})", self.told.failures(), reasons.join(", ")),
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let latency = |quantile| {
            let micros = self.told.latency.value_at_quantile(quantile);
            format!("{:.1} ms", Duration::from_micros(micros).as_secs_f64() * 1e3)
        };
        let mut rows = vec![
            ("stock", self.stock.to_string()),
            ("sold", self.told.sold().to_string()),
            ("oversold", self.oversold().to_string()),
            ("refused", self.told.refused.to_string()),
            ("failed", self.failures()),
            ("operations", self.told.operations.to_string()),
            ("operations/s", self.rate()),
            ("latency p50", latency(0.5)),
            ("latency p99", latency(0.99)),
            ("database", self.database().0.into()),
        ];
        if let Some(failures) = self.node_failures {
            rows.push(("node failures", failures.to_string()));
        }
        rows
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate has no use for sixteen digits")]
    fn rate(&self) -> String {
        let rate = self.told.operations as f64 / self.took.as_secs_f64().max(1e-3);
        format!("{rate:.0}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        for (name, value) in self.rows() {
            table.add_row([name, &value]);
        }
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{} after {:.1} s.", self.end, self.took.as_secs_f64())?;
        write!(f, "{table}")?;
        match self.database().1 {
            None => Ok(()),
            Some(sentence) => write!(f, "\n{sentence}"),
        }
    }
}
