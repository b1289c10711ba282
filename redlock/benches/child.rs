//! Processes of our own: the bench starts itself again, gives orders on the command line, and reads answers as JSON.
//!
//! A child is killed by its own id when its handle is dropped, and ends by itself when its standard input does, so that
//! none outlives the bench however that ends.

use std::io::BufRead as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::contender::Kind;
use crate::workload::contest::{Contest, contest};
use crate::workload::leases::{Holding, hold};

/// What the parent says when all children are ready.
const GO: &str = "go";
/// How long a child may take to connect, and to end after its work.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a child is to do, and where.
#[derive(Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) urls: Vec<String>,
    pub(crate) job: Job,
}

/// What a child is to do.
#[derive(Serialize, Deserialize)]
pub(crate) enum Job {
    Contest { kind: Kind, contest: Contest },
    Leases(Holding),
}

/// A child that runs.
pub(crate) struct Child {
    // Killed when dropped.
    _process: tokio::process::Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts it, and returns when it has connected and waits for [`Child::go`].
    pub(crate) async fn start(orders: &Orders, current_thread: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--worker").arg(serde_json::to_string(orders)?);
        if current_thread {
            command.arg("--current-thread");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let input = process.stdin.take().context("a child without input")?;
        let output = BufReader::new(process.stdout.take().context("a child without output")?).lines();
        let mut child = Self { _process: process, input, output };
        child.line(PATIENCE).await?;
        Ok(child)
    }

    /// Lets it begin.
    pub(crate) async fn go(&mut self) -> anyhow::Result<()> {
        Ok(self.input.write_all(format!("{GO}\n").as_bytes()).await?)
    }

    /// What it found; waits `work` and then some.
    pub(crate) async fn answer<T: DeserializeOwned>(mut self, work: Duration) -> anyhow::Result<T> {
        let line = self.line(work + PATIENCE).await?;
        Ok(serde_json::from_str(&line)?)
    }

    async fn line(&mut self, within: Duration) -> anyhow::Result<String> {
        let line = timeout(within, self.output.next_line()).await.context("a child takes too long")?;
        line?.context("a child has ended early")
    }
}

/// The child's side: does what `orders` say and prints what came of it.
pub(crate) async fn work(orders: String) -> anyhow::Result<()> {
    let Orders { urls, job } = serde_json::from_str(&orders)?;
    let go = listen();
    match job {
        Job::Contest { kind, contest: terms } => {
            let contender = kind.connect(&urls).await?;
            println!("ready");
            go.await?;
            let record = contest(&contender, &terms).await?;
            contender.settle().await;
            println!("{}", serde_json::to_string(&record)?);
        }
        Job::Leases(holding) => {
            println!("ready");
            go.await?;
            println!("{}", serde_json::to_string(&hold(&urls, &holding).await?)?);
        }
    }
    Ok(())
}

/// Resolves when the parent says so; ends the process when the parent has gone.
fn listen() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    // A thread, since a read of the standard input cannot be given up.
    std::thread::spawn(move || {
        let mut sender = Some(sender);
        for line in std::io::stdin().lock().lines() {
            match line {
                Ok(line) if line == GO => drop(sender.take().map(|sender| sender.send(()))),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        std::process::exit(1);
    });
    receiver
}
