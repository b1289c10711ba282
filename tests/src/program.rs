//! Finding installed programs.

use std::path::PathBuf;

/// Where the first of these programs is, by `PATH` and by the folders that hold servers and are often not on it.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| folders().map(|folder| folder.join(name)).find(|path| path.is_file()))
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/libexec"];
    std::env::split_paths(&path).chain(usual.map(PathBuf::from)).collect::<Vec<_>>().into_iter()
}
