//! `stock bench`: the repositories beside each other.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use stock::bench::{self, Contender, Plan, Scene};
use stock::config::{Config, DATABASE_URL, REDIS_HOST, REDLOCK_NODES, RepositoryKind};

/// How fast the repositories are beside each other and beside a conditional UPDATE.
///
/// Needs a MySQL or MariaDB of which commits are durable, and lock nodes (REDLOCK_NODES). Records are
/// made in the database and stay there with their log: give it one of its own. Other instances are this
/// program, started again.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The database: a mysql:// or mariadb:// URL; DATABASE_URL unless given.
    #[arg(long)]
    database: Option<String>,
    /// Who is measured: row-lock, redlock, resident (needs REDIS_HOST), conditional-update.
    #[arg(long = "repository", value_name = "NAME", value_delimiter = ',',
          default_values_t = [Contender::Repository(RepositoryKind::RowLock), Contender::Repository(RepositoryKind::Redlock), Contender::Conditional])]
    contenders: Vec<Contender>,
    /// What they do: hot (one record), many (200 records), hot-2 and hot-4 (one record, so many
    /// instances), alone (one client), burst (ten seconds, redlock and resident),
    /// burst-behind (the same, written back afterwards), burst-no-ids (as burst, with ids made by the repository),
    /// http (one record, clients over HTTP).
    #[arg(long = "scene", value_name = "NAME", value_delimiter = ',', default_values = Scene::ALL.map(|(name, _)| name))]
    scenes: Vec<Scene>,
    /// How many clients there are over all instances, 1 to 4096.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: u16,
    /// How often everything is measured, 1 to 99.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// How many seconds each turn is measured, 1 to 600.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many seconds those of bursts are measured, 1 to 600; the goals are about 10.
    #[arg(long, default_value_t = bench::BURST.as_secs(), value_parser = clap::value_parser!(u64).range(1..=600))]
    burst_seconds: u64,
    /// Also writes everything that was measured to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    /// Measures, prints, and says whether every goal was reached.
    pub(crate) async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let database = self.database.or_else(|| std::env::var(DATABASE_URL).ok().filter(|url| !url.is_empty()));
        let plan = Plan {
            database: database.with_context(|| format!("{DATABASE_URL} is not set; give --database"))?,
            nodes: config.nodes,
            redis: config.redis.map(|place| place.url()),
            restart_guard: config.restart_guard.unwrap_or_default(),
            contenders: self.contenders,
            scenes: self.scenes,
            clients: self.clients.into(),
            rounds: self.rounds.into(),
            measured: Duration::from_secs(self.seconds),
            burst: Duration::from_secs(self.burst_seconds),
        };
        let locks = plan.contenders.contains(&Contender::Repository(RepositoryKind::Redlock));
        anyhow::ensure!(!locks || !plan.nodes.is_empty(), "{REDLOCK_NODES} is not set, and redlock needs nodes");
        let levels = plan.contenders.contains(&Contender::Repository(RepositoryKind::Resident));
        anyhow::ensure!(!levels || plan.redis.is_some(), "{REDIS_HOST} is not set, and resident needs a Redis");
        let sheet = bench::run(&plan).await?;
        println!("{sheet}");
        if let Some(path) = &self.json {
            let write = || std::fs::write(path, serde_json::to_vec_pretty(&sheet)?).map_err(anyhow::Error::from);
            write().with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
