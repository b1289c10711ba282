//! The command that runs under the lock, and the end of it.
//!
//! A shell script that is killed leaves its own children running, and those would go on working
//! without a lock. So the command gets a process group of its own, and this process adopts whatever
//! is orphaned below it (`PR_SET_CHILD_SUBREAPER`, Linux), which makes everything that descends from
//! the command findable, wherever it has put itself. In the foreground of a terminal it stays in our
//! group, or it could not read from the terminal; its family is then found by descent alone.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::family;
use crate::signals::{Signals, sent_by_terminal};
use crate::status::{Failure, by_signal};

/// How often to look whether everybody is gone.
const LOOK: Duration = Duration::from_millis(10);
/// What does not end on SIGKILL for so long hangs in the kernel.
const KILLED: Duration = Duration::from_secs(5);

/// The running command.
pub(crate) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    /// Whether its group is its own.
    leads_group: bool,
    /// Whether it has been waited for: its id may be somebody else's from then on.
    ended: bool,
}

impl Child {
    /// Starts it.
    pub(crate) fn start(
        command: &[OsString],
        environment: &[(&str, String)],
        in_foreground: bool,
    ) -> Result<Self, Failure> {
        let Some((program, args)) = command.split_first() else {
            return Err(Failure::usage("no command"));
        };
        family::adopt_orphans();
        let mut starting = Command::new(program);
        starting.args(args).envs(environment.iter().map(|(name, value)| (name, value)));
        if !in_foreground {
            starting.process_group(0);
        }
        let process = starting.spawn().map_err(|error| Failure::not_started(&program.to_string_lossy(), &error))?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::system("the command cannot be watched", &"it has no id"))?;
        Ok(Self { process, pid, leads_group: !in_foreground, ended: false })
    }

    /// Its status once it ends; until then it gets our signals, and its orphans are buried.
    pub(crate) async fn attended(&mut self, signals: &mut Signals, in_foreground: bool) -> Result<u8, Failure> {
        let refused = |error: io::Error| Failure::system("the command cannot be watched", &error);
        let mut deaths = signal(SignalKind::child()).map_err(refused)?;
        loop {
            tokio::select! {
                status = self.process.wait() => return Ok(exit_status(status.map_err(refused)?)),
                signal = signals.next() => {
                    if !sent_by_terminal(signal, in_foreground) {
                        self.pass_on(signal);
                    }
                }
                _ = deaths.recv() => family::bury(self.pid),
            }
        }
    }

    /// Ends it and everything it has started: asks, and after `grace` does not ask. False if
    /// something is left all the same.
    pub(crate) async fn end(&mut self, grace: Duration) -> bool {
        if !grace.is_zero() {
            self.signal_all(Signal::TERM);
            // What is stopped must go on to be able to end.
            self.signal_all(Signal::CONT);
            if timeout(grace, self.gone()).await.is_ok() {
                return true;
            }
        }
        let killed = Instant::now();
        while killed.elapsed() < KILLED {
            // Again and again: what is killed may have been starting something.
            self.signal_all(Signal::KILL);
            if timeout(LOOK, self.gone()).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Whoever ends the command or stops it means its whole group.
    fn pass_on(&self, signal: Signal) {
        // TSTP can be caught, and a command that went on while we stand still would lose its lock.
        let passed = if signal == Signal::TSTP { Signal::STOP } else { signal };
        self.signal_group(passed);
        if signal == Signal::TSTP {
            let _ = kill_process(rustix::process::getpid(), Signal::STOP);
        }
    }

    fn signal_group(&self, signal: Signal) {
        // An error means that nobody is left to be told.
        let _ = if self.leads_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }

    fn signal_all(&self, signal: Signal) {
        if !self.ended || !family::IS_KNOWN {
            self.signal_group(signal);
        }
        for pid in family::living() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Resolves when neither it nor anything it has started is alive.
    async fn gone(&mut self) {
        loop {
            self.ended = !matches!(self.process.try_wait(), Ok(None));
            if self.ended && family::living().is_empty() {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

fn exit_status(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, signal) => by_signal(signal.unwrap_or_default()),
    }
}
