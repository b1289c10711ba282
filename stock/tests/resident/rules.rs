//! The script's rules are those of `levels` and `hold`: random requests get the same answers from the
//! resident repository and from row locks, down to the figures in each refusal.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stock::error::RepositoryError;
use stock::hold::Hold;
use stock::operation::{MAX_INTEGER, Operation, StockKey};
use stock::record::StockRecord;
use stock::repository::{Resident, RowLock, StockRepository, suite};
use stock::request::{Change, OrderId, Request};
use stock::store::PageSize;
use testkit::RedisServer;

use crate::backends::{Backend, sim_locks};

/// One change: record, operation, units, order, expiry.
type Step = (usize, Operation, u64, Option<u8>, Option<u64>);

#[derive(Debug, Clone)]
enum Asked {
    Changes(Vec<Step>),
    /// Ends what an order holds of a record, as it is listed.
    Expire(usize, u8),
    /// The same, but the order locks more in between.
    ExpireLate(usize, u8),
}

fn units() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1_u64..6, 1 => 0_u64..40, 1 => (MAX_INTEGER - 9)..=MAX_INTEGER]
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![3 => Just(Operation::Lock), 5 => proptest::sample::select(Operation::ALL.to_vec())];
    let expiry = proptest::option::weighted(0.3, 100_u64..1_000);
    (0_usize..2, operation, units(), proptest::option::weighted(0.6, 0_u8..3), expiry)
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        6 => step().prop_map(|step| Asked::Changes(vec![step])),
        3 => proptest::collection::vec(step(), 2..6).prop_map(Asked::Changes),
        2 => (0_usize..2, 0_u8..3).prop_map(|(record, order)| Asked::Expire(record, order)),
        1 => (0_usize..2, 0_u8..3).prop_map(|(record, order)| Asked::ExpireLate(record, order)),
    ]
}

/// One side, with its records.
struct Side<'a> {
    repository: &'a dyn StockRepository,
    keys: &'a [StockKey],
}

impl Side<'_> {
    async fn carry_out(&self, asked: &Asked, orders: &[OrderId]) -> Result<Vec<(u64, [u64; 3])>, String> {
        let request = match asked {
            Asked::Changes(steps) => Request::batch(steps.iter().map(|step| self.change(step, orders)).collect()),
            Asked::Expire(record, order) => self.expire(*record, &orders[usize::from(*order)]).await?,
            Asked::ExpireLate(record, order) => {
                let order = &orders[usize::from(*order)];
                let request = self.expire(*record, order).await?;
                let more = Change::new(self.keys[*record], Operation::Lock, suite::quantity(1)).order(order.clone());
                let _ = self.repository.apply(Request::one(more)).await;
                request
            }
        };
        let told = |record: &StockRecord| {
            let levels = record.levels;
            (record.version, [levels.available(), levels.locked(), levels.reserved()])
        };
        match self.repository.apply(request).await {
            Ok(answer) => Ok(answer.records.iter().map(told).collect()),
            Err(RepositoryError::Refused(refusal)) => Err(format!("{refusal:?}")),
            Err(RepositoryError::Invalid(invalid)) => Err(format!("{invalid:?}")),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn change(&self, (record, operation, units, order, expiry): &Step, orders: &[OrderId]) -> Change {
        let mut change = Change::new(self.keys[*record], *operation, suite::quantity(*units));
        change.order_id = order.map(|order| orders[usize::from(order)].clone());
        let may_expire = *operation == Operation::Lock && change.order_id.is_some();
        change.expires_in = expiry.filter(|_| may_expire).map(suite::seconds);
        change
    }

    async fn expire(&self, record: usize, order: &OrderId) -> Result<Request, String> {
        let held = self.held(order).await.into_iter().find(|hold| hold.key == self.keys[record]);
        held.and_then(|hold| Request::expire(&hold)).ok_or("nothing that ends".into())
    }

    async fn held(&self, order: &OrderId) -> Vec<Hold> {
        self.repository.holds(order, None, PageSize::default()).await.unwrap().items
    }

    /// What orders hold, without what differs from database to database.
    async fn all_held(&self, orders: &[OrderId]) -> Vec<String> {
        let mut all = Vec::new();
        for order in orders {
            for hold in self.held(order).await {
                let record = self.keys.iter().position(|key| *key == hold.key);
                let ends = hold.ends_at().is_some();
                all.push(format!("{order} {record:?} {:?} {:?} {ends}", hold.held, hold.state));
            }
        }
        all.sort();
        all
    }
}

#[test]
fn the_script_and_the_rules_are_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (resident_backend, backend, redis, resident, rows) = runtime.block_on(async {
        let (one, other) = (Backend::sqlite().await, Backend::sqlite().await);
        let redis = RedisServer::start().await.unwrap();
        let resident = crate::open(&one, &redis, &sim_locks()).await;
        let rows = RowLock::new(other.store.clone());
        (one, other, redis, resident, rows)
    });
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let run = |all: Vec<Asked>| runtime.block_on(same_answers(&resident, &rows, &all));
    TestRunner::new(config)
        .run(&proptest::collection::vec(asked(), 1..25), |all| {
            run(all);
            Ok(())
        })
        .unwrap();
    drop((redis, backend, resident_backend));
}

async fn same_answers(resident: &Resident, rows: &RowLock, all: &[Asked]) {
    let orders: Vec<_> = (0..3).map(|_| suite::fresh_order()).collect();
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        keys.push(suite::make(resident, 12).await);
        others.push(suite::make(rows, 12).await);
    }
    let script = Side { repository: resident, keys: &keys };
    let rules = Side { repository: rows, keys: &others };
    for asked in all {
        let (by_script, by_rules) = (script.carry_out(asked, &orders).await, rules.carry_out(asked, &orders).await);
        assert_eq!(by_script, by_rules, "{asked:?} of {all:?}");
    }
    assert_eq!(script.all_held(&orders).await, rules.all_held(&orders).await, "{all:?}");
    for key in keys {
        if let Some(both) = resident.reconcile(key).await.unwrap() {
            assert!(both.agrees(), "{both:?}");
        }
        suite::explained(resident.store().as_ref(), key).await;
    }
}
