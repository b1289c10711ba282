//! The repositories beside each other, on servers of their own: MariaDB, MySQL 9 where containers can be
//! had, and five Redis servers as lock nodes.
//!
//! `cargo bench -p stock` measures what `stock bench` does. Choose with
//! `cargo bench -p stock -- --scene hot --rounds 3`; `--help` lists the rest.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use stock::bench::{self, Contender, Plan, Scene};
use stock::config::RestartGuard;
use testkit::{RedisServer, SqlServer};

/// Databases to measure on.
#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Engine {
    Mariadb,
    Mysql9,
}

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    instance: Option<Instance>,
    /// On which databases.
    #[arg(long, value_delimiter = ',', default_values = ["mariadb", "mysql9"])]
    engine: Vec<Engine>,
    /// Who is measured.
    #[arg(long, value_delimiter = ',', default_values = ["row-lock", "redlock", "conditional-update", "resident"])]
    repository: Vec<Contender>,
    /// What they do: hot, many, hot-2, hot-4, alone, burst, burst-behind, burst-no-ids, http.
    #[arg(long, value_delimiter = ',', default_values = Scene::ALL.map(|(name, _)| name))]
    scene: Vec<Scene>,
    /// How many clients there are over all instances.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many seconds each turn is measured.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Instance {
    /// An instance that the bench has started.
    #[command(hide = true)]
    BenchInstance,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.instance.is_some() {
        return bench::serve().await.map(|()| ExitCode::SUCCESS);
    }
    // Whoever lists or runs tests must not wait for minutes.
    if !arguments.bench {
        eprintln!("measures only when started by `cargo bench -p stock`");
        return Ok(ExitCode::SUCCESS);
    }
    let (nodes, levels) = tokio::try_join!(RedisServer::fleet(5), RedisServer::start())?;
    for &engine in &arguments.engine {
        if engine == Engine::Mysql9 && !testkit::containers_available() {
            eprintln!("MySQL 9 is not measured: there is no container engine, or no image");
            continue;
        }
        let (_server, database) = start(engine).await?;
        let plan = Plan {
            database,
            nodes: nodes.iter().map(RedisServer::url).collect(),
            redis: Some(levels.url()),
            // They were started just now, and for nobody else.
            restart_guard: RestartGuard::Off,
            contenders: arguments.repository.clone(),
            scenes: arguments.scene.clone(),
            clients: arguments.clients,
            rounds: arguments.rounds,
            measured: Duration::from_secs(arguments.seconds),
            burst: bench::BURST,
        };
        println!("{}", bench::run(&plan).await?);
    }
    Ok(ExitCode::SUCCESS)
}

/// A server with room for what is measured, and the URL of its database.
async fn start(engine: Engine) -> anyhow::Result<(SqlServer, String)> {
    let builder = SqlServer::builder().arg("--innodb-buffer-pool-size=1G");
    match engine {
        Engine::Mariadb => {
            let server = builder.arg("--innodb-log-file-size=1G").start().await?;
            let url = server.url("test");
            Ok((server, url))
        }
        Engine::Mysql9 => {
            let server = builder.arg("--innodb-redo-log-capacity=1G").start_container().await?;
            let url = server.direct_url("test").await?;
            Ok((server, url))
        }
    }
}
