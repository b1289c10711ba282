//! What the figures are to be, as ratios within one run, and whether they are.

use serde::Serialize;

use super::contender::Contender;
use super::orders::Scene;
use super::turn::Measured;
use crate::config::RepositoryKind;

/// A ratio of two contenders' figures, or a figure of one, that is to reach a bound.
pub(super) struct Goal {
    pub(super) scene: Scene,
    pub(super) what: &'static str,
    pub(super) of: Contender,
    pub(super) to: Contender,
    pub(super) figure: fn(&Measured, &Measured) -> f64,
    pub(super) bound: Bound,
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }
}

/// Whether a goal was reached.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// In which scene.
    pub scene: String,
    /// What was to be reached.
    pub goal: String,
    /// The median over the rounds.
    pub found: f64,
    /// The smallest and the largest of the rounds' figures.
    pub range: (f64, f64),
    /// Whether the median reaches the goal.
    pub reached: bool,
}

const ROW_LOCK: Contender = Contender::Repository(RepositoryKind::RowLock);
const REDLOCK: Contender = Contender::Repository(RepositoryKind::Redlock);
const RESIDENT: Contender = Contender::Repository(RepositoryKind::Resident);
const CONDITIONAL: Contender = Contender::Conditional;

const IN_DATABASE: &str = "resident is in the database after ≤ 30 s";

fn rate(of: &Measured, to: &Measured) -> f64 {
    of.rate / to.rate
}

fn p99(of: &Measured, to: &Measured) -> f64 {
    of.p99 / to.p99
}

fn share(of: &Measured, _: &Measured) -> f64 {
    of.least_share
}

fn drained(of: &Measured, _: &Measured) -> f64 {
    of.drained
}

/// Every goal.
pub(super) fn goals() -> Vec<Goal> {
    let redlock = |scene, what, to, figure, bound| Goal { scene, what, of: REDLOCK, to, figure, bound };
    let burst = |scene, what, to, figure, bound| Goal { scene, what, of: RESIDENT, to, figure, bound };
    let (rate_of, p99_of, share_of) = (rate as fn(&_, &_) -> _, p99 as fn(&_, &_) -> _, share as fn(&_, &_) -> _);
    vec![
        redlock(Scene::HOT, "redlock ≥ 15 × row-lock", ROW_LOCK, rate_of, Bound::AtLeast(15.0)),
        redlock(Scene::HOT, "redlock ≥ 12 × conditional-update", CONDITIONAL, rate_of, Bound::AtLeast(12.0)),
        redlock(Scene::HOT, "p99 of redlock ≤ 1/8 of row-lock's", ROW_LOCK, p99_of, Bound::AtMost(0.125)),
        redlock(Scene::HOT, "p99 of redlock ≤ 1/8 of conditional-update's", CONDITIONAL, p99_of, Bound::AtMost(0.125)),
        redlock(Scene::MANY, "redlock ≥ 3 × row-lock", ROW_LOCK, rate_of, Bound::AtLeast(3.0)),
        redlock(Scene::HOT_TWO, "redlock ≥ 6 × row-lock", ROW_LOCK, rate_of, Bound::AtLeast(6.0)),
        redlock(Scene::HOT_TWO, "each instance ≥ 1/2 of an even share", REDLOCK, share_of, Bound::AtLeast(0.5)),
        redlock(Scene::HOT_FOUR, "redlock ≥ 6 × row-lock", ROW_LOCK, rate_of, Bound::AtLeast(6.0)),
        redlock(Scene::HOT_FOUR, "each instance ≥ 1/2 of an even share", REDLOCK, share_of, Bound::AtLeast(0.5)),
        burst(Scene::BURST, "resident ≥ 2 × redlock", REDLOCK, rate_of, Bound::AtLeast(2.0)),
        burst(Scene::BURST, IN_DATABASE, RESIDENT, drained, Bound::AtMost(30.0)),
        burst(Scene::BURST_BEHIND, "resident ≥ 2 × redlock", REDLOCK, rate_of, Bound::AtLeast(2.0)),
        burst(Scene::BURST_BEHIND, IN_DATABASE, RESIDENT, drained, Bound::AtMost(30.0)),
        redlock(Scene::ALONE, "redlock ≥ 0.6 × row-lock", ROW_LOCK, rate_of, Bound::AtLeast(0.6)),
    ]
}

impl Goal {
    /// Whether these rounds reach it; `None` without any.
    pub(super) fn verdict(&self, of: &[Measured], to: &[Measured]) -> Option<Verdict> {
        let mut figures: Vec<_> = of.iter().zip(to).map(|(of, to)| (self.figure)(of, to)).collect();
        figures.sort_by(f64::total_cmp);
        let (&least, &most) = (figures.first()?, figures.last()?);
        let found = super::sheet::median(&figures);
        let reached = self.bound.is_reached(found);
        Some(Verdict { scene: self.scene.to_string(), goal: self.what.into(), found, range: (least, most), reached })
    }
}
