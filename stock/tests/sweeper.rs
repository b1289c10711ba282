//! Holds that end: two sweepers, one lease, and a payment at the same moment.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;
#[path = "support/program.rs"]
mod program;

use std::sync::Arc;
use std::time::Duration;

use backends::{Backend, locks_on, migrated, sim_locks, sim_nodes};
use program::Service;
use redlock::{Redlock, Released, RestartGuard};
use stock::assembly::{Instance, Purpose};
use stock::config::{Config, Flags};
use stock::operation::{Operation, StockKey};
use stock::repository::StockRepository;
use stock::repository::suite::{explained, fresh_order, make, quantity, seconds};
use stock::request::{Change, OrderId, Request};
use stock::store::{MAX_PAGE, PageSize};
use stock::sweeper::{LOCK, SweepError, Sweeper, Swept};
use testkit::{RedisServer, eventually};

const SOON: Duration = Duration::from_secs(20);

/// A hold of two units that ends in a second.
async fn hold(repository: &dyn StockRepository, key: StockKey) -> OrderId {
    let order = fresh_order();
    let change = Change::new(key, Operation::Lock, quantity(2)).order(order.clone()).expires_in(seconds(1));
    repository.change(change).await.unwrap();
    order
}

/// Waits until the time of so many holds is over.
async fn expired(backend: &Backend, count: usize) {
    let size = PageSize::clamped(MAX_PAGE);
    eventually(SOON, || async { backend.store.expired_holds(None, size).await.unwrap().items.len() == count }).await;
}

fn sweeper(backend: &Backend, redlock: &Redlock) -> Sweeper {
    over(backend.row_lock(), redlock)
}

fn over(repository: Arc<dyn StockRepository>, redlock: &Redlock) -> Sweeper {
    Sweeper::new(repository, redlock.clone()).page(PageSize::clamped(3)).every(Duration::from_millis(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_holds_end_page_by_page_and_others_stay() {
    let backend = Backend::sqlite().await;
    let repositories = [backend.row_lock(), backend.redlocked(&sim_locks())];
    let sweeps = repositories.map(|repository| page_by_page(&backend, repository));
    for swept in sweeps {
        swept.await;
    }
}

async fn page_by_page(backend: &Backend, repository: Arc<dyn StockRepository>) {
    let key = make(repository.as_ref(), 100).await;
    for _ in 0..8 {
        hold(repository.as_ref(), key).await;
    }
    let stays = Change::new(key, Operation::Lock, quantity(5)).order(fresh_order()).expires_in(seconds(600));
    repository.change(stays).await.unwrap();
    expired(backend, 8).await;
    let sweeper = over(repository, &sim_locks());
    assert_eq!(sweeper.sweep().await.unwrap(), Swept { expired: 8, changed: 0, failed: 0 });
    assert_eq!(sweeper.sweep().await.unwrap(), Swept::default());
    let audit = explained(backend.store.as_ref(), key).await;
    assert_eq!((audit.record.levels.available(), audit.record.levels.locked()), (95, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_sweeps_at_a_time() {
    let backend = Backend::sqlite().await;
    let nodes = sim_nodes();
    let (first, second) = (locks_on(&nodes), locks_on(&nodes));
    let guard = first.try_lock(LOCK).await.unwrap();
    let refused = sweeper(&backend, &second).sweep().await.unwrap_err();
    assert!(matches!(refused, SweepError::Elsewhere), "{refused:?}");
    guard.release().await.unwrap();
    sweeper(&backend, &second).sweep().await.unwrap();
}

/// Without lock nodes in common the database says whose turn it is; who goes away gives it back.
#[tokio::test(flavor = "multi_thread")]
async fn one_instance_sweeps_at_a_time_by_the_database() {
    let backend = Backend::mariadb().await;
    let other = migrated(&backend.url).await;
    let sweeper = Sweeper::by_database(backend.row_lock());
    for ends in [true, false] {
        let turn = other.sweeper_turn().await.unwrap().expect("nobody has it");
        let refused = sweeper.sweep().await.unwrap_err();
        assert!(matches!(refused, SweepError::Elsewhere), "{refused:?}");
        if ends {
            turn.end().await;
        } else {
            drop(turn);
        }
        eventually(SOON, async || sweeper.sweep().await.is_ok()).await;
    }
}

/// Two services share a database. As long as somebody else has the turn, neither ends a hold; after that each hold is
/// ended once, by one of them.
async fn two_services_take_turns(backend: &Backend, settings: &[(&str, &str)], turn: impl Future<Output = ()>) {
    let key = make(backend.row_lock().as_ref(), 100).await;
    let (services, mut count) = (tokio::join!(Service::start(settings), Service::start(settings)), 0);
    let services = [services.0, services.1];
    for _ in 0..20 {
        hold(backend.row_lock().as_ref(), key).await;
        count += 1;
    }
    expired(backend, count).await;
    for service in &services {
        let elsewhere = service.figure("stock_sweeps_total{outcome=\"elsewhere\"}").await;
        let more = async || service.figure("stock_sweeps_total{outcome=\"elsewhere\"}").await > elsewhere;
        eventually(SOON, more).await;
    }
    let levels = backend.row_lock().get(key).await.unwrap().levels;
    assert_eq!(levels.locked(), 40, "somebody has swept out of turn");
    turn.await;
    eventually(SOON, async || backend.row_lock().get(key).await.unwrap().levels.locked() == 0).await;
    let ended = async || {
        let figure = "stock_swept_holds_total{outcome=\"expired\"}";
        services[0].figure(figure).await + services[1].figure(figure).await
    };
    // They count when they have heard of their COMMIT, which others may see before.
    eventually(SOON, async || ended().await >= 20.0).await;
    assert_eq!((ended().await, explained(backend.store.as_ref(), key).await.log.entries), (20.0, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_leases_sweep_in_turns() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(3), Backend::mariadb());
    let nodes = nodes.unwrap();
    let urls = nodes.iter().map(RedisServer::url).collect::<Vec<_>>().join(",");
    for kind in ["redlock", "row-lock"] {
        let settings = [
            ("DATABASE_URL", &*backend.url),
            ("REDLOCK_NODES", &*urls),
            ("REDLOCK_RESTART_GUARD", "off"),
            ("STOCK_REPOSITORY", kind),
        ];
        // As soon as it is free.
        let patient = Redlock::builder().nodes(nodes.iter().map(RedisServer::url)).node_timeout(Duration::from_secs(2));
        let guard = patient.restart_guard(RestartGuard::Off).build().unwrap().lock(LOCK).await.unwrap();
        two_services_take_turns(&backend, &settings, async {
            assert_eq!(guard.release().await.unwrap(), Released::Released);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_without_lock_nodes_sweep_in_turns() {
    let backend = Backend::mariadb().await;
    let settings = [("DATABASE_URL", &*backend.url), ("STOCK_REPOSITORY", "row-lock")];
    let turn = backend.store.sweeper_turn().await.unwrap().expect("nobody has it");
    two_services_take_turns(&backend, &settings, turn.end()).await;
}

/// Row locks need no lock nodes, so nobody is refused for them. But only those that all instances have agreed on keep
/// sweepers apart: an instance with others takes turns by the database. None of the nodes answers here, so whoever
/// counts on them sweeps nothing.
#[tokio::test(flavor = "multi_thread")]
async fn row_lock_instances_sweep_by_the_nodes_that_were_agreed_on() {
    let figures = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    let backend = Backend::mariadb().await;
    let key = make(backend.row_lock().as_ref(), 100).await;
    let open = async |nodes: &str| {
        let settings = [("DATABASE_URL", &*backend.url), ("STOCK_REPOSITORY", "row-lock"), ("REDLOCK_NODES", nodes)];
        let flags: Flags = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Instance::open(&Config::load(&flags).unwrap(), Purpose::Service).await.unwrap()
    };
    let first = open("redis://127.0.0.1:1").await;
    hold(backend.row_lock().as_ref(), key).await;
    expired(&backend, 1).await;
    let failed = |text: &str| text.matches("stock_sweeps_total{outcome=\"failed\"}").count();
    eventually(SOON, async || failed(&figures.render()) > 0).await;
    let levels = backend.row_lock().get(key).await.unwrap().levels;
    assert_eq!(levels.locked(), 2, "somebody sweeps without the nodes");
    let other = open("redis://127.0.0.1:2").await;
    eventually(SOON, async || backend.row_lock().get(key).await.unwrap().levels.locked() == 0).await;
    for instance in [first, other] {
        instance.close(SOON).await;
    }
}

/// Two instances sweep again and again while every order pays at the moment its hold ends: each either
/// pays or loses its units, and never both.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_at_the_last_moment_counts_or_is_refused() {
    let backend = Backend::shared().await;
    let repositories = [backend.row_lock(), backend.redlocked(&sim_locks())];
    let [row_lock, redlocked] = repositories.map(|repository| last_moments(&backend, repository));
    tokio::join!(row_lock, redlocked);
}

async fn last_moments(backend: &Backend, repository: Arc<dyn StockRepository>) {
    let key = make(repository.as_ref(), 1_000).await;
    let nodes = sim_nodes();
    let sweepers: Vec<_> = (0..2)
        .map(|_| {
            let sweeper = over(repository.clone(), &locks_on(&nodes));
            tokio::spawn(async move { match sweeper.run().await {} })
        })
        .collect();
    let mut payments = tokio::task::JoinSet::new();
    for number in 0..40 {
        let repository = repository.clone();
        payments.spawn(async move {
            let order = hold(repository.as_ref(), key).await;
            tokio::time::sleep(Duration::from_millis(900 + number * 10)).await;
            let pay = Change::new(key, Operation::Reserve, quantity(2)).order(order);
            match repository.change(pay).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.code(), "hold_expired", "{error}");
                    false
                }
            }
        });
    }
    let paid = payments.join_all().await.into_iter().filter(|paid| *paid).count() as u64;
    // What nobody has paid for is available again.
    eventually(SOON, || async { repository.get(key).await.unwrap().levels.locked() == 0 }).await;
    sweepers.iter().for_each(tokio::task::JoinHandle::abort);
    let levels = explained(backend.store.as_ref(), key).await.record.levels;
    assert_eq!((levels.available(), levels.reserved()), (1_000 - 2 * paid, 2 * paid));
    assert!((1..40).contains(&paid), "{paid} of 40 paid: nobody raced");
}

/// A sweeper that was stopped in the middle of a pass goes on with a list from before.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_list_ends_nothing_that_has_changed() {
    let backend = Backend::sqlite().await;
    let repository = backend.row_lock();
    let key = make(repository.as_ref(), 100).await;
    let (swept, prolonged) = (hold(repository.as_ref(), key).await, hold(repository.as_ref(), key).await);
    expired(&backend, 2).await;
    let list = backend.store.expired_holds(None, PageSize::default()).await.unwrap().items;
    let more = Change::new(key, Operation::Lock, quantity(1)).order(prolonged).expires_in(seconds(600));
    repository.change(more).await.unwrap();
    sweeper(&backend, &sim_locks()).sweep().await.unwrap();

    let before = repository.get(key).await.unwrap();
    for hold in &list {
        let late = repository.apply(Request::expire(hold).unwrap()).await;
        if hold.order_id == swept {
            assert!(late.unwrap().replayed);
        } else {
            assert_eq!(late.unwrap_err().code(), "hold_changed");
        }
    }
    assert_eq!(repository.get(key).await.unwrap(), before);
}

/// A lease that is lost ends the pass; the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_costs_a_pass_and_nothing_else() {
    let backend = Backend::sqlite().await;
    let repository = backend.row_lock();
    let key = make(repository.as_ref(), 100).await;
    for _ in 0..4 {
        hold(repository.as_ref(), key).await;
    }
    expired(&backend, 4).await;
    let nodes = sim_nodes();
    nodes.iter().take(3).for_each(redlock::SimNode::stop);
    let sweeper = sweeper(&backend, &locks_on(&nodes));
    let failed = sweeper.sweep().await.unwrap_err();
    assert!(matches!(failed, SweepError::Locks(_)), "{failed:?}");
    let running = sweeper.clone();
    let task = tokio::spawn(async move { match running.run().await {} });
    nodes.iter().take(3).for_each(|node| node.start(true));
    let store: Arc<_> = backend.store.clone();
    eventually(SOON, || async { repository.get(key).await.unwrap().levels.locked() == 0 }).await;
    task.abort();
    assert_eq!(explained(store.as_ref(), key).await.log.entries, 8);
}
