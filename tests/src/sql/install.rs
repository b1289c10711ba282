//! What is installed of MariaDB or MySQL, and how each makes a fresh data folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::StartError;
use crate::folder::Folder;
use crate::port::Port;
use crate::program;

/// Run at every start, before the server listens. Root comes over TCP, by address, and without a password: the server
/// listens on the loopback only and lives as long as a test.
const AT_START: &str = "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';
GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;
CREATE DATABASE IF NOT EXISTS test;
";

/// A server that can be run here.
#[derive(Debug, Clone)]
pub(crate) enum Installation {
    /// MariaDB, and the script that makes its system tables.
    MariaDb { server: PathBuf, install: PathBuf },
    /// MySQL, which makes its system tables itself.
    MySql { server: PathBuf },
}

impl Installation {
    /// The first that is found: MariaDB starts faster and takes less memory.
    pub(crate) fn find() -> Option<Self> {
        let install = program::find(&["mariadb-install-db", "mysql_install_db"]);
        match (program::find(&["mariadbd"]), install, program::find(&["mysqld"])) {
            (Some(server), Some(install), _) => Some(Self::MariaDb { server, install }),
            (_, Some(install), Some(server)) if is_mariadb(&server) => Some(Self::MariaDb { server, install }),
            (_, _, Some(server)) if !is_mariadb(&server) => Some(Self::MySql { server }),
            _ => None,
        }
    }

    /// The program that serves.
    pub(crate) fn server(&self) -> &Path {
        match self {
            Self::MariaDb { server, .. } | Self::MySql { server } => server,
        }
    }

    /// Makes a fresh data folder in `folder`. The folder travels along, so that it outlives the work even if nobody
    /// waits for the result any more.
    pub(crate) async fn prepare(&self, folder: Folder) -> Result<Folder, StartError> {
        let this = self.clone();
        let work = move || this.prepare_now(folder.path()).map(|()| folder);
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| StartError::io("making a data folder was cut short")(error.into()))?
    }

    fn prepare_now(&self, folder: &Path) -> Result<(), StartError> {
        fs::write(folder.join("start.sql"), AT_START).map_err(StartError::io("cannot write the start script"))?;
        let mut command = match self {
            Self::MariaDb { install, .. } => {
                let mut command = Command::new(install);
                command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                // The default log is 96 MB, most of the time that this takes on a slow disk.
                command.arg("--innodb-log-file-size=24M");
                command
            }
            Self::MySql { server } => {
                let mut command = Command::new(server);
                command.args(["--no-defaults", "--initialize-insecure"]);
                command
            }
        };
        // A server removes temporary tables that others left when it starts; in a shared folder it removes those of
        // the one beside it.
        command.arg(format!("--tmpdir={}", folder.display())).env("TMPDIR", folder);
        command.arg(format!("--datadir={}", folder.join("data").display())).args(as_root());
        command.current_dir(folder).stdin(Stdio::null());
        let program = command.get_program().to_string_lossy().into_owned();
        let output = command.output().map_err(StartError::io(format!("cannot start {program}")))?;
        if output.status.success() {
            return Ok(());
        }
        let log = [output.stdout, output.stderr].concat();
        Err(StartError::Exited { program, log: String::from_utf8_lossy(&log).into_owned() })
    }

    /// The command line that serves this folder on this port.
    pub(crate) fn args(&self, folder: &Path, port: &Port) -> Vec<String> {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut args = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", at("data")),
            format!("--init-file={}", at("start.sql")),
            format!("--socket={}", at("server.sock")),
            format!("--pid-file={}", at("server.pid")),
            format!("--tmpdir={}", folder.display()),
            format!("--port={}", port.number()),
            "--bind-address=127.0.0.1".to_owned(),
        ];
        args.extend(as_root());
        args.push(match self {
            Self::MariaDb { .. } => "--innodb-log-file-size=24M".to_owned(),
            // Its second protocol would want a port of its own.
            Self::MySql { .. } => "--mysqlx=OFF".to_owned(),
        });
        args
    }
}

/// Both servers refuse to run as root unless told that it is meant.
fn as_root() -> Option<String> {
    rustix::process::geteuid().is_root().then(|| "--user=root".to_owned())
}

fn is_mariadb(server: &Path) -> bool {
    let output = Command::new(server).arg("--version").stdin(Stdio::null()).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("MariaDB"))
}

/// What to say where there is nothing to run.
pub(crate) fn not_installed() -> StartError {
    let advice = "install mariadb-server or mysql-server (Debian, Ubuntu: apt-get install mariadb-server; macOS: brew \
                  install mariadb), or a container engine that has or can pull mysql:9";
    StartError::NotInstalled { what: "MariaDB or MySQL server", advice: advice.to_owned() }
}
