//! Several resources under one lock, all or none.
//!
//! An order of two articles must not hold one while it waits for the other, or two orders wait for
//! each other for ever. Here both name the articles in opposite order; that makes no difference. Run
//! it with `cargo run -p examples --example several`; `REDLOCK_NODES` names other nodes than its own.

mod nodes;

use std::time::Duration;

use nodes::Nodes;
use redlock::{LockError, Redlock};
use tokio::time::sleep;

const ORDERS: u32 = 10;

/// What a run of the lesson showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// How many orders went through, of both customers.
    pub(crate) orders: u32,
    /// Whether an article was free although the other one of the pair was not.
    pub(crate) other_is_free: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Shown { orders, other_is_free } = lesson().await?;
    println!("{orders} orders; the other article stayed free: {other_is_free}");
    Ok(())
}

pub(crate) async fn lesson() -> anyhow::Result<Shown> {
    let nodes = Nodes::named_or_own().await?;
    // Two processes, as it were.
    let (one, two) = (nodes.builder().build()?, nodes.builder().build()?);
    let there = tokio::spawn(order(one.clone(), ["article:1", "article:2"]));
    let back = tokio::spawn(order(two.clone(), ["article:2", "article:1"]));
    let orders = there.await?? + back.await??;

    let held = one.lock("article:1").await?;
    match two.try_lock(["article:1", "article:2"]).await {
        Err(LockError::Contended { .. }) => println!("article:1 is taken, so neither is locked"),
        other => anyhow::bail!("two holders at once: {other:?}"),
    }
    // At once, since the attempt took back what it had got.
    let other_is_free = two.lock("article:2").wait(Duration::from_secs(5)).await.is_ok();
    held.release().await?;

    one.close(Duration::from_secs(1)).await;
    two.close(Duration::from_secs(1)).await;
    Ok(Shown { orders, other_is_free })
}

async fn order(redlock: Redlock, articles: [&str; 2]) -> anyhow::Result<u32> {
    for _ in 0..ORDERS {
        let guard = redlock.lock(articles).await?;
        sleep(Duration::from_millis(2)).await;
        guard.release().await?;
    }
    Ok(ORDERS)
}
