//! The figures of all rounds, and what they come to.

use std::collections::BTreeMap;

use crate::contender::Kind;

/// What one turn of one contender measured, by name: seconds, or a plain number.
pub(crate) type Turn = BTreeMap<&'static str, f64>;

/// The turns of a workload. The nth turn of every contender was in the same round.
#[derive(Default)]
pub(crate) struct Sheet {
    turns: BTreeMap<Kind, Vec<Turn>>,
}

impl Sheet {
    pub(crate) fn add(&mut self, kind: Kind, turn: Turn) {
        self.turns.entry(kind).or_default().push(turn);
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, kind: Kind, measure: &str) -> f64 {
        median(self.values(kind, measure).collect())
    }

    /// The median of the rounds' own ratios: what disturbed a round disturbed both sides.
    pub(crate) fn ratio(&self, (kind, measure): (Kind, &str), (other, to): (Kind, &str)) -> f64 {
        median(self.values(kind, measure).zip(self.values(other, to)).map(|(value, base)| value / base).collect())
    }

    fn values(&self, kind: Kind, measure: &str) -> impl Iterator<Item = f64> {
        self.turns.get(&kind).into_iter().flatten().map(move |turn| turn.get(measure).copied().unwrap_or(f64::NAN))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
