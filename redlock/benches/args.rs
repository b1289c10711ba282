//! What can be chosen on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// As many nodes as the goals speak of.
pub(crate) const NODES: usize = 5;
/// Longer than any turn and its drain, so that no orphan expires before it is counted. W5 has another, and counts
/// at once.
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// Measures `redlock` against the floor and against `rslock`.
#[derive(Debug, Parser)]
#[command(name = "locks")]
pub(crate) struct Args {
    /// What to measure [default: all of them]
    workloads: Vec<Workload>,
    /// Turns of every contender; figures are medians over them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Length of one turn, in seconds
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Leases that w5 holds
    #[arg(long, default_value_t = 100_000)]
    pub(crate) leases: u32,
    /// How long w5 holds them, in seconds [default: 180 if w5 is named or with --full, else 35]
    #[arg(long, value_parser = seconds)]
    hold: Option<Duration>,
    /// Everything at full length
    #[arg(long)]
    full: bool,
    /// Also writes every figure to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Uses tokio's current-thread runtime instead of two workers
    #[arg(long)]
    pub(crate) current_thread: bool,
    /// Said by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// The orders of a process that the bench starts by itself
    #[arg(long, hide = true)]
    pub(crate) worker: Option<String>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    W1,
    W2,
    W3,
    W3p,
    W4,
    W5,
}

impl Args {
    /// The workloads to run, in their order.
    pub(crate) fn chosen(&self) -> Vec<Workload> {
        let all = Workload::value_variants().iter().copied();
        all.filter(|workload| self.workloads.is_empty() || self.workloads.contains(workload)).collect()
    }

    /// How long w5 holds its leases. The short time is still longer than their ttl, so that none outlives it unrenewed.
    pub(crate) fn hold(&self) -> Duration {
        let asked_for = self.full || self.workloads.contains(&Workload::W5);
        self.hold.unwrap_or(Duration::from_secs(if asked_for { 180 } else { 35 }))
    }
}

impl Workload {
    /// As it is called on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W3p => "w3p",
            Self::W4 => "w4",
            Self::W5 => "w5",
        }
    }

    /// What happens in it.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::W1 => "sequential acquire and release on distinct keys",
            Self::W2 => "64 tasks on their own keys",
            Self::W3 => "16 tasks on one key",
            Self::W3p => "4 processes of 4 tasks on one key",
            Self::W4 => "one, then two of five nodes stopped",
            Self::W5 => "many leases",
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
