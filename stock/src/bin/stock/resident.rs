//! Records whose levels live in Redis: whether both sides agree, and how they come back.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use stock::assembly::{Instance, Purpose};
use stock::config::{Config, RepositoryKind};
use stock::error::RepositoryError;
use stock::operation::StockKey;
use stock::repository::Resident;
use stock::repository::resident::KeptChange;
use stock::store::PageSize;

use crate::settings::Settings;

/// How long writing back what is left may take at the end.
const LAST_STEPS: Duration = Duration::from_secs(30);

/// Whether Redis and the database agree on every record whose levels live in Redis.
///
/// What the database has, and on top of it what the journal says, must be what Redis has: levels, holds, version.
/// Works while instances sell. The exit status is 1 if a record disagrees.
#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Records whose levels live in Redis.
#[derive(Debug, Subcommand)]
pub(crate) enum Residents {
    /// Every record whose levels live in Redis, and those that are not sold because they do not follow from the database.
    ///
    /// The exit status is 1 if there is one of these.
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Gives a record back to the database, whatever is the matter with it, and prints what that costs.
    ///
    /// What was kept of it is written back if it follows from the database by now. If it does not, nothing is done,
    /// unless with --discard: then it is thrown away, and the levels are those of the database.
    Reload {
        /// Which one, as VARIANT/WAREHOUSE.
        #[arg(value_name = "RECORD")]
        record: StockKey,
        /// Throw away what was sold and does not follow from the database.
        #[arg(long)]
        discard: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Writes records back and gives them to the database, before another repository takes over.
    ///
    /// An instance that still sells a record makes it resident again: stop the instances first.
    Release {
        /// Which ones, as VARIANT/WAREHOUSE; all of them unless given.
        #[arg(value_name = "RECORD")]
        records: Vec<StockKey>,
        #[command(flatten)]
        settings: Settings,
    },
}

impl Residents {
    /// What is set for it.
    pub(crate) fn settings(&self) -> &Settings {
        match self {
            Self::List { settings } | Self::Reload { settings, .. } | Self::Release { settings, .. } => settings,
        }
    }

    /// `stock residents …`.
    pub(crate) async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let instance = open(config).await?;
        let outcome = match (self, resident(&instance)) {
            (_, Err(error)) => Err(error),
            (Self::List { .. }, Ok(resident)) => list(&instance, resident).await,
            (Self::Reload { record, discard, .. }, Ok(resident)) => reload(resident, *record, *discard).await,
            (Self::Release { records, .. }, Ok(resident)) => release(resident, records).await,
        };
        instance.close(LAST_STEPS).await;
        outcome
    }
}

/// `stock reconcile`.
pub(crate) async fn reconcile(config: &Config) -> anyhow::Result<ExitCode> {
    let instance = open(config).await?;
    let outcome = compare(&instance).await;
    instance.close(LAST_STEPS).await;
    let (agree, disagree) = outcome?;
    println!("{agree} resident records agree, {disagree} do not");
    Ok(if disagree == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn list(instance: &Instance, resident: &Resident) -> anyhow::Result<ExitCode> {
    let mut after = None;
    loop {
        let page = instance.store().residents(after, PageSize::default()).await?;
        for row in &page.items {
            let written = row.residence.map_or(0, |residence| residence.sequence);
            println!("{}: {written} changes written back since it was loaded", row.record.key);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let diverged = resident.diverged().await?;
    for record in &diverged {
        println!("{}: does not follow from the database: {}", record.key, record.reason);
        print_changes("kept", &record.kept);
    }
    Ok(if diverged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn reload(resident: &Resident, key: StockKey, discard: bool) -> anyhow::Result<ExitCode> {
    match resident.reload(key, discard).await {
        Ok(reloaded) => {
            println!("{key}: {} changes written back, {} lost", reloaded.written, reloaded.lost.len());
            print_changes("lost", &reloaded.lost);
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ RepositoryError::ResidentDiverged { .. }) => {
            println!("{key}: nothing is done; with --discard this would be lost:");
            for record in resident.diverged().await?.iter().filter(|record| record.key == key) {
                print_changes("kept", &record.kept);
            }
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn print_changes(what: &str, changes: &[KeptChange]) {
    for KeptChange { request_id, change } in changes {
        let order = change.order_id.as_ref().map_or_else(String::new, |order| format!(", order {order}"));
        println!("  {what}: {} {}{order}, request {request_id}", change.operation, change.quantity);
    }
}

async fn release(resident: &Resident, records: &[StockKey]) -> anyhow::Result<ExitCode> {
    println!("{} records released", give_back(resident, records).await?);
    Ok(ExitCode::SUCCESS)
}

async fn open(config: &Config) -> anyhow::Result<Instance> {
    let mut config = config.clone();
    config.repository = Some(RepositoryKind::Resident);
    Instance::open(&config, Purpose::Service).await
}

fn resident(instance: &Instance) -> anyhow::Result<&Resident> {
    instance.resident().context("the instance keeps no levels in Redis")
}

/// How many agree, and how many do not; those are printed.
async fn compare(instance: &Instance) -> anyhow::Result<(u64, u64)> {
    let (mut agree, mut disagree, mut after) = (0, 0, None);
    loop {
        let page = instance.store().residents(after, PageSize::default()).await?;
        for row in &page.items {
            let key = row.record.key;
            match resident(instance)?.reconcile(key).await {
                Ok(Some(both)) if both.agrees() => agree += 1,
                // Released in the meantime.
                Ok(None) => {}
                Ok(Some(both)) => {
                    disagree += 1;
                    println!(
                        "{key}: by the database {:?}, by Redis {:?}, holds {:?}",
                        both.expected, both.found, both.holds
                    );
                }
                Err(error) => {
                    disagree += 1;
                    println!("{key}: {:#}", anyhow::Error::from(error));
                }
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok((agree, disagree));
        }
    }
}

async fn give_back(resident: &Resident, records: &[StockKey]) -> anyhow::Result<u64> {
    if records.is_empty() {
        return Ok(resident.release_all().await?);
    }
    let mut released = 0;
    for key in records {
        released += u64::from(resident.release(*key).await.with_context(|| key.to_string())?);
    }
    Ok(released)
}
