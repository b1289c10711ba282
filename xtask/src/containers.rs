//! Whether the container suites can run here, and if not, why.

use std::process::Command;
use std::time::Duration;

use crate::command::succeeds;

/// What the container suites run.
const IMAGES: [&str; 3] = ["redis:7", "mysql:9", "debian:bookworm-slim"];

/// `Err` with the reason if the suites cannot run. Images that are missing are pulled.
pub(crate) fn check() -> Result<(), String> {
    let quick = Duration::from_secs(15);
    if !docker(&["info"], quick) {
        return Err("no container engine answers (`docker info` fails)".to_owned());
    }
    for image in IMAGES {
        if docker(&["image", "inspect", image], quick) {
            continue;
        }
        eprintln!("  pulling {image}");
        if !docker(&["pull", "--quiet", image], Duration::from_secs(300)) {
            return Err(format!("the engine neither has nor can pull the image {image}"));
        }
    }
    Ok(())
}

fn docker(args: &[&str], within: Duration) -> bool {
    succeeds(Command::new("docker").args(args), within)
}
