//! A child process that is told what to do, line by line, and tells what came of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use testkit::Process;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use crate::record::Record;

/// What a child says when it could begin.
pub(crate) const READY: &str = "ready";

/// What kind of program a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Part of this suite: reads its orders, says [`READY`], and ends with its input.
    Ours,
    /// A service: has its orders in its environment, says where it listens, and ends at SIGTERM.
    Service,
}

impl Manners {
    /// How what it says when it could begin starts.
    fn greeting(self) -> &'static str {
        match self {
            Self::Ours => READY,
            Self::Service => "listening on ",
        }
    }
}

/// How long a child may take to begin: it may have to wait for the nodes' quarantine to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running child, killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Mutex<Process>,
    id: u32,
    manners: Manners,
    /// What it said when it began, after its greeting.
    place: String,
    input: Mutex<Option<ChildStdin>>,
    /// Whether somebody wants it to end.
    wanted: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
}

impl Child {
    /// Starts `command`, says `orders`, and returns when it is ready. Whatever it says after that goes to `heard`; that
    /// it ends though nobody wants it to, to the record.
    pub(crate) async fn start(
        command: Command,
        name: &str,
        orders: &str,
        record: Arc<Record>,
        heard: impl Fn(String) + Send + 'static,
    ) -> anyhow::Result<Arc<Self>> {
        Self::begin(command, Manners::Ours, name, Some(orders), record, heard).await
    }

    /// The same for a service, which has been told everything by its environment.
    pub(crate) async fn serve(command: Command, name: &str, record: Arc<Record>) -> anyhow::Result<Arc<Self>> {
        Self::begin(command, Manners::Service, name, None, record, |_| {}).await
    }

    async fn begin(
        mut command: Command,
        manners: Manners,
        name: &str,
        orders: Option<&str>,
        record: Arc<Record>,
        heard: impl Fn(String) + Send + 'static,
    ) -> anyhow::Result<Arc<Self>> {
        let mut process = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let input = process.take_input().context("a child without input")?;
        let output = process.take_output().context("a child without output")?;
        let mut input = ChildStdin::from_std(input)?;
        let mut lines = BufReader::new(ChildStdout::from_std(output)?).lines();
        if let Some(orders) = orders {
            // Not an argument: arguments can be seen by everybody, and URLs may hold passwords.
            input.write_all(format!("{orders}\n").as_bytes()).await?;
        }
        let line = timeout(PATIENCE, lines.next_line()).await.context("a child does not begin")??;
        let place = line.as_deref().and_then(|line| line.strip_prefix(manners.greeting())).map(str::to_owned);
        let place = place.with_context(|| format!("a child did not begin but said {line:?}"))?;
        let (end, ended) = watch::channel(false);
        let wanted = Arc::new(AtomicBool::new(false));
        let (name, is_wanted) = (name.to_owned(), wanted.clone());
        tokio::spawn(async move {
            listen(lines, heard).await;
            if !is_wanted.load(Ordering::SeqCst) {
                record.broke(format!("{name} has ended by itself"));
            }
            let _ = end.send(true);
        });
        let id = process.id();
        let (process, input) = (Mutex::new(process), Mutex::new(Some(input)));
        Ok(Arc::new(Self { process, id, manners, place, input, wanted, ended }))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Where it listens, if it is a service.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Tells it something.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub(crate) async fn say(&self, line: &str) -> anyhow::Result<()> {
        let mut input = self.input.lock().await;
        let input = input.as_mut().context("the child was told to end")?;
        input.write_all(format!("{line}\n").as_bytes()).await.context("the child has ended")
    }

    /// Tells it to end, and waits until it has said all that it had to say.
    ///
    /// # Errors
    ///
    /// If it does not end within that time, or not well.
    pub(crate) async fn finish(&self, within: Duration) -> anyhow::Result<()> {
        self.wanted.store(true, Ordering::SeqCst);
        match self.manners {
            Manners::Ours => drop(self.input.lock().await.take()),
            Manners::Service => kill_process(self.pid()?, Signal::TERM)?,
        }
        let mut ended = self.ended.clone();
        let status = timeout(within, async {
            let _ = ended.wait_for(|ended| *ended).await;
            self.exit_status().await
        });
        let status = status.await.with_context(|| format!("does not end within {within:?}"))??;
        match status {
            Some(0) => Ok(()),
            Some(status) => bail!("ends with status {status}"),
            None => bail!("is ended by a signal"),
        }
    }

    /// Waits until it has ended; `None` if a signal ended it. Its id stays taken, for [`Process`] to give back.
    async fn exit_status(&self) -> anyhow::Result<Option<i32>> {
        let pid = self.pid()?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            if let Some(status) = waitid(WaitId::Pid(pid), options)? {
                return Ok(status.exit_status());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        i32::try_from(self.id).ok().and_then(Pid::from_raw).context("a process without an id")
    }

    /// Whether it stands still.
    pub(crate) fn is_stopped(&self) -> bool {
        // The name before it, in brackets, may hold anything.
        let state = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'));
        fs::read_to_string(format!("/proc/{}/stat", self.id)).is_ok_and(state)
    }

    /// Stops it where it stands.
    pub(crate) async fn pause(&self) -> anyhow::Result<()> {
        Ok(self.process.lock().await.pause().await?)
    }

    /// Lets it go on.
    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        Ok(self.process.lock().await.resume()?)
    }

    /// Kills it. What it had said before is still heard.
    pub(crate) async fn kill(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        self.process.lock().await.kill();
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Child {
    /// The process is killed with it.
    fn drop(&mut self) {
        self.wanted.store(true, Ordering::SeqCst);
    }
}

/// This program again, as a child of the given role.
pub(crate) fn again(program: &Path, role: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(role);
    command
}

async fn listen(mut lines: Lines<BufReader<ChildStdout>>, heard: impl Fn(String)) {
    while let Ok(Some(line)) = lines.next_line().await {
        heard(line);
    }
}
