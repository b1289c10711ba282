//! An instance as its parent sees it: killed when dropped, and gone with its parent in any case, since
//! its standard input ends then.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::instance::READY;
use super::orders::{Orders, Record};

/// The argument that makes this program an instance.
pub(super) const ARGUMENT: &str = "bench-instance";

/// How long an instance may take to connect, and to end after its work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running instance.
pub(super) struct Instance {
    // Killed when dropped.
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Instance {
    /// Starts it, and returns when it has opened its repository.
    pub(super) async fn start(orders: &Orders) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("this program cannot be started again")?;
        let input = process.stdin.take().context("an instance without input")?;
        let output = BufReader::new(process.stdout.take().context("an instance without output")?).lines();
        let mut instance = Self { _process: process, input, output };
        // Not an argument: arguments can be seen by everybody, and there are passwords in it.
        instance.say(&serde_json::to_string(orders)?).await?;
        let line = instance.line(PATIENCE).await?;
        anyhow::ensure!(line == READY, "an instance said `{line}`");
        Ok(instance)
    }

    /// Lets it begin.
    pub(super) async fn go(&mut self) -> anyhow::Result<()> {
        self.say("go").await
    }

    /// What came of it; waits `work` and then some.
    pub(super) async fn record(mut self, work: Duration) -> anyhow::Result<Record> {
        let line = self.line(work + PATIENCE).await?;
        Ok(serde_json::from_str(&line)?)
    }

    async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await.context("an instance has ended early")
    }

    async fn line(&mut self, within: Duration) -> anyhow::Result<String> {
        let line = timeout(within, self.output.next_line()).await.context("an instance takes too long")?;
        line?.context("an instance has ended early")
    }
}
