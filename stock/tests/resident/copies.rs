//! Instances of other kinds may read a resident record, and keep copies of it: none of these is older than what the
//! database has.

use std::time::Duration;

use stock::cache::{Cached, Level, RedisPlace, Settings};
use stock::repository::{StockRepository, suite};
use testkit::{RedisServer, eventually};

use crate::backends::{Backend, sim_locks};
use crate::{SOON, lock, open};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_resident_record_is_not_older_than_the_database() {
    let (backend, redis) = (Backend::sqlite().await, RedisServer::start().await.unwrap());
    let place = RedisPlace::new("127.0.0.1", redis.port());
    let settings = Settings { redis: Some(place), patience: Duration::from_secs(2), ..Settings::default() };
    let cached = Cached::new(backend.row_lock(), &settings);
    assert!(cached.connected(SOON).await);
    let resident = open(&backend, &redis, &sim_locks()).await;
    let key = suite::make(&cached, 10).await;
    for round in 1..=3 {
        resident.change(lock(key, 1)).await.unwrap();
        resident.settle(SOON).await.unwrap();
        // What was heard takes its way, and not a time to live of minutes.
        eventually(Duration::from_secs(5), async || cached.get(key).await.unwrap().version == round).await;
        let is_near = async || cached.read(key).await.unwrap().level == Level::Local;
        eventually(SOON, is_near).await;
        assert_eq!(cached.get(key).await.unwrap().levels.locked(), round);
    }
}
