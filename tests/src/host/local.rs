//! A server as a child process, with its data in a temporary folder.

use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::sync::Mutex;

use crate::error::{FaultError, StartError};
use crate::folder::Folder;
use crate::port::Port;
use crate::process::Process;

/// What the server says, in its folder.
pub(crate) const LOG: &str = "server.log";

/// A server process, its folder and its port.
#[derive(Debug)]
pub(crate) struct LocalHost {
    // Before the folder, since fields are dropped in this order: a dying server must not write into a removed folder.
    process: Mutex<Option<Process>>,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    folder: Folder,
    port: Port,
}

impl LocalHost {
    /// Prepares a server without starting it. Folder and port are in `args` already.
    pub(crate) fn new(program: PathBuf, args: Vec<String>, folder: Folder, port: Port) -> Self {
        Self { process: Mutex::new(None), program, args, env: Vec::new(), folder, port }
    }

    /// Adds variables to the server's environment.
    pub(crate) fn with_env(mut self, env: &[(String, String)]) -> Self {
        self.env.extend_from_slice(env);
        self
    }

    /// Where clients reach it.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Where its data is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What runs, for messages.
    pub(crate) fn program(&self) -> String {
        self.program.display().to_string()
    }

    /// The end of its log, for messages.
    pub(crate) fn log(&self) -> String {
        self.folder.log_tail(LOG)
    }

    /// Its process id, while there is a process.
    pub(crate) async fn process_id(&self) -> Option<u32> {
        self.process.lock().await.as_ref().map(Process::id)
    }

    /// Starts the process; whether it answers is another question.
    pub(crate) async fn launch(&self) -> Result<(), StartError> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.path().join(LOG));
        let log = log.map_err(StartError::io("cannot open the server's log"))?;
        let twin = log.try_clone().map_err(StartError::io("cannot open the server's log"))?;
        let mut command = Command::new(&self.program);
        // The working folder is how the reaper knows a server whose id it was never told.
        command.args(&self.args).envs(self.env.iter().cloned()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(log).stderr(twin);
        *self.process.lock().await = Some(Process::spawn(&mut command)?);
        Ok(())
    }

    /// An error that shows the log if the process has ended by itself.
    pub(crate) async fn check_alive(&self) -> Result<(), StartError> {
        if self.process.lock().await.as_mut().is_none_or(Process::has_ended) {
            return Err(StartError::Exited { program: self.program(), log: self.log() });
        }
        Ok(())
    }

    /// Kills the process, if there is one.
    pub(crate) async fn kill(&self) {
        drop(self.process.lock().await.take());
    }

    /// Removes everything in its folder but the log.
    pub(crate) fn forget_data(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.folder.path())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else if entry.file_name() != LOG {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Stops the process where it stands.
    pub(crate) async fn pause(&self) -> Result<(), FaultError> {
        let process = self.process.lock().await;
        Ok(process.as_ref().ok_or(FaultError::NotRunning)?.pause().await?)
    }

    /// Lets the process go on.
    pub(crate) async fn resume(&self) -> Result<(), FaultError> {
        let process = self.process.lock().await;
        Ok(process.as_ref().ok_or(FaultError::NotRunning)?.resume()?)
    }
}
