//! Settings of a Redis server, and starting it wherever that can be done.

use crate::error::StartError;
use crate::folder::Folder;
use crate::host::Host;
use crate::host::local::LocalHost;
use crate::port::Port;
use crate::program;
use crate::redis::RedisServer;

/// What every server is started with; what the caller adds comes later and wins.
const ALWAYS: [&str; 6] = ["--save", "", "--maxmemory-policy", "noeviction", "--protected-mode", "no"];

/// Settings of a [`RedisServer`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder starts nothing by itself"]
pub struct RedisBuilder {
    args: Vec<String>,
    env: Vec<(String, String)>,
    persistent: bool,
    program: Option<String>,
}

impl RedisBuilder {
    /// Adds one word to the server's command line, such as `--requirepass` and then the password. Default: none.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable in the server's environment, where it is a process. Default: none.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts this program and no other, such as `valkey-server`. Default: `redis-server`, else `valkey-server`, else
    /// a container.
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = Some(name.into());
        self
    }

    /// Keeps every write on disk before it is answered (append-only file, `appendfsync always`). Default: false.
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// Starts it, and returns when it answers.
    ///
    /// # Errors
    ///
    /// As [`RedisServer::start`]; with the server's own words where it does not take the settings.
    pub async fn start(self) -> Result<RedisServer, StartError> {
        // Another program may take the port between our look and the server's start.
        for _ in 0..5 {
            match self.try_start().await {
                Err(StartError::Exited { log, .. }) if log.contains("in use") => {}
                other => return other,
            }
        }
        self.try_start().await
    }

    async fn try_start(&self) -> Result<RedisServer, StartError> {
        let program = match &self.program {
            Some(name) => Some(program::find(&[name]).ok_or_else(not_installed)?),
            None => program::find(&["redis-server", "valkey-server"]),
        };
        let host = match program {
            Some(program) => {
                let (folder, port) = (Folder::create()?, Port::draw()?);
                let host = LocalHost::new(program, self.local_args(&port), folder, port).with_env(&self.env);
                host.launch().await?;
                Host::Local(host)
            }
            None => self.container_host().await?,
        };
        self.ready(host).await
    }

    /// Starts it in a container (`redis:7`), whatever is installed, and returns when it answers.
    ///
    /// # Errors
    ///
    /// If no engine answers, or it neither has nor can pull the image.
    pub async fn start_container(self) -> Result<RedisServer, StartError> {
        self.ready(self.container_host().await?).await
    }

    async fn ready(&self, host: Host) -> Result<RedisServer, StartError> {
        let url = format!("redis://{}", host.addr());
        let server = RedisServer { host, url, hello: self.hello(), persistent: self.persistent };
        server.wait_ready().await?;
        Ok(server)
    }

    fn local_args(&self, port: &Port) -> Vec<String> {
        let port = port.number().to_string();
        let mut args: Vec<_> = ["--port", &port, "--bind", "127.0.0.1"].map(str::to_owned).into();
        args.extend(self.common_args());
        args
    }

    fn common_args(&self) -> Vec<String> {
        let appending: &[&str] =
            if self.persistent { &["--appendonly", "yes", "--appendfsync", "always"] } else { &["--appendonly", "no"] };
        let ours = ALWAYS.iter().chain(appending).map(|&word| word.to_owned());
        ours.chain(self.args.iter().cloned()).collect()
    }

    /// How our own commands introduce themselves.
    fn hello(&self) -> Vec<Vec<String>> {
        let mut pairs = self.args.windows(2);
        let password = pairs.find(|pair| pair[0] == "--requirepass").map(|pair| pair[1].clone());
        password.map(|password| vec!["AUTH".to_owned(), password]).into_iter().collect()
    }

    #[cfg(feature = "containers")]
    async fn container_host(&self) -> Result<Host, StartError> {
        use crate::host::container::{ContainerHost, Recipe};

        if !crate::host::container::has_image("redis:7") {
            return Err(not_installed());
        }
        let mut command = vec!["redis-server".to_owned()];
        command.extend(self.common_args());
        let recipe =
            Recipe { image: "redis", tag: "7", port: 6379, ready: "Ready to accept connections", env: &[], command };
        Ok(Host::Container(Box::new(ContainerHost::start(recipe).await?)))
    }

    #[cfg(not(feature = "containers"))]
    async fn container_host(&self) -> Result<Host, StartError> {
        Err(not_installed())
    }
}

fn not_installed() -> StartError {
    let advice = "install redis-server or valkey-server (Debian, Ubuntu: apt-get install redis-server; macOS: brew \
                  install redis), or a container engine that has or can pull redis:7";
    StartError::NotInstalled { what: "Redis server", advice: advice.to_owned() }
}
