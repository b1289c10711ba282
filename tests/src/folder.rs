//! A temporary folder that is removed at the end of its value, or by the reaper if the process does not live to do it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::StartError;
use crate::reaper::Reaper;

/// A temporary folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes a new one. The reaper knows its name before it exists, since the owner may die right after making it.
    pub(crate) fn create() -> Result<Self, StartError> {
        let failed = || StartError::io("cannot make a temporary folder");
        // The reaper compares it with the working folders that the system reports, which have no links in them.
        let parent = std::env::temp_dir().canonicalize().map_err(failed())?;
        let path = parent.join(format!("testkit-{:016x}", rand::random::<u64>()));
        Reaper::get()?.watch_folder(&path)?;
        DirBuilder::new().mode(0o700).create(&path).map_err(failed())?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The last lines of a log in this folder, for error messages.
    pub(crate) fn log_tail(&self, log: &str) -> String {
        let bytes = std::fs::read(self.path.join(log)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now stays on the reaper's list.
        if std::fs::remove_dir_all(&self.path).is_ok()
            && let Ok(reaper) = Reaper::get()
        {
            reaper.forget(&self.path.display().to_string());
        }
    }
}
