//! The command `stock`.

#[path = "stock/admin.rs"]
mod admin;
#[path = "stock/health.rs"]
mod health;
#[path = "stock/measure.rs"]
mod measure;
#[path = "stock/resident.rs"]
mod resident;
#[path = "stock/serve.rs"]
mod serve;
#[path = "stock/settings.rs"]
mod settings;
#[path = "stock/show.rs"]
mod show;
#[path = "stock/signals.rs"]
mod signals;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use stock::config::{Config, ConfigError, LogFormat, RUST_LOG, RepositoryKind};
use stock::demo::{self, Sale};
use tracing_subscriber::EnvFilter;

use self::measure::Bench;
use self::settings::Settings;

/// What is logged unless RUST_LOG says otherwise. sqlx would warn of every wait for a busy row; what
/// is wrong with lock nodes the demo says itself.
const LOG: &str = "warn,sqlx=error,redlock=error";

/// What a service logs unless RUST_LOG says otherwise: not every request.
const SERVICE_LOG: &str = "info,sqlx=error,redlock=warn,stock::service::trace=warn";

/// Exit status for a value that cannot be used; the same as for an unknown flag.
const USAGE: u8 = 2;

/// What exit statuses say; the end of `stock --help`.
const STATUSES: &str = "\
Exit status:
  0  it was done; of `serve`: it was asked to end, and everything was answered
  1  it could not be done, or what was looked for is not so (demo: oversold; health: not ready;
     reconcile: a record disagrees)
  2  a flag, a variable or a value in the file cannot be used";

/// Inventory around database transactions, guarded by Redlock.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = STATUSES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(Demo),
    Bench(Bench),
    Config(Show),
    Health(health::Health),
    Migrate(admin::Migrate),
    Reconcile(resident::Reconcile),
    /// Records whose levels live in Redis (STOCK_REPOSITORY=resident).
    #[command(subcommand)]
    Residents(resident::Residents),
    /// The cache that instances share (REDIS_HOST).
    #[command(subcommand)]
    Cache(admin::Cache),
    /// The lock nodes that instances have agreed on.
    #[command(subcommand)]
    Locks(admin::Locks),
    /// What was done.
    #[command(subcommand)]
    Logs(admin::Logs),
    /// An instance that a bench has started.
    #[command(hide = true)]
    BenchInstance,
}

/// Every setting, its value, and where that comes from: its flag, its variable, file and line, or default. Secrets are
/// masked.
#[derive(Debug, Args)]
struct Show {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Command {
    /// What is set for it.
    fn config(&self) -> Result<Config, ConfigError> {
        match self {
            Self::Serve(serve) => serve.settings.load(),
            Self::Config(show) => show.settings.load(),
            Self::Health(health) => health.settings.load(),
            Self::Migrate(migrate) => migrate.settings.load(),
            Self::Reconcile(reconcile) => reconcile.settings.load(),
            Self::Residents(residents) => residents.settings().load(),
            Self::Cache(cache) => cache.settings().load(),
            Self::Locks(locks) => locks.settings().load(),
            Self::Logs(logs) => logs.settings().load(),
            // Their flags are about something else.
            Self::Demo(_) | Self::Bench(_) | Self::BenchInstance => Config::from_env(),
        }
    }
}

/// Simulated buyers rush one variant; afterwards somebody counts.
///
/// Runs with nothing installed: five in-process lock nodes, which fail and return while buyers buy,
/// and a temporary SQLite file, unless REDLOCK_NODES (comma-separated redis:// URLs) and DATABASE_URL
/// (mysql://, mariadb:// or sqlite:) name others.
///
/// A lock node that was restarted lately may have forgotten leases and does not vote for a while:
/// REDLOCK_RESTART_GUARD is max-ttl (until the longest lease is over; the default), whole seconds, or
/// off. Where that keeps a sale from starting, the demo says so and waits.
///
/// The exit status is 1 if anything was oversold or the database disagrees with what buyers were
/// told.
#[derive(Debug, Args)]
struct Demo {
    /// How long the sale lasts at most, 1 to 3600; it ends early when sold out.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How many buyers there are, 1 to 1000.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1000))]
    buyers: u64,
    /// How many units there are, 1 to 1000000000.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    stock: u64,
    /// What keeps the buyers apart: redlock, row-lock, or resident (needs REDIS_HOST); STOCK_REPOSITORY,
    /// else redlock, unless given.
    #[arg(long)]
    repository: Option<RepositoryKind>,
    /// Read, decide, write, with nothing in between: shows what that sells.
    #[arg(long, conflicts_with = "repository")]
    no_lock: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("stock: {error:#}");
            if error.is::<ConfigError>() {
                return ExitCode::from(USAGE);
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let config = command.config()?;
    log_to_stderr(&config, if matches!(command, Command::Serve(_)) { SERVICE_LOG } else { LOG })?;
    match command {
        Command::Serve(_) => return serve::serve(&config).await,
        Command::Demo(demo) => return sell(&demo, config).await,
        Command::Bench(bench) => return bench.run(config).await,
        Command::Health(health) => return health.run(&config).await,
        Command::Reconcile(_) => return resident::reconcile(&config).await,
        Command::Residents(residents) => return residents.run(&config).await,
        Command::Config(show) => show::show(&config, show.json)?,
        Command::Migrate(_) => admin::migrate(&config).await?,
        Command::Cache(cache) => cache.run(config).await?,
        Command::Locks(locks) => locks.run(config).await?,
        Command::Logs(logs) => logs.run(&config).await?,
        Command::BenchInstance => stock::bench::serve().await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails if anything was wrong.
async fn sell(demo: &Demo, mut config: Config) -> anyhow::Result<ExitCode> {
    config.repository = Some(demo.repository.or(config.repository).unwrap_or_default());
    let sale = Sale { seconds: demo.seconds, buyers: demo.buyers, stock: demo.stock, is_guarded: !demo.no_lock };
    let report = demo::run(sale, &config, interrupted()).await?;
    println!("{report}");
    Ok(if report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn log_to_stderr(config: &Config, default: &str) -> Result<(), ConfigError> {
    let filter = config.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).map_err(|_| {
        let reason =
            "allowed are levels (off, error, warn, info, debug, trace) and target=level pairs, separated by commas";
        config.refuse(RUST_LOG, reason)
    })?;
    let colours = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match config.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Ready when somebody presses Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Where no signal can be listened for, the sale ends by itself.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
