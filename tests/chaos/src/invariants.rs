//! What must hold, whatever was done to nodes, database and clients: one file each. Each looks at the record of a run
//! and tells what it finds broken.

mod exclusion;
mod holds;
mod levels;
mod losses;
mod negative;
mod once;
mod order;
pub(crate) mod recovery;
mod stale;
mod sums;
mod tokens;

use crate::record::History;

pub(crate) use self::exclusion::overlaps;

/// Something that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// No two valid guards of one key.
    Exclusion,
    /// Tokens grow.
    Tokens,
    /// No write under an older token comes after one under a newer one, and no accepted write is lost.
    StaleWrites,
    /// No level was ever below zero.
    NothingNegative,
    /// Levels are the sum of the log, and each entry did what its operation does.
    Sums,
    /// Every answered operation is in the log exactly once, and nothing else is.
    ExactlyOnce,
    /// The same, but for what a Redis that forgets takes with it.
    Losses,
    /// What orders hold is what the log says of them, and ends by itself in its time.
    Holds,
    /// What was over before something else began comes before it in the log.
    RealTimeOrder,
    /// Work goes on, and is back to what it was soon after the last fault.
    Recovery,
}

impl Invariant {
    /// What is called broken in a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exclusion => "no two valid guards",
            Self::Tokens => "tokens grow",
            Self::StaleWrites => "no stale write accepted",
            Self::NothingNegative => "nothing negative",
            Self::Sums => "levels equal the sum of the log",
            Self::ExactlyOnce => "every answered operation logged exactly once",
            Self::Losses => "nothing lost but what was not written back",
            Self::Holds => "holds agree with the log",
            Self::RealTimeOrder => "real time agrees with versions",
            Self::Recovery => "work goes on",
        }
    }

    /// What of it is broken; nothing, where it holds.
    pub(crate) fn check(self, history: &History) -> Vec<String> {
        match self {
            Self::Exclusion => exclusion::check(history),
            Self::Tokens => tokens::check(history),
            Self::StaleWrites => stale::check(history),
            Self::NothingNegative => negative::check(history),
            Self::Sums => sums::check(history),
            Self::ExactlyOnce => once::check(history),
            Self::Losses => losses::check(history),
            Self::Holds => holds::check(history),
            Self::RealTimeOrder => order::check(history),
            Self::Recovery => recovery::check(history),
        }
    }
}
