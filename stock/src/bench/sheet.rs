//! All figures of a run, and the tables made of them.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::contender::Contender;
use super::goals::{self, Verdict};
use super::orders::Scene;
use super::turn::Measured;
use super::{Plan, WARM_UP};

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Sheet {
    server: String,
    clients: usize,
    rounds: usize,
    measured: Duration,
    rows: Vec<Row>,
}

/// A contender's rounds in a scene.
#[derive(Debug, Serialize)]
struct Row {
    scene: Scene,
    contender: Contender,
    rounds: Vec<Measured>,
}

impl Sheet {
    pub(super) fn new(server: String, plan: &Plan) -> Self {
        Self { server, clients: plan.clients, rounds: plan.rounds, measured: plan.measured, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, scene: Scene, contender: Contender, measured: Measured) {
        if self.rounds_of(scene, contender).is_empty() {
            self.rows.push(Row { scene, contender, rounds: Vec::new() });
        }
        let row = self.rows.iter_mut().find(|row| (row.scene, row.contender) == (scene, contender));
        if let Some(row) = row {
            row.rounds.push(measured);
        }
    }

    fn rounds_of(&self, scene: Scene, contender: Contender) -> &[Measured] {
        let row = self.rows.iter().find(|row| (row.scene, row.contender) == (scene, contender));
        row.map_or(&[], |row| &row.rounds)
    }

    /// The goals of what was measured, and whether they were reached.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let rounds = |scene, contender| self.rounds_of(scene, contender);
        goals::goals()
            .iter()
            .filter_map(|goal| goal.verdict(rounds(goal.scene, goal.of), rounds(goal.scene, goal.to)))
            .collect()
    }

    fn figures(&self) -> Table {
        let mut table =
            table(["", "", "requests/s", "p50 ms", "p99 ms", "least share", "drained s", "sustained/s", "failed"]);
        for Row { scene, contender, rounds } in &self.rows {
            let figure = |of: fn(&Measured) -> f64| {
                let mut figures: Vec<_> = rounds.iter().map(of).collect();
                figures.sort_by(f64::total_cmp);
                median(&figures)
            };
            table.add_row([
                scene.to_string(),
                contender.to_string(),
                format!("{:.0}", figure(|one| one.rate)),
                format!("{:.2}", figure(|one| one.p50)),
                format!("{:.2}", figure(|one| one.p99)),
                format!("{:.2}", figure(|one| one.least_share)),
                format!("{:.1}", figure(|one| one.drained)),
                format!("{:.0}", figure(|one| one.sustained)),
                rounds.iter().map(|one| one.failed).sum::<u64>().to_string(),
            ]);
        }
        table
    }

    fn goals(&self) -> Table {
        let mut table = table(["", "goal", "found", "rounds", ""]);
        for Verdict { scene, goal, found, range, reached } in self.verdicts() {
            let verdict = if reached { "reached" } else { "NOT reached" };
            let range = format!("{:.2} … {:.2}", range.0, range.1);
            table.add_row([scene, goal, format!("{found:.2}"), range, verdict.into()]);
        }
        table
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, clients, rounds, measured, .. } = self;
        writeln!(
            f,
            "{server}, innodb_flush_log_at_trx_commit = 1; {clients} clients, {rounds} interleaved rounds, each turn \
             {measured:?} after {WARM_UP:?} to warm up; medians over the rounds.\n"
        )?;
        writeln!(f, "{}\n\n{}", self.figures(), self.goals())
    }
}

/// A table that is also Markdown.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The one in the middle of sorted figures, or the mean of the two there; zero without any.
pub(super) fn median(sorted: &[f64]) -> f64 {
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => 0.0,
        (middle, 1) => sorted[middle],
        (middle, _) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RepositoryKind;

    fn measured(rate: f64, p99: f64) -> Measured {
        let (drained, sustained) = (0.0, rate);
        Measured { rate, p50: 1.0, p99, least_share: 1.0, drained, sustained, failed: 0, error: None }
    }

    fn sheet(redlock: [f64; 3]) -> Sheet {
        let mut sheet = Sheet {
            server: "MySQL".into(),
            clients: 64,
            rounds: 3,
            measured: Duration::from_secs(1),
            rows: Vec::new(),
        };
        for rate in redlock {
            sheet.add(Scene::HOT, Contender::Repository(RepositoryKind::RowLock), measured(100.0, 80.0));
            sheet.add(Scene::HOT, Contender::Repository(RepositoryKind::Redlock), measured(rate, 8.0));
        }
        sheet
    }

    #[test]
    fn the_median_round_decides() {
        for (rates, reached) in [([900.0, 1_500.0, 2_000.0], true), ([1_499.0, 1.0, 9_999.0], false)] {
            let sheet = sheet(rates);
            let verdicts = sheet.verdicts();
            let found: Vec<_> = verdicts.iter().map(|verdict| (verdict.goal.as_str(), verdict.reached)).collect();
            let expected = [("redlock ≥ 15 × row-lock", reached), ("p99 of redlock ≤ 1/8 of row-lock's", true)];
            assert_eq!(found, expected, "goals of contenders that were not measured are left out");
            assert_eq!(sheet.to_string().contains("NOT reached"), !reached, "{sheet}");
        }
    }

    #[test]
    fn an_even_number_of_rounds_has_two_in_the_middle() {
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[]) - 0.0).abs() < 1e-9);
    }
}
