//! The first lock: take it, do something, give it back.
//!
//! Run it with `REDLOCK_NODES=redis://10.0.0.1:6379,redis://10.0.0.2:6379,… cargo run -p examples
//! --example quickstart`; without the variable it starts three redis-servers of its own.

mod nodes;

use std::time::Duration;

use nodes::Nodes;
use redlock::{LockError, Released};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    lesson().await
}

pub(crate) async fn lesson() -> anyhow::Result<()> {
    let nodes = Nodes::named_or_own().await?;
    let redlock = nodes.builder().build()?;

    let guard = redlock.lock("order:42").await?;
    println!("token {}, for the thing protected to check", guard.fence());
    println!("locked for another {:?}; it is renewed while the guard lives", guard.validity());

    match redlock.try_lock("order:42").await {
        Err(LockError::Contended { retry_after, .. }) => {
            println!("nobody else gets it; worth another try in {retry_after:?}");
        }
        other => anyhow::bail!("two holders at once: {other:?}"),
    }

    let released = guard.release().await?;
    println!("released: {released:?}");
    anyhow::ensure!(released == Released::Released, "the lease did not last");

    let answer = redlock.lock("order:42").run(async |_lease| 6 * 7).await?;
    println!("work under the lock gave {answer}");

    // Releases are sent without waiting; here they get the time to arrive.
    redlock.close(Duration::from_secs(1)).await;
    Ok(())
}
