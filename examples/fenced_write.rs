//! A write to MySQL that a holder who comes too late cannot make.
//!
//! No lock can stop a process that was paused between its last look at the lease and its write. The
//! database can: each row remembers the largest fencing token that has come, and refuses smaller ones.
//! A new holder *claims* the row with its token before it reads, or it would read what an old one is
//! about to overwrite. Run it with `DATABASE_URL=mysql://user:password@host/database cargo run -p
//! examples --example fenced_write`; without the variable it starts a server of its own, likewise
//! without `REDLOCK_NODES`.

mod nodes;

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nodes::Nodes;
use redlock::FencingToken;
use sqlx::mysql::MySqlPool;
use testkit::SqlServer;

/// What a run of the lesson showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whether the newer holder's write was taken.
    pub(crate) newer: bool,
    /// Whether the older holder's write was taken, which came after it.
    pub(crate) older: bool,
    /// What is there in the end.
    pub(crate) price: i64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    let Shown { newer, older, price } = lesson(url).await?;
    println!("newer write taken: {newer}, older write taken: {older}; the price is {price}");
    Ok(())
}

pub(crate) async fn lesson(url: Option<String>) -> anyhow::Result<Shown> {
    let nodes = Nodes::named_or_own().await?;
    let mut server = None;
    let url = match url {
        Some(url) if url.starts_with("mysql://") => url,
        // Not shown, because it may have a password.
        Some(_) => bail!("DATABASE_URL cannot be used: allowed are mysql://user:password@host/database URLs"),
        None => {
            let started = SqlServer::start().await.context("no DATABASE_URL, and no server")?;
            server.insert(started).url("test")
        }
    };
    let prices = Prices::open(&url).await?;
    // Two processes, as it were.
    let (one, two) = (nodes.builder().build()?, nodes.builder().build()?);

    // The first holder's lease is not renewed: it stands for one whose process was paused.
    let first = one.lock("price:1").ttl(Duration::from_millis(500)).renew(false).await?;
    let read = prices.claim(first.fence()).await?.context("nobody came before")?;
    println!("token {} read the price {read}, and now stands still", first.fence());

    let second = two.lock("price:1").await?;
    let newest = prices.claim(second.fence()).await?.context("nobody came after")?;
    let newer = prices.write(newest + 10, second.fence()).await?;
    println!("token {} made it {}", second.fence(), newest + 10);

    let older = prices.write(read + 1, first.fence()).await?;
    println!("token {} wakes and writes {}: {}", first.fence(), read + 1, if older { "taken" } else { "refused" });

    let shown = Shown { newer, older, price: prices.read().await? };
    second.release().await?;
    drop(first);
    one.close(Duration::from_secs(1)).await;
    two.close(Duration::from_secs(1)).await;
    drop(server);
    Ok(shown)
}

/// A table of one price, with the largest token that has come.
struct Prices {
    pool: MySqlPool,
    id: i64,
}

impl Prices {
    async fn open(url: &str) -> anyhow::Result<Self> {
        let pool = MySqlPool::connect(url).await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS redlock_example_prices \
             (id BIGINT AUTO_INCREMENT PRIMARY KEY, price BIGINT NOT NULL, fence BIGINT NOT NULL DEFAULT 0)",
        )
        .execute(&pool)
        .await?;
        let inserted = sqlx::query("INSERT INTO redlock_example_prices (price) VALUES (100)").execute(&pool).await?;
        let id = i64::try_from(inserted.last_insert_id())?;
        Ok(Self { pool, id })
    }

    /// From now on smaller tokens are refused; the price as it then is. `None` if a larger one has
    /// come.
    async fn claim(&self, token: FencingToken) -> anyhow::Result<Option<i64>> {
        let fence = i64::from(token);
        let claim = "UPDATE redlock_example_prices SET fence = ? WHERE id = ? AND fence <= ?";
        let claimed = sqlx::query(claim).bind(fence).bind(self.id).bind(fence).execute(&self.pool).await?;
        if claimed.rows_affected() == 0 {
            return Ok(None);
        }
        self.read().await.map(Some)
    }

    /// Whether it was taken.
    async fn write(&self, price: i64, token: FencingToken) -> anyhow::Result<bool> {
        let write = "UPDATE redlock_example_prices SET price = ? WHERE id = ? AND fence = ?";
        let written = sqlx::query(write).bind(price).bind(self.id).bind(i64::from(token)).execute(&self.pool).await?;
        ensure!(written.rows_affected() <= 1, "the id is not unique");
        Ok(written.rows_affected() == 1)
    }

    async fn read(&self) -> anyhow::Result<i64> {
        let read = "SELECT price FROM redlock_example_prices WHERE id = ?";
        Ok(sqlx::query_scalar(read).bind(self.id).fetch_one(&self.pool).await?)
    }
}
