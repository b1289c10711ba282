//! What the suites need on the machine: installed where that is ours to do, named precisely where it is not.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use crate::command::{announce, cargo, run, run_quietly, succeeds};

/// Installs packages without starting the services that they bring: the suites start servers of their own, and on
/// small systems there is nothing that could start a service.
const INSTALL: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
apt-get -qq update
apt-get -qq install -y --no-install-recommends "$@"
"#;

/// Something that must be there.
struct Need {
    /// What to tell people to install.
    what: &'static str,
    /// Its packages on Debian and Ubuntu.
    packages: &'static [&'static str],
    present: fn() -> bool,
    /// Whether a container can stand in for it.
    replaceable: bool,
}

const NEEDS: [Need; 5] = [
    Need {
        what: "redis-server or valkey-server",
        packages: &["redis-server"],
        present: || on_path("redis-server") || on_path("valkey-server"),
        replaceable: true,
    },
    Need {
        what: "MariaDB (mariadbd and mariadb-install-db) or MySQL (mysqld)",
        packages: &["mariadb-server"],
        present: || on_path("mariadbd") && on_path("mariadb-install-db") || on_path("mysqld"),
        replaceable: true,
    },
    Need { what: "libfaketime", packages: &["faketime"], present: || on_path("faketime"), replaceable: false },
    Need {
        what: "Chromium and chromedriver",
        packages: &["chromium", "chromium-driver"],
        present: || on_path("chromium") && on_path("chromedriver"),
        replaceable: false,
    },
    Need {
        what: "Python 3 with venv and pip",
        packages: &["python3-venv", "python3-pip"],
        present: || succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]), Duration::from_secs(30)),
        replaceable: false,
    },
];

/// Only where containers are: what starts several of them by the project's own file.
const COMPOSE: Need = Need {
    what: "docker compose",
    packages: &["docker-compose"],
    present: || {
        on_path("docker-compose")
            || succeeds(Command::new("docker").args(["compose", "version"]), Duration::from_secs(30))
    },
    replaceable: false,
};

/// Makes sure that servers and Python are there.
///
/// # Errors
///
/// If something is missing that can be neither installed nor, where `containers` are to be had, replaced.
pub(crate) fn packages(containers: bool) -> anyhow::Result<()> {
    announce("servers and Python");
    let needs = NEEDS.iter().chain(containers.then_some(&COMPOSE));
    let missing: Vec<_> = needs.filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        eprintln!("  everything is there");
        return Ok(());
    }
    if is_debian() && (is_root() || has_sudo()) {
        return install(&missing.iter().flat_map(|need| need.packages).copied().collect::<Vec<_>>());
    }
    for need in &missing {
        eprintln!("  missing: {} (Debian, Ubuntu: apt-get install {})", need.what, need.packages.join(" "));
    }
    if missing.iter().all(|need| need.replaceable && containers) {
        eprintln!("  containers stand in for what is missing");
        return Ok(());
    }
    bail!("please install what is missing, or run this as root or with sudo on Debian or Ubuntu");
}

/// Makes sure that the test runner is there.
///
/// # Errors
///
/// If it cannot be built.
pub(crate) fn nextest() -> anyhow::Result<()> {
    announce("test runner");
    if succeeds(&mut cargo(&["nextest", "--version"]), Duration::from_secs(30)) {
        eprintln!("  cargo-nextest is there");
        return Ok(());
    }
    run(&mut cargo(&["install", "--locked", "cargo-nextest"]))
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(if is_root() { "sh" } else { "sudo" });
    if !is_root() {
        command.arg("sh");
    }
    eprintln!("  installing {} with apt-get", packages.join(" "));
    run_quietly(command.args(["-c", INSTALL, "install"]).args(packages))
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let family = release.lines().filter(|line| line.starts_with("ID=") || line.starts_with("ID_LIKE="));
    family.into_iter().any(|line| line.contains("debian") || line.contains("ubuntu"))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn has_sudo() -> bool {
    succeeds(Command::new("sudo").args(["-n", "true"]), Duration::from_secs(5))
}

/// Whether a program is on `PATH` or in a folder of servers, which for ordinary users often is not on it.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/usr/local/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(servers).any(|folder| folder.join(program).is_file())
}
