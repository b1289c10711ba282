//! Answers of Redis that are lost: what may have been done is found out, or unknown; what was never sent is refused.

use std::sync::Arc;
use std::time::Duration;

use stock::operation::StockKey;
use stock::repository::resident::ResidentConfig;
use stock::repository::{Resident, StockRepository, suite};
use stock::request::{Request, RequestId};
use testkit::{Mode, Proxy, RedisServer, Reply, eventually};

use crate::backends::{Backend, sim_locks};
use crate::{SOON, hash, lock};

/// A repository that goes to Redis through a proxy, and does not try for long.
struct Scene {
    backend: Backend,
    redis: RedisServer,
    proxy: Proxy,
    resident: Arc<Resident>,
    key: StockKey,
}

impl Scene {
    async fn new(backend: Backend, patience: Duration) -> Self {
        let redis = RedisServer::start().await.unwrap();
        let proxy = Proxy::start(redis.addr()).await;
        let config = ResidentConfig::new(format!("redis://{}", proxy.addr())).patience(patience);
        let resident = Resident::open(backend.store.clone(), sim_locks(), config).await.unwrap();
        let key = suite::make(&resident, 10).await;
        resident.change(lock(key, 1)).await.unwrap();
        Self { backend, redis, proxy, resident: Arc::new(resident), key }
    }

    /// A request that Redis carries out, while its answer goes nowhere.
    async fn unanswered(&self, request: &Request) -> tokio::task::JoinHandle<Outcome> {
        self.proxy.set(Mode::BlackHoleReplies);
        let (resident, request) = (self.resident.clone(), request.clone());
        let asked = tokio::spawn(async move { resident.apply(request).await });
        let done = async || self.version().await == "2";
        eventually(SOON, done).await;
        asked
    }

    async fn version(&self) -> String {
        match self.redis.command(&["HGET", &hash(self.key), "version"]).await.unwrap() {
            Reply::Text(text) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn request(&self) -> Request {
        Request::one(lock(self.key, 2)).id(RequestId::make())
    }
}

type Outcome = Result<stock::workbench::Answer, stock::error::RepositoryError>;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_found_out() {
    let scene = Scene::new(Backend::sqlite().await, SOON).await;
    let request = scene.request();
    let asked = scene.unanswered(&request).await;
    scene.proxy.reset_connections();
    scene.proxy.set(Mode::Forward);
    let answer = asked.await.unwrap().unwrap();
    assert_eq!((answer.records[0].version, answer.replayed), (2, false), "it is the first answer");
    assert!(scene.resident.apply(request).await.unwrap().replayed);
    scene.resident.settle(SOON).await.unwrap();
    let audit = suite::explained(scene.backend.store.as_ref(), scene.key).await;
    assert_eq!((audit.record.version, audit.record.levels.locked()), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_found_out_is_unknown() {
    let scene = Scene::new(Backend::sqlite().await, Duration::from_secs(1)).await;
    let request = scene.request();
    let error = scene.unanswered(&request).await.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "outcome_unknown", "{error:?}");
    assert!(error.to_string().contains(request.request_id.as_ref().unwrap().as_str()), "{error}");
    scene.proxy.set(Mode::Forward);
    scene.proxy.reset_connections();
    assert!(scene.resident.apply(request).await.unwrap().replayed);
    assert_eq!(scene.version().await, "2");
}

/// The answer is lost, and then the database does not say either whether it was done.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_does_not_make_it_a_refusal() {
    let scene = Scene::new(Backend::mariadb().await, Duration::from_secs(1)).await;
    let asked = scene.unanswered(&scene.request()).await;
    scene.backend.server().kill().await.unwrap();
    scene.proxy.reset_connections();
    scene.proxy.set(Mode::Forward);
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "outcome_unknown", "{error:?}");
}

/// Nothing was sent, so nothing is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_gone_is_a_refusal() {
    let scene = Scene::new(Backend::sqlite().await, Duration::from_millis(300)).await;
    scene.redis.kill().await.unwrap();
    // By then whoever is connected has noticed.
    eventually(SOON, async || scene.resident.get(scene.key).await.is_err()).await;
    let error = scene.resident.apply(scene.request()).await.unwrap_err();
    assert_eq!(error.code(), "resident_unavailable", "{error:?}");
}
