//! What the lock costs: ours, the floor and a published peer, on the same nodes in the same run.
//!
//! `cargo bench -p redlock` starts five `redis-server` processes of its own, measures, prints one table a workload, and
//! stops them. Rounds are interleaved (A B C A B C …), every figure is the median over the rounds, and a ratio is the
//! median of the rounds' own ratios, so that a noisy moment hits both sides of it. Choose with
//! `cargo bench -p redlock -- w1 w2 --rounds 7 --seconds 2`; `--help` lists the rest.
//!
//! After every turn of every contender no lock key may be left on any node. Ours or the floor's fail the run.

mod args;
mod child;
mod contender;
mod servers;
mod sheet;
mod table;
mod times;
mod usage;
mod workload;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

use crate::args::Args;
use crate::servers::Servers;
use crate::table::Report;
use crate::workload::Bench;

fn main() -> anyhow::Result<ExitCode> {
    // `cargo bench` says so; whoever lists or runs tests must not wait for minutes.
    if !std::env::args().any(|arg| arg == "--bench" || arg == "--worker") {
        eprintln!("measures only when started by `cargo bench -p redlock`");
        return Ok(ExitCode::SUCCESS);
    }
    let args = Args::parse();
    let runtime = runtime(args.current_thread)?;
    // On a worker, where an application's tasks run; whoever blocks on a runtime is woken across threads.
    runtime.block_on(async {
        match &args.worker {
            Some(orders) => tokio::spawn(child::work(orders.clone())).await?.map(|()| ExitCode::SUCCESS),
            None => tokio::spawn(measure(args)).await?,
        }
    })
}

fn runtime(current_thread: bool) -> std::io::Result<Runtime> {
    let mut builder = if current_thread { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if !current_thread {
        builder.worker_threads(2);
    }
    builder.enable_all().build()
}

async fn measure(args: Args) -> anyhow::Result<ExitCode> {
    let servers = Servers::start(args::NODES).await?;
    let bench = Bench { args, servers };
    let mut reports: Vec<Report> = Vec::new();
    for workload in bench.args.chosen() {
        eprintln!("measuring {}: {}", workload.name(), workload.subject());
        let report = workload::run(&bench, workload).await.with_context(|| format!("workload {}", workload.name()))?;
        println!("{report}");
        reports.push(report);
    }
    if let Some(path) = &bench.args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&reports)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = reports.iter().any(Report::failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
