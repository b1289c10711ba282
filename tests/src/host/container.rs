//! A server in a container, on a published port that stays the same over restarts.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::error::{FaultError, StartError};
use crate::port::Port;
use crate::reaper::Reaper;

/// How long a pull may take before the image counts as not to be had.
const PULL_WITHIN: Duration = Duration::from_secs(120);

/// Where containers are unless somebody says otherwise.
const NETWORK: &str = "bridge";

/// What to run.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) image: &'static str,
    pub(crate) tag: &'static str,
    /// The port inside.
    pub(crate) port: u16,
    /// What the server says when it is ready.
    pub(crate) ready: &'static str,
    pub(crate) env: &'static [(&'static str, &'static str)],
    pub(crate) command: Vec<String>,
}

/// A container, its published port, and how to make it anew.
#[derive(Debug)]
pub(crate) struct ContainerHost {
    container: Mutex<Option<ContainerAsync<GenericImage>>>,
    recipe: Recipe,
    name: String,
    port: Port,
}

impl ContainerHost {
    /// Creates and starts a container.
    pub(crate) async fn start(recipe: Recipe) -> Result<Self, StartError> {
        let port = Port::draw()?;
        // The port makes the name unique on this machine as long as it is ours, and the id after that.
        let name = format!("testkit-{}-{}", std::process::id(), port.number());
        // Known by its name before it exists: the owner may die while it is being made.
        Reaper::get()?.watch_container(&name)?;
        let host = Self { container: Mutex::new(None), recipe, name, port };
        host.create().await?;
        Ok(host)
    }

    /// Where clients reach it.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Where this machine reaches it without the published port, which goes through a proxy.
    pub(crate) async fn direct_addr(&self) -> Result<SocketAddr, FaultError> {
        // The library's own way asks for a network called `default`, which is not everywhere.
        let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let output = Command::new("docker").args(["inspect", "--format", template, &self.name]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let address =
            text.trim().parse().map_err(|_| FaultError::Container(format!("{} has no address", self.name)))?;
        Ok(SocketAddr::new(address, self.recipe.port))
    }

    /// The image, for messages.
    pub(crate) fn image(&self) -> String {
        format!("{}:{}", self.recipe.image, self.recipe.tag)
    }

    async fn create(&self) -> Result<(), StartError> {
        let image = GenericImage::new(self.recipe.image, self.recipe.tag)
            .with_wait_for(WaitFor::message_on_either_std(self.recipe.ready))
            .with_container_name(&self.name)
            .with_mapped_port(self.port.number(), self.recipe.port.tcp())
            .with_startup_timeout(Duration::from_secs(90))
            .with_cmd(&self.recipe.command);
        let image = self.recipe.env.iter().fold(image, |image, (name, value)| image.with_env_var(*name, *value));
        let refused =
            |error: TestcontainersError| StartError::Container { image: self.image(), reason: error.to_string() };
        *self.container.lock().await = Some(image.start().await.map_err(refused)?);
        Ok(())
    }

    /// Ends the server without the time to say goodbye.
    pub(crate) async fn kill(&self) -> Result<(), FaultError> {
        if let Some(container) = self.container.lock().await.as_ref() {
            // A frozen process cannot die; that it was not frozen is no error.
            let _ = container.unpause().await;
            container.stop_with_timeout(Some(0)).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Freezes every process in it.
    pub(crate) async fn pause(&self) -> Result<(), FaultError> {
        let container = self.container.lock().await;
        running(container.as_ref()).await?.pause().await.map_err(fault)
    }

    /// Thaws it.
    pub(crate) async fn resume(&self) -> Result<(), FaultError> {
        let container = self.container.lock().await;
        running(container.as_ref()).await?.unpause().await.map_err(fault)
    }

    /// Takes it off its network: its connections break, and nobody reaches it.
    pub(crate) async fn disconnect(&self) -> Result<(), FaultError> {
        self.on_network("disconnect").await
    }

    /// Puts it back on its network, with the same published port.
    pub(crate) async fn connect(&self) -> Result<(), FaultError> {
        self.on_network("connect").await
    }

    async fn on_network(&self, verb: &'static str) -> Result<(), FaultError> {
        let name = self.name.clone();
        let asked = move || Command::new("docker").args(["network", verb, NETWORK, &name]).output();
        let output = tokio::task::spawn_blocking(asked).await.map_err(std::io::Error::from)??;
        if output.status.success() {
            return Ok(());
        }
        Err(FaultError::Container(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Starts it again after a kill, with its data, or anew where the data was forgotten.
    pub(crate) async fn start_again(&self) -> Result<(), FaultError> {
        if let Some(container) = self.container.lock().await.as_ref() {
            return container.start().await.map_err(fault);
        }
        Ok(self.create().await?)
    }

    /// Removes it with its volumes; the next start makes a new one.
    pub(crate) async fn forget_data(&self) -> Result<(), FaultError> {
        match self.container.lock().await.take() {
            Some(container) => container.rm().await.map_err(fault),
            None => Ok(()),
        }
    }
}

impl Drop for ContainerHost {
    fn drop(&mut self) {
        // It is removed over HTTP, which needs a runtime; without one it stays on the reaper's list.
        if Handle::try_current().is_err() {
            std::mem::forget(self.container.get_mut().take());
            return;
        }
        drop(self.container.get_mut().take());
        if let Ok(reaper) = Reaper::get() {
            reaper.forget(&self.name);
        }
    }
}

/// The container, if its server has not been killed.
async fn running(
    container: Option<&ContainerAsync<GenericImage>>,
) -> Result<&ContainerAsync<GenericImage>, FaultError> {
    let container = container.ok_or(FaultError::NotRunning)?;
    if container.is_running().await.map_err(fault)? { Ok(container) } else { Err(FaultError::NotRunning) }
}

/// Whether the container suites have what they need.
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_image("redis:7") && has_image("mysql:9"))
}

/// Whether an engine answers that has this image, or can pull it.
pub(crate) fn has_image(image: &str) -> bool {
    let quick = Duration::from_secs(10);
    docker(&["info"], quick)
        && (docker(&["image", "inspect", image], quick) || docker(&["pull", "--quiet", image], PULL_WITHIN))
}

fn docker(args: &[&str], within: Duration) -> bool {
    let mut command = Command::new("docker");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Ok(Some(status)) => return status.success(),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn fault(error: TestcontainersError) -> FaultError {
    FaultError::Container(error.to_string())
}
