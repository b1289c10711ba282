//! One table a workload: what was measured, its ratio, and the goal beside it.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::contender::Kind;

/// What a figure is counted in.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Seconds,
    PerSecond,
    Bytes,
    /// Processor seconds a second.
    Cores,
    /// A number without a unit.
    Plain,
}

/// What a ratio should be, or, where a row has none, its value.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// One figure of one contender.
#[derive(Serialize)]
pub(crate) struct Row {
    measure: String,
    contender: &'static str,
    value: f64,
    unit: Unit,
    ratio: Option<f64>,
    to: Option<String>,
    goal: Option<Goal>,
    reached: Option<bool>,
}

/// A workload's table, and what is to be said beside it.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
    /// Lock keys that were left on the nodes, by contender.
    pub(crate) orphans: BTreeMap<Kind, usize>,
}

impl Row {
    pub(crate) fn new(measure: impl Into<String>, kind: Kind, value: f64, unit: Unit) -> Self {
        let measure = measure.into();
        Self { measure, contender: kind.name(), value, unit, ratio: None, to: None, goal: None, reached: None }
    }

    /// Compares the figure with something.
    pub(crate) fn ratio(mut self, ratio: f64, to: impl Into<String>) -> Self {
        (self.ratio, self.to) = (Some(ratio), Some(to.into()));
        self
    }

    /// Says what the ratio should be; the value itself where there is no ratio.
    pub(crate) fn goal(mut self, goal: impl Into<Option<Goal>>) -> Self {
        self.goal = goal.into();
        self.reached = self.goal.map(|goal| goal.met_by(self.ratio.unwrap_or(self.value)));
        self
    }

    fn cells(&self) -> [String; 7] {
        let verdict = match self.reached {
            Some(true) => "reached",
            Some(false) => "NOT reached",
            None => "",
        };
        [
            self.measure.clone(),
            self.contender.to_owned(),
            self.unit.show(self.value),
            self.ratio.map(|ratio| Unit::Plain.show(ratio)).unwrap_or_default(),
            self.to.clone().unwrap_or_default(),
            self.goal.map(|goal| goal.show(self.value_unit())).unwrap_or_default(),
            verdict.to_owned(),
        ]
    }

    /// What the goal is counted in.
    fn value_unit(&self) -> Unit {
        if self.ratio.is_some() { Unit::Plain } else { self.unit }
    }
}

impl Goal {
    fn met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", unit.show(most)),
            Self::AtLeast(least) => format!("≥ {}", unit.show(least)),
        }
    }
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new(), notes: Vec::new(), orphans: BTreeMap::new() }
    }

    /// Whether somebody left locks behind who must not; the peer's are its own affair.
    pub(crate) fn failed(&self) -> bool {
        self.orphans.iter().any(|(kind, left)| *kind != Kind::Rslock && *left > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["measure", "contender", "value", "ratio", "to", "goal", ""]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        for column in [2, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "\n## {}\n\n{table}\n", self.title)?;
        for (kind, left) in &self.orphans {
            writeln!(f, "- lock keys left on the nodes by {}: {left}", kind.name())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Cores => format!("{value:.2} cores"),
            Self::Plain if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
            Self::Plain => format!("{value:.2}"),
        }
    }
}
