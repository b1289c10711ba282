//! `stock serve`: the instance over HTTP, until somebody ends it.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use stock::assembly::{Instance, Purpose};
use stock::config::Config;
use stock::service::{LAST_STEPS, Place, recorder};

use crate::settings::Settings;
use crate::signals::Signals;

/// The HTTP service.
///
/// Brings the tables up to date, prints `listening on http://…` when it answers, and ends at SIGTERM or Ctrl-C:
/// nobody is let in any more, what has been asked is answered, leases are released. A second signal ends it at once.
///
/// Flags are seen by other users of the machine: give passwords and the token as variables or in a file.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Serves until a signal comes.
pub(crate) async fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    // Before anything that reports figures.
    recorder::install();
    let place = Place::take(&config.service).await?;
    let instance = tokio::select! {
        instance = Instance::open(config, Purpose::Service) => Arc::new(instance?),
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let service = place.open(instance.clone(), Purpose::Service);
    println!("listening on {}", service.url());
    std::io::stdout().flush()?;
    signals.next().await;
    tracing::info!("shutting down");
    let end = async {
        service.close().await;
        // What has been waiting for so long takes its time.
        instance.close(LAST_STEPS + config.resident_lag).await;
    };
    tokio::select! {
        () = end => Ok(ExitCode::SUCCESS),
        () = signals.next() => Ok(ExitCode::FAILURE),
    }
}
