//! The command `stock`.

#[path = "stock/admin.rs"]
mod admin;
#[path = "stock/measure.rs"]
mod measure;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use stock::config::{Config, ConfigError, RepositoryKind};
use stock::demo::{self, Sale};
use tracing_subscriber::EnvFilter;

use self::measure::Bench;

/// What is logged unless RUST_LOG says otherwise. sqlx would warn of every wait for a busy row; what
/// is wrong with lock nodes the demo says itself.
const LOG: &str = "warn,sqlx=error,redlock=error";

/// Exit status for a value that cannot be used; the same as for an unknown flag.
const USAGE: u8 = 2;

/// Inventory around database transactions, guarded by Redlock.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(Demo),
    Bench(Bench),
    /// Brings the tables of DATABASE_URL up to date.
    Migrate,
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
    /// What keeps the buyers apart: redlock or row-lock; STOCK_REPOSITORY, else redlock, unless
    /// given.
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
    log_to_stderr()?;
    match command {
        Command::Demo(demo) => sell(&demo).await,
        Command::Bench(bench) => bench.run().await,
        Command::Migrate => admin::migrate().await.map(|()| ExitCode::SUCCESS),
        Command::Cache(cache) => cache.run().await.map(|()| ExitCode::SUCCESS),
        Command::Locks(locks) => locks.run().await.map(|()| ExitCode::SUCCESS),
        Command::Logs(logs) => logs.run().await.map(|()| ExitCode::SUCCESS),
        Command::BenchInstance => stock::bench::serve().await.map(|()| ExitCode::SUCCESS),
    }
}

/// Fails if anything was wrong.
async fn sell(demo: &Demo) -> anyhow::Result<ExitCode> {
    let config = Config::from_env()?;
    let chosen = demo.repository.or(config.repository).unwrap_or_default();
    let sale = Sale {
        seconds: demo.seconds,
        buyers: demo.buyers,
        stock: demo.stock,
        repository: (!demo.no_lock).then_some(chosen),
    };
    let report = demo::run(sale, &config, interrupted()).await?;
    println!("{report}");
    Ok(if report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn log_to_stderr() -> anyhow::Result<()> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| LOG.into());
    let allowed = "levels (off, error, warn, info, debug, trace) and target=level pairs, separated by commas";
    let filter = EnvFilter::try_new(&filter)
        .with_context(|| format!("RUST_LOG: `{filter}` cannot be used; allowed are {allowed}"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}

/// Ready when somebody presses Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Where no signal can be listened for, the sale ends by itself.
        std::future::pending::<()>().await;
    }
}
