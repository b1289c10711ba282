//! The reaper: a shell beside the test process that cleans up when the process cannot, because it was interrupted,
//! aborted or killed. Drop code does not run then; the end of a pipe is noticed always.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::StartError;

/// The one reaper of this process.
#[derive(Debug)]
pub(crate) struct Reaper {
    // Closed on exec, so that no server inherits it and keeps it open; never dropped, so that it ends with the process.
    pipe: Mutex<ChildStdin>,
}

impl Reaper {
    /// The reaper, started when first asked for.
    pub(crate) fn get() -> Result<&'static Self, StartError> {
        static REAPER: OnceLock<io::Result<Reaper>> = OnceLock::new();
        REAPER.get_or_init(Self::start).as_ref().map_err(|error| StartError::Io {
            what: "cannot start the shell that cleans up".to_owned(),
            source: error.kind().into(),
        })
    }

    fn start() -> io::Result<Self> {
        let mut child = Command::new("sh")
            // By way of a variable, so that a list of processes shows a name and not the script.
            .args(["-c", r#"eval "$TESTKIT_REAPER""#, "testkit-reaper"])
            .env("TESTKIT_REAPER", include_str!("reaper.sh"))
            .stdin(Stdio::piped())
            // A runner takes a test that leaves its output open for one that leaks.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Ctrl-C goes to the whole group of the test process, and the reaper has to outlive that.
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { pipe: Mutex::new(pipe) })
    }

    /// Has this process killed at the end, unless it is forgotten before.
    pub(crate) fn watch_process(&self, id: u32) -> Result<(), StartError> {
        self.say(&format!("pid {id}")).map_err(StartError::io("cannot tell the reaper of a process"))
    }

    /// Has this folder removed at the end, and every process that works in it killed.
    pub(crate) fn watch_folder(&self, path: &Path) -> Result<(), StartError> {
        self.say(&format!("dir {}", path.display())).map_err(StartError::io("cannot tell the reaper of a folder"))
    }

    /// Has this container removed at the end.
    #[cfg(feature = "containers")]
    pub(crate) fn watch_container(&self, name: &str) -> Result<(), StartError> {
        self.say(&format!("container {name}")).map_err(StartError::io("cannot tell the reaper of a container"))
    }

    /// Takes something off the list: a process id, a path or a name.
    pub(crate) fn forget(&self, what: &str) {
        // A reaper that is gone has nothing on its list.
        let _ = self.say(&format!("gone {what}"));
    }

    fn say(&self, line: &str) -> io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        pipe.write_all(format!("{line}\n").as_bytes())
    }
}
