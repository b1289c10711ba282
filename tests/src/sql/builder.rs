//! Settings of a SQL server, and starting it wherever that can be done.

use crate::error::StartError;
use crate::folder::Folder;
use crate::host::Host;
use crate::host::local::LocalHost;
use crate::port::Port;
use crate::sql::SqlServer;
use crate::sql::install::{self, Installation};

/// Small, since several run side by side; durable, since a killed server must have what it confirmed.
const ALWAYS: [&str; 8] = [
    "--performance-schema=OFF",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=64M",
    "--key-buffer-size=1M",
    "--max-connections=500",
    "--character-set-server=utf8mb4",
];

/// Settings of a [`SqlServer`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder starts nothing by itself"]
pub struct SqlBuilder {
    args: Vec<String>,
}

impl SqlBuilder {
    /// Adds one word to the server's command line. Default: none.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts it, and returns when it answers.
    ///
    /// # Errors
    ///
    /// As [`SqlServer::start`]; with the server's own words where it does not take the settings.
    pub async fn start(self) -> Result<SqlServer, StartError> {
        let Some(installation) = Installation::find() else {
            return self.fall_back().await;
        };
        // Another program may take the port between our look and the server's start.
        for _ in 0..3 {
            match self.try_start(&installation).await {
                Err(StartError::Exited { log, .. }) if log.contains("in use") => {}
                other => return other,
            }
        }
        self.try_start(&installation).await
    }

    async fn try_start(&self, installation: &Installation) -> Result<SqlServer, StartError> {
        let (folder, port) = (Folder::create()?, Port::draw()?);
        let folder = installation.prepare(folder).await?;
        let mut args = installation.args(folder.path(), &port);
        args.extend(ALWAYS.map(str::to_owned));
        args.extend(self.args.iter().cloned());
        let host = LocalHost::new(installation.server().to_owned(), args, folder, port);
        host.launch().await?;
        let server = SqlServer { host: Host::Local(host), named: None };
        server.wait_ready().await?;
        Ok(server)
    }

    #[cfg(feature = "containers")]
    async fn fall_back(&self) -> Result<SqlServer, StartError> {
        if crate::host::container::has_image("mysql:9") {
            self.start_container().await
        } else {
            Err(install::not_installed())
        }
    }

    #[cfg(not(feature = "containers"))]
    async fn fall_back(&self) -> Result<SqlServer, StartError> {
        Err(install::not_installed())
    }

    /// Starts MySQL 9 in a container.
    ///
    /// # Errors
    ///
    /// As [`SqlServer::container_mysql9`].
    #[cfg(feature = "containers")]
    pub async fn start_container(&self) -> Result<SqlServer, StartError> {
        use crate::host::container::{ContainerHost, Recipe};

        let mut command = vec!["mysqld".to_owned()];
        command.extend(ALWAYS.iter().map(|&word| word.to_owned()));
        command.extend(self.args.iter().cloned());
        let env = &[("MYSQL_ALLOW_EMPTY_PASSWORD", "yes"), ("MYSQL_DATABASE", "test")];
        let recipe = Recipe { image: "mysql", tag: "9", port: 3306, ready: "port: 3306", env, command };
        let host = Host::Container(Box::new(ContainerHost::start(recipe).await?));
        let server = SqlServer { host, named: None };
        server.wait_ready().await?;
        Ok(server)
    }
}
