//! Every process that descends from this one. Linux only: elsewhere a process group has to do.

#[cfg(target_os = "linux")]
pub(crate) use linux::{adopt_orphans, bury, living};
#[cfg(not(target_os = "linux"))]
pub(crate) use unknown::{adopt_orphans, bury, living};

/// Whether descendants can be found here.
pub(crate) const IS_KNOWN: bool = cfg!(target_os = "linux");

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::{fs, io};

    use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

    /// A process as `/proc/<pid>/stat` has it.
    struct Process {
        parent: i32,
        dead: bool,
    }

    /// From now on a descendant whose parent dies becomes our child, not that of `init`.
    pub(crate) fn adopt_orphans() {
        // A kernel without it has the process group.
        let _ = set_child_subreaper(Some(getpid()));
    }

    /// The descendants that have not ended.
    pub(crate) fn living() -> Vec<Pid> {
        let processes = processes().unwrap_or_default();
        let us = getpid().as_raw_pid();
        let alive = processes.iter().filter(|(pid, process)| !process.dead && descends(&processes, **pid, us));
        alive.filter_map(|(pid, _)| Pid::from_raw(*pid)).collect()
    }

    /// Takes note of the ends of adopted children, which would else stay in the process table. The
    /// command itself is left to its owner.
    pub(crate) fn bury(command: Pid) {
        let us = getpid().as_raw_pid();
        let processes = processes().unwrap_or_default();
        let adopted = processes.iter().filter(|(_, process)| process.dead && process.parent == us);
        for pid in adopted.filter_map(|(pid, _)| Pid::from_raw(*pid)).filter(|pid| *pid != command) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    fn descends(processes: &BTreeMap<i32, Process>, mut pid: i32, from: i32) -> bool {
        // The table was not read in one moment, so a chain of parents may be a circle.
        for _ in 0..processes.len() {
            match processes.get(&pid) {
                Some(process) if process.parent == from => return true,
                Some(process) => pid = process.parent,
                None => return false,
            }
        }
        false
    }

    fn processes() -> io::Result<BTreeMap<i32, Process>> {
        let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let numbers = names.filter_map(|name| name.parse().ok());
        Ok(numbers.filter_map(|pid: i32| Some((pid, process(pid)?))).collect())
    }

    fn process(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse(&stat)
    }

    /// `pid (name) state parent …`, where the name may have spaces and parentheses.
    fn parse(stat: &str) -> Option<Process> {
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let dead = matches!(fields.next()?, "Z" | "X" | "x");
        Some(Process { dead, parent: fields.next()?.parse().ok()? })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_may_look_like_anything() {
            let process = parse("42 (a) Z 1 (b)) S 7 42 42 0").unwrap();
            assert_eq!((process.parent, process.dead), (7, false));
            assert!(parse("42 (a) Z 7 0").unwrap().dead);
        }

        #[test]
        fn circles_end() {
            let processes = [(2, 3), (3, 2), (4, 5), (5, 1)];
            let process = |(pid, parent)| (pid, Process { parent, dead: false });
            let processes = processes.into_iter().map(process).collect();
            assert!(!descends(&processes, 2, 1));
            assert!(descends(&processes, 4, 1));
            assert!(!descends(&processes, 1, 1));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod unknown {
    use rustix::process::Pid;

    pub(crate) fn adopt_orphans() {}

    pub(crate) fn living() -> Vec<Pid> {
        Vec::new()
    }

    pub(crate) fn bury(_command: Pid) {}
}
