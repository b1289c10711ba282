//! How fast the repositories are beside each other, measured in one run on one database.
//!
//! Clients are tasks that call a repository inside an instance and ask again as soon as they are
//! answered; every request has an id of its client's. Instances are processes: this program started
//! again, with its orders on standard input. Rounds are interleaved (A B C A B C …), figures are
//! medians over the rounds, and a ratio is the median of the rounds' own ratios, so that a noisy moment
//! hits both sides of it. After every turn the levels are reconciled with the log, and the log with
//! what clients were told.
//!
//! Beside the repositories runs what people would write by hand: one conditional `UPDATE` and its log
//! row in a transaction ([`Contender::Conditional`]).

mod child;
mod conditional;
mod contender;
mod count;
mod database;
mod goals;
mod instance;
mod orders;
mod over_http;
mod sheet;
mod times;
mod turn;

use std::time::Duration;

pub use self::contender::{Contender, InvalidContender};
pub use self::goals::Verdict;
pub use self::instance::serve;
pub use self::orders::{InvalidScene, Scene};
pub use self::sheet::Sheet;

use self::database::Database;
use self::turn::Turn;

/// What is to be measured, and on what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The database: a URL of MySQL or MariaDB. Records are made in it, and stay.
    pub database: String,
    /// The lock nodes' URLs; needed by whoever takes leases.
    pub nodes: Vec<String>,
    /// The URL of the Redis of resident levels; needed by that repository.
    pub redis: Option<String>,
    /// Whether lock nodes that were restarted lately are kept out of votes.
    pub restart_guard: crate::config::RestartGuard,
    /// Who is measured.
    pub contenders: Vec<Contender>,
    /// What they do.
    pub scenes: Vec<Scene>,
    /// How many clients there are, over all instances; scenes of one client have one.
    pub clients: usize,
    /// How often everything is measured.
    pub rounds: usize,
    /// How long each turn is measured, after a time to warm up.
    pub measured: Duration,
    /// How long those of bursts are; the goals are about [`BURST`].
    pub burst: Duration,
}

/// How long bursts are.
pub const BURST: Duration = Duration::from_secs(10);

/// How long a turn runs before it is measured.
pub const WARM_UP: Duration = Duration::from_millis(700);

/// Measures everything and says so on standard error; the figures are in the sheet.
///
/// # Errors
///
/// A database that is not there, or does not make commits durable; an instance that fails; levels that
/// the log does not explain.
///
/// # Cancel safety
///
/// Dropped, it kills the instances it has started. The records it has made stay.
pub async fn run(plan: &Plan) -> anyhow::Result<Sheet> {
    let database = Database::open(&plan.database).await?;
    let server = database.check_durable().await?;
    let mut sheet = Sheet::new(server, plan);
    for &scene in &plan.scenes {
        for round in 1..=plan.rounds {
            for &contender in plan.contenders.iter().filter(|contender| scene.has(**contender)) {
                let turn = Turn { plan, scene, contender };
                let measured = turn.run(&database).await?;
                eprintln!("{scene}, round {round} of {}: {contender} {measured}", plan.rounds);
                sheet.add(scene, contender, measured);
            }
        }
    }
    database.close().await;
    Ok(sheet)
}
