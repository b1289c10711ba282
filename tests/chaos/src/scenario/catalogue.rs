//! All scenarios.

mod locks;
mod stock;

use std::sync::OnceLock;

use super::Scenario;

/// Every scenario, in the order in which `all` runs them.
#[must_use]
pub fn scenarios() -> &'static [Scenario] {
    static ALL: OnceLock<Vec<Scenario>> = OnceLock::new();
    ALL.get_or_init(|| locks::all().into_iter().chain(stock::all()).collect())
}

/// Everything that is needed is what the set-up installs.
fn anywhere() -> Result<(), String> {
    Ok(())
}

fn containers() -> Result<(), String> {
    if testkit::containers_available() { Ok(()) } else { Err("no container engine answers, or it lacks images".into()) }
}

fn python() -> Result<(), String> {
    match std::env::var_os("TESTKIT_PYTHON") {
        Some(_) => Ok(()),
        None => Err("TESTKIT_PYTHON names no Python with pottery and redlock-py; see `cargo xtask`".into()),
    }
}
