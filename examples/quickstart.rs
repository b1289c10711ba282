//! The first lock: take it, do something, give it back.
//!
//! Run it with `REDLOCK_NODES=redis://10.0.0.1:6379,redis://10.0.0.2:6379,… cargo run -p examples
//! --example quickstart`; without the variable it starts three redis-servers of its own.

use std::time::Duration;

use anyhow::Context as _;
use redlock::{LockError, Redlock, RestartGuard};
use testkit::RedisServer;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Kept to the end: servers stop when their values are dropped.
    let mut servers = Vec::new();
    let nodes = match std::env::var("REDLOCK_NODES") {
        Ok(urls) => urls.split(',').map(str::to_owned).collect(),
        Err(_) => {
            servers = RedisServer::fleet(3).await.context("no REDLOCK_NODES, and no servers")?;
            servers.iter().map(RedisServer::url).collect::<Vec<_>>()
        }
    };
    // Servers that were started a moment ago are kept out until no client can hold a lease that
    // they forgot; these two lines are for servers of one's own that hold nothing yet.
    let guard = if servers.is_empty() { RestartGuard::MaxTtl } else { RestartGuard::Off };
    let redlock = Redlock::builder().nodes(nodes).restart_guard(guard).build()?;

    let guard = redlock.lock("order:42").await?;
    println!("token {}, for the thing protected to check", guard.fence());
    println!("locked for another {:?}; it is renewed while the guard lives", guard.validity());

    match redlock.try_lock("order:42").await {
        Err(LockError::Contended { retry_after, .. }) => {
            println!("nobody else gets it; worth another try in {retry_after:?}");
        }
        other => anyhow::bail!("two holders at once: {other:?}"),
    }

    println!("released: {:?}", guard.release().await?);

    let answer = redlock.lock("order:42").run(async |_lease| 6 * 7).await?;
    println!("work under the lock gave {answer}");

    // Releases are sent without waiting; here they get the time to arrive.
    redlock.close(Duration::from_secs(1)).await;
    drop(servers);
    Ok(())
}
