//! The ladder by which people come to Redlock: every lock with the flaw that the next one mends.
//!
//! Each rung runs on real redis-servers, started for it, under a schedule that makes its flaw show:
//! clients die or stand still in exactly the gap that is the flaw, so that it shows every time and not
//! once in a million. Then the same schedule runs on the next rung. Run it with
//!
//! ```text
//! cargo run -p examples --example ladder
//! ```

mod client;
mod expiry_in_value;
mod lock;
mod no_lock;
mod one_node;
mod paused;
mod renewal;
mod set_nx;
mod set_nx_px;
mod table;
mod world;

use std::process::ExitCode;
use std::time::Instant;

pub(crate) use table::Ladder;
use world::World;

/// Climbs from the bottom to the top.
pub(crate) async fn climb() -> anyhow::Result<Ladder> {
    let started = Instant::now();
    let world = World::start().await?;
    let rows = vec![
        no_lock::row(&world).await?,
        set_nx::row(&world).await?,
        set_nx::row_with_expire(&world).await?,
        set_nx_px::row(&world).await?,
        set_nx_px::row_with_owner(&world).await?,
        expiry_in_value::row_of_clocks(&world).await?,
        expiry_in_value::row_of_losers(&world).await?,
        expiry_in_value::row_of_lua_form(&world).await?,
        renewal::row(&world).await?,
        one_node::row(&world).await?,
        paused::row(&world).await?,
    ];
    Ok(Ladder { rows, took: started.elapsed() })
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let ladder = climb().await?;
    println!("{ladder}");
    if ladder.is_as_told() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("a flaw did not show every time, or showed where it was mended");
    Ok(ExitCode::FAILURE)
}
