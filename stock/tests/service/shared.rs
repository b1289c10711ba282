//! Two instances on one database and the same lock nodes.

use serde_json::json;
use stock::assembly::{Instance, Purpose};
use stock::config::ConfigError;
use testkit::{RedisServer, SqlServer};

use crate::support::{Client, config, open};

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_sell_everything_once_and_know_each_others_requests() {
    let (nodes, server) = tokio::join!(RedisServer::fleet(3), SqlServer::start());
    let (nodes, server) = (nodes.unwrap(), server.unwrap());
    let urls: Vec<_> = nodes.iter().map(RedisServer::url).collect();
    let (urls, database) = (urls.join(","), server.url("test"));
    let settings = [
        ("DATABASE_URL", &*database),
        ("REDLOCK_NODES", &*urls),
        ("REDLOCK_RESTART_GUARD", "off"),
        ("STOCK_BIND", "127.0.0.1:0"),
    ];
    let config = config(&settings);
    let (first, second) = tokio::join!(open(&config, Purpose::Service), open(&config, Purpose::Service));
    let clients = [Client::new(first.0.url()), Client::new(second.0.url())];
    clients[0].make(1, 100).await;
    let buyers = (0..16).map(|buyer| {
        let client = clients[buyer % 2].clone();
        tokio::spawn(async move {
            let mut sold = 0;
            loop {
                let answer = client.change(1, "lock", json!({"quantity": 1})).await;
                match answer.status {
                    200 => sold += 1,
                    409 => return sold,
                    status => assert_eq!(status, 503, "{answer:?}"),
                }
            }
        })
    });
    let sold: Vec<u64> = futures_util::future::join_all(buyers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(sold.iter().sum::<u64>(), 100, "{sold:?}");
    let rows = server.query("test", "SELECT COUNT(*) FROM product_stock_logs").await.unwrap();
    assert_eq!(rows[0][0].as_deref(), Some("100"));

    clients[0].make(2, 10).await;
    let body = json!({"quantity": 3, "request_id": "twice"});
    let answers = [clients[0].change(2, "lock", body.clone()).await, clients[1].change(2, "lock", body).await];
    assert_eq!(answers[1].headers["stock-replayed"], "true");
    assert_eq!(answers[0].body, answers[1].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_other_lock_nodes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("stock.db").display());
    let first = Instance::open(&config(&[("DATABASE_URL", &database)]), Purpose::Service).await.unwrap();
    first.close(std::time::Duration::from_secs(5)).await;
    let others = [("DATABASE_URL", &*database), ("REDLOCK_NODES", "redis://:hush@127.0.0.1:1")];
    let refused = Instance::open(&config(&others), Purpose::Service).await.unwrap_err();
    let message = refused.downcast::<ConfigError>().unwrap().to_string();
    for part in ["REDLOCK_NODES", "agreed on other lock nodes", "stock locks adopt"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("hush"), "{message}");
    let row_lock = [others[0], others[1], ("STOCK_REPOSITORY", "row-lock")];
    Instance::open(&config(&row_lock), Purpose::Service).await.unwrap();
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_refused() {
    for (settings, parts) in [
        (&[("DATABASE_URL", "mysql://h/d")][..], &["REDLOCK_NODES", "in-process"][..]),
        (&[("STOCK_REPOSITORY", "resident")], &["STOCK_REPOSITORY", "resident", "REDIS_HOST"]),
    ] {
        let refused = Instance::open(&config(settings), Purpose::Service).await.unwrap_err();
        let message = refused.downcast::<ConfigError>().unwrap().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}
