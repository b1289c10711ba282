//! The whole system as `docker-compose up` starts it: the project's own file and Dockerfile, with the program that the
//! tests are built with, on ports that are free.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::eventually;

/// The token of the compose file.
const TOKEN: &str = "for-a-machine-of-ones-own";

/// Containers, network, volumes and image of one project. They are removed by a shell that waits for the end of this
/// process or value, whichever comes first and in whatever way.
struct Project {
    name: String,
    context: TempDir,
    remover: Child,
}

impl Project {
    fn new() -> Self {
        let name = format!("stock-test-{}", std::process::id());
        let context = TempDir::new().unwrap();
        let remover = Self::remover(&name, context.path());
        Self { name, context, remover }
    }

    fn remover(name: &str, context: &Path) -> Child {
        let mut down = compose(name, context, &["down", "--volumes", "--remove-orphans", "--timeout", "1"]);
        let words: Vec<_> = std::iter::once(down.get_program()).chain(down.get_args()).map(Into::into).collect();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "read -r _; \"$@\"; docker rmi --force \"$STOCK_IMAGE\"", "sh"])
            .args::<_, std::ffi::OsString>(words);
        shell.envs(down.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(down.current_dir(root()).get_current_dir().unwrap());
        // Ctrl-C goes to the group of the test, and the remover has to outlive that.
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Builds the image, from the Dockerfile and this program and nothing else, and starts everything.
    async fn up(&self) {
        let place = self.context.path().join("target/release");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::copy(root().join("Dockerfile"), self.context.path().join("Dockerfile")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_stock"), place.join("stock")).unwrap();
        self.compose(&["up", "--detach", "--build"]).await;
    }

    /// What compose says.
    async fn compose(&self, args: &[&str]) -> String {
        self.run(compose(&self.name, self.context.path(), args)).await
    }

    async fn docker(&self, args: &[&str]) -> String {
        let mut command = Command::new("docker");
        command.args(args);
        self.run(command).await
    }

    async fn run(&self, mut command: Command) -> String {
        let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn container(&self, service: &str) -> String {
        self.compose(&["ps", "--quiet", service]).await
    }

    /// Where a service of the file is reached from outside.
    async fn client(&self, service: &str) -> Instance {
        let place = self.compose(&["port", service, "8080"]).await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        Instance { url: format!("http://{place}"), http: reqwest::Client::new() }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = compose(&self.name, self.context.path(), &["logs", "--tail", "40"]).output();
            eprintln!("{}", logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned()).unwrap_or_default());
        }
        drop(self.remover.stdin.take());
        let _ = self.remover.wait();
    }
}

/// `docker compose`, else `docker-compose`, about this project.
fn compose(name: &str, context: &Path, args: &[&str]) -> Command {
    let is_plugin = Command::new("docker").args(["compose", "version"]).output().is_ok_and(|it| it.status.success());
    let mut command = Command::new(if is_plugin { "docker" } else { "docker-compose" });
    if is_plugin {
        command.arg("compose");
    }
    command.current_dir(root()).args(["--project-name", name]).args(args);
    for port in ["STOCK_1", "STOCK_2", "CACHE", "MYSQL", "REDIS_1", "REDIS_2", "REDIS_3", "REDIS_4", "REDIS_5"] {
        command.env(format!("{port}_PORT"), "0");
    }
    for unset in ["STOCK_API_TOKEN", "MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD", "STOCK_REPOSITORY", "STOCK_HOSTS"] {
        command.env_remove(unset);
    }
    command.env("STOCK_IMAGE", format!("{name}:latest")).env("STOCK_BUILD_TARGET", "host");
    command.env("STOCK_BUILD_CONTEXT", context).env("COMPOSE_DOCKER_CLI_BUILD", "0");
    // Lock nodes that were never there before have forgotten nothing.
    command.env("REDLOCK_RESTART_GUARD", "off");
    command
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// An instance, through its published port.
struct Instance {
    url: String,
    http: reqwest::Client,
}

impl Instance {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, String) {
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, text) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn container_compose_brings_up_a_system_that_works() {
    let project = Project::new();
    project.up().await;
    let containers = [project.container("stock-1").await, project.container("stock-2").await];
    for container in &containers {
        let health = ["inspect", "--format", "{{.State.Health.Status}}", container];
        eventually(Duration::from_secs(60), async || project.docker(&health).await == "healthy").await;
    }
    let (first, second) = (project.client("stock-1").await, project.client("stock-2").await);

    let (status, page) = first.ask(Method::GET, "/", None).await;
    assert!(status == 200 && page.contains("<title>Control room</title>"), "{page}");
    let five_up = async |room: Value| {
        let nodes = room["nodes"].as_array().unwrap().clone();
        nodes.len() == 5 && nodes.iter().all(|node| node["state"] == "up")
    };
    eventually(Duration::from_secs(10), async || five_up(first.get("/v1/room").await).await).await;
    assert_eq!(second.get("/readyz").await, json!({"status": "ready", "database": "up", "voting": 5, "quorum": 3}));
    let stranger = reqwest::get(format!("{}/v1/room", first.url)).await.unwrap();
    assert_eq!(stranger.status(), 401);

    let record = json!({"product_id": 7, "stock": 10});
    assert_eq!(first.ask(Method::PUT, "/v1/stocks/1/0", Some(record)).await.0, 201);
    let change = json!({"quantity": 3, "request_id": "once"});
    let (status, changed) = first.ask(Method::POST, "/v1/stocks/1/0/lock", Some(change.clone())).await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(second.get("/v1/stocks/1/0").await, serde_json::from_str::<Value>(&changed).unwrap());
    let (_, again) = second.ask(Method::POST, "/v1/stocks/1/0/lock", Some(change)).await;
    assert_eq!(again, changed, "the other instance knows the request");
    assert_eq!(second.get("/v1/stocks/1/0").await["locked_stock"], 3);

    assert_eq!(project.docker(&["exec", &containers[0], "id", "-u"]).await, "10001");
    project.compose(&["stop", "stock-1"]).await;
    let status = ["inspect", "--format", "{{.State.ExitCode}}", &containers[0]];
    assert_eq!(project.docker(&status).await, "0", "it ends in good order");
    assert_eq!(second.get("/v1/stocks/1/0").await["locked_stock"], 3);
}
