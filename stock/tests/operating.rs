//! What whoever runs the service sees and does: warnings at the start, warm caches.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;
#[path = "support/program.rs"]
mod program;

use std::time::Duration;

use backends::Backend;
use program::Service;
use stock::operation::{Id, StockKey};
use stock::repository::suite::quantity;
use testkit::{RedisServer, SqlServer, eventually};

const SOON: Duration = Duration::from_secs(20);

/// A database that answers commits before they are on the disk is named, loudly; a durable one is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_forgets_is_told_at_the_start() {
    for (setting, is_forgetful) in [(1, false), (2, true)] {
        let arg = format!("--innodb-flush-log-at-trx-commit={setting}");
        let backend = Backend::on(SqlServer::builder().arg(arg).start().await.unwrap()).await;
        let service = Service::start(&[("DATABASE_URL", &backend.url), ("STOCK_REPOSITORY", "row-lock")]).await;
        let warns = async || {
            let said = service.said();
            said.contains("COMMITS ARE NOT DURABLE") && said.contains("innodb_flush_log_at_trx_commit is 2")
        };
        // What it says and that it listens come on different ways.
        if is_forgetful {
            eventually(SOON, warns).await;
        }
        assert_eq!(warns().await, is_forgetful);
    }
}

/// The same for the log that replicas and restores are made from.
#[tokio::test(flavor = "multi_thread")]
async fn a_binary_log_that_is_written_later_is_told() {
    let builder = SqlServer::builder().arg("--log-bin").arg("--sync-binlog=0");
    let backend = Backend::on(builder.start().await.unwrap()).await;
    let settings = backend.store.forgetful_settings().await.unwrap();
    assert_eq!(settings, ["sync_binlog is 0, durable is 1"]);
}

/// Records that somebody named are in Redis before anybody has asked for them, and in an instance that begins.
#[tokio::test(flavor = "multi_thread")]
async fn alone_hot_records_are_at_hand_from_the_beginning() {
    let (redis, backend) = tokio::join!(RedisServer::start(), Backend::sqlite());
    let redis = redis.unwrap();
    for variant in 1..=3 {
        let key = StockKey::new(variant, 0).unwrap();
        backend.row_lock().create(Id::new(7).unwrap(), key, quantity(10)).await.unwrap();
    }
    let port = redis.port().to_string();
    let settings = [("DATABASE_URL", &*backend.url), ("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &*port)];
    let warmed = program::run(&["cache", "warm", "1/0", "2/0", "9/0"], &settings).await;
    assert!(warmed.status.success(), "{warmed:?}");
    let said = String::from_utf8(warmed.stdout).unwrap();
    assert!(said.starts_with("2 records brought to ") && said.contains("1 do not exist"), "{said}");
    let mut keys = redis.keys("product_stock:*:0").await;
    keys.sort_unstable();
    assert_eq!(keys, ["product_stock:1:0", "product_stock:2:0"]);

    let mut with_list = settings.to_vec();
    with_list.push(("STOCK_CACHE_WARM", "2/0, 3/0"));
    let service = Service::start(&with_list).await;
    eventually(SOON, async || service.said().contains("the cache is warm")).await;
    for (variant, level) in [(1, "redis"), (2, "local"), (3, "local")] {
        let answer = service.get(&format!("/v1/stocks/{variant}/0")).await;
        assert_eq!(answer.headers()["x-cache"], level, "variant {variant}");
    }
    let wrong = program::run(&["cache", "warm", "1"], &settings).await;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

/// An outage of the lock nodes is told when it begins and when it is over, not every second in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once_and_so_is_its_end() {
    let node = RedisServer::start().await.unwrap();
    let url = node.url();
    let settings = [("REDLOCK_NODES", &*url), ("REDLOCK_RESTART_GUARD", "off"), ("RUST_LOG", "stock::sweeper=info")];
    let service = Service::start(&settings).await;
    let (failed, done) = ("stock_sweeps_total{outcome=\"failed\"}", "stock_sweeps_total{outcome=\"done\"}");
    let times = |text: &str| service.said().matches(text).count();
    let told = || (times("expired holds are not swept"), times("swept again"));
    // A first pass that found no connection yet has been told of, and is over.
    eventually(SOON, async || service.figure(done).await > 0.0 && told().0 == told().1).await;
    let (outages, ends) = told();
    node.kill().await.unwrap();
    let before = service.figure(failed).await;
    eventually(SOON, async || service.figure(failed).await >= before + 3.0).await;
    assert_eq!(told(), (outages + 1, ends), "{}", service.said());
    node.restart(testkit::Restart::Empty).await.unwrap();
    eventually(SOON, async || told().1 == ends + 1).await;
}
