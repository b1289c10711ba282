//! A process that never outlives its value, nor the test that started it.

use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::error::StartError;
use crate::reaper::Reaper;

/// A running (or stopped, but not yet ended) child process. It is killed when this value is dropped, and by the reaper
/// where the test cannot do that any more.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it and tells the reaper.
    ///
    /// # Errors
    ///
    /// If it, or the reaper, cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self, StartError> {
        let reaper = Reaper::get()?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(StartError::io(format!("cannot start {name}")))?;
        let process = Self { child };
        reaper.watch_process(process.id())?;
        Ok(process)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, where that was piped and nobody has taken it before.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, where that was piped and nobody has taken it before.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        if ended {
            self.forget();
        }
        ended
    }

    /// Stops it where it stands, and returns once it does stand still.
    ///
    /// # Errors
    ///
    /// If it has ended, or does not stop within five seconds.
    pub async fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(self.pid()), options)?.is_none() {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the process does not stop"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it and waits until it is gone; a stopped process too, since SIGKILL asks nobody.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        // Before the wait: as long as nobody has waited, the id cannot have been given to another process.
        self.forget();
        let _ = self.child.wait();
    }

    fn forget(&self) {
        if let Ok(reaper) = Reaper::get() {
            reaper.forget(&self.id().to_string());
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
