//! The bugs that can be planted in children.

/// Failpoints of `redlock` and of `stock`, by the names that they have there; and one of a client on somebody else's
/// library, which has none.
pub const BUGS: [&str; 19] = [
    "foreign-writes-blindly",
    "hand-over-repeats-token",
    "heal-before-quorum",
    "holds-kept-when-over",
    "late-grants-kept",
    "levels-oversold",
    "quorum-over-granted",
    "redlocked-answered-early",
    "redlocked-fence-at-write-only",
    "redlocked-fence-ignored",
    "redlocked-log-shortened",
    "redlocked-lost-commit-answered",
    "redlocked-sulks",
    "resident-kept-out",
    "service-leaks-connections",
    "service-leaks-memory",
    "service-leaks-tasks",
    "service-queue-unbounded",
    "validity-from-reply",
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// All code in a folder.
    fn code(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| {
            if path.is_dir() { code(&path) } else { fs::read_to_string(path).unwrap_or_default() }
        };
        entries.map(read).collect()
    }

    #[test]
    fn every_bug_can_be_planted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let code =
            ["redlock/src", "stock/src", "tests/chaos/src/client"].map(|folder| code(&root.join(folder))).concat();
        for bug in BUGS {
            let planted = [format!("planted(\"{bug}\")"), format!("&str = \"{bug}\"")];
            assert!(planted.iter().any(|planted| code.contains(planted)), "no code knows {bug}");
        }
    }
}
