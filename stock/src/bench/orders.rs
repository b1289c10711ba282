//! What an instance is told to do, and what it tells afterwards: lines of JSON.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Plan;
use super::contender::Contender;
use super::times::Times;
use crate::config::RepositoryKind;

/// Who rushes what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// Over how many records clients are spread.
    pub records: u64,
    /// In how many instances clients are.
    pub instances: usize,
    /// Whether there is one client only, whatever the plan says.
    pub alone: bool,
    /// Whether it is short and fierce, and what the database does not have by its end is waited for.
    pub burst: bool,
    /// Whether clients go over HTTP.
    pub http: bool,
    /// Whether the repository makes the ids of requests.
    pub no_ids: bool,
    /// Whether the database may be behind for as long as that takes.
    pub behind: bool,
}

impl Scene {
    /// One record, one instance.
    pub const HOT: Self =
        Self { records: 1, instances: 1, alone: false, burst: false, http: false, no_ids: false, behind: false };
    /// 200 records, one instance.
    pub const MANY: Self = Self { records: 200, ..Self::HOT };
    /// One record, two instances.
    pub const HOT_TWO: Self = Self { instances: 2, ..Self::HOT };
    /// One record, four instances.
    pub const HOT_FOUR: Self = Self { instances: 4, ..Self::HOT };
    /// One record, one client.
    pub const ALONE: Self = Self { alone: true, ..Self::HOT };
    /// One record, one instance, as long as bursts are, for those who combine requests.
    pub const BURST: Self = Self { burst: true, ..Self::HOT };
    /// The same, written back when it is over.
    pub const BURST_BEHIND: Self = Self { behind: true, ..Self::BURST };
    /// As a burst, with ids that the repository makes: nobody else has used them.
    pub const BURST_NO_IDS: Self = Self { no_ids: true, ..Self::BURST };
    /// One record, over HTTP.
    pub const HTTP: Self = Self { http: true, ..Self::HOT };

    /// Every scene, with its name on the command line.
    pub const ALL: [(&str, Self); 9] = [
        ("hot", Self::HOT),
        ("many", Self::MANY),
        ("hot-2", Self::HOT_TWO),
        ("hot-4", Self::HOT_FOUR),
        ("alone", Self::ALONE),
        ("burst", Self::BURST),
        ("burst-behind", Self::BURST_BEHIND),
        ("burst-no-ids", Self::BURST_NO_IDS),
        ("http", Self::HTTP),
    ];

    /// How many clients are in an instance.
    pub(super) fn clients_in_each(self, clients: usize) -> usize {
        if self.alone { 1 } else { (clients / self.instances).max(1) }
    }

    /// Whether this contender is in it: in a burst those that are compared there, over HTTP those that
    /// answer when the database has it.
    pub(super) fn has(self, contender: Contender) -> bool {
        let is = |kinds: [RepositoryKind; 2]| kinds.map(Contender::Repository).contains(&contender);
        match self {
            Self { burst: true, .. } => is([RepositoryKind::Redlock, RepositoryKind::Resident]),
            Self { http: true, .. } => is([RepositoryKind::Redlock, RepositoryKind::RowLock]),
            _ => true,
        }
    }

    /// How long it is measured.
    pub(super) fn measured(self, plan: &Plan) -> Duration {
        if self.burst { plan.burst } else { plan.measured }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.records {
            1 => f.write_str("one record")?,
            records => write!(f, "{records} records")?,
        }
        match (self.alone, self.instances) {
            _ if self.behind => f.write_str(", a burst, written back afterwards"),
            _ if self.no_ids => f.write_str(", a burst, ids made here"),
            _ if self.burst => f.write_str(", a burst"),
            _ if self.http => f.write_str(", over HTTP"),
            (true, _) => f.write_str(", one client"),
            (_, 1) => Ok(()),
            (_, instances) => write!(f, ", {instances} instances"),
        }
    }
}

impl FromStr for Scene {
    type Err = InvalidScene;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find_map(|(known, scene)| (known == name).then_some(scene)).ok_or(InvalidScene)
    }
}

/// A name that no scene has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed are hot, many, hot-2, hot-4, alone, burst, burst-behind, burst-no-ids and http")]
pub struct InvalidScene;

/// The first line an instance reads.
#[derive(Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) database: String,
    pub(super) nodes: Vec<String>,
    /// The Redis of resident levels.
    pub(super) redis: Option<String>,
    /// Whether restarted lock nodes are kept out of votes.
    pub(super) quarantine: bool,
    pub(super) contender: Contender,
    /// Whether clients go over HTTP.
    pub(super) http: bool,
    /// Whether the repository makes the ids of requests.
    pub(super) no_ids: bool,
    /// How far the database may be behind, where levels are resident.
    pub(super) lag_ms: u64,
    /// The variants, all in warehouse 0.
    pub(super) variants: Vec<u64>,
    pub(super) clients: usize,
    pub(super) warm_up_ms: u64,
    pub(super) measured_ms: u64,
}

/// The last line an instance writes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Requests that were answered while it was measured, and how long each took.
    pub(super) times: Times,
    /// Requests that were carried out, before and after that too.
    pub(super) done: u64,
    /// Requests of which nobody knows.
    pub(super) unknown: u64,
    /// Requests that came to nothing, and what the first of them said.
    pub(super) failed: u64,
    /// How long it took afterwards until the database had everything.
    pub(super) drained_ms: u64,
    pub(super) error: Option<String>,
}
