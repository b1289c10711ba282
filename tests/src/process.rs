//! A server process that never outlives its value.

use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::error::StartError;
use crate::reaper::Reaper;

/// A running (or stopped, but not yet ended) child process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it and tells the reaper.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, StartError> {
        let reaper = Reaper::get()?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(StartError::io(format!("cannot start {name}")))?;
        let process = Self { child };
        reaper.watch_process(process.id())?;
        Ok(process)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        if ended {
            self.forget();
        }
        ended
    }

    /// Stops it where it stands, and returns once it does stand still.
    pub(crate) async fn pause(&self) -> io::Result<()> {
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
    pub(crate) fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it and waits until it is gone; a stopped process too, since SIGKILL asks nobody.
    pub(crate) fn kill(&mut self) {
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
