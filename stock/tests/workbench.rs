//! The workbench by itself: random requests keep every promise that levels, holds and log make, and a
//! request that is rejected leaves no trace.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::HashMap;

use proptest::prelude::*;
use stock::hold::{Held, Hold};
use stock::levels::StockLevels;
use stock::log::LogEntry;
use stock::operation::{Id, Operation, Quantity, StockKey};
use stock::record::{Residence, StockRecord, StockRow};
use stock::request::{Change, ExpiresIn, Identified, OrderId, Request};
use stock::workbench::{Rejection, Workbench, Writes};

fn key(number: u64) -> StockKey {
    StockKey::new(number, 0).unwrap()
}

fn row(number: u64, available: u64) -> StockRow {
    StockRow {
        record: StockRecord {
            id: number + 100,
            product_id: Id::new(1).unwrap(),
            key: key(number),
            levels: StockLevels::new(available, 0, 0).unwrap(),
            version: 0,
        },
        fence: 3,
        held: Held::default(),
        pruned_version: 0,
        residence: None,
    }
}

fn change(number: u64, operation: Operation, units: u64) -> Change {
    Change::new(key(number), operation, Quantity::new(units).unwrap())
}

fn order(number: u64) -> OrderId {
    OrderId::new(&format!("order-{number}")).unwrap()
}

fn identified(changes: Vec<Change>) -> Identified {
    Request::batch(changes).identify().unwrap()
}

/// What a database would hold, as far as the workbench is concerned.
#[derive(Debug, Clone, Default)]
struct Shelf {
    rows: HashMap<StockKey, StockRow>,
    holds: HashMap<(StockKey, OrderId), Hold>,
    log: Vec<LogEntry>,
}

impl Shelf {
    fn new() -> Self {
        let rows = (0..3).map(|number| (key(number), row(number, 10)));
        Self { rows: rows.collect(), ..Self::default() }
    }

    fn bench(&self) -> Workbench {
        let mut bench = Workbench::new();
        self.rows.values().for_each(|row| bench.put_row(*row, Some(7)));
        self.holds.values().for_each(|hold| bench.put_hold(hold.clone()));
        let mut log = self.log.clone();
        log.sort_by_key(|entry| entry.position);
        bench.put_known(log);
        bench
    }

    fn write(&mut self, writes: Writes) {
        for write in writes.rows {
            let before = self.rows.insert(write.row.record.key, write.row).unwrap();
            assert_eq!((before.record.version, before.fence), (write.version, write.fence));
        }
        for mut hold in writes.holds {
            hold.id.get_or_insert(1);
            self.holds.insert((hold.key, hold.order_id.clone()), hold);
        }
        self.log.extend(writes.entries);
    }

    /// The sums of the log and of the holds are what the rows say.
    fn check(&self) {
        for row in self.rows.values() {
            let entries: Vec<_> = self.log.iter().filter(|entry| entry.key == row.record.key).collect();
            assert_eq!(entries.len() as u64, row.record.version);
            let mut levels = StockLevels::new(10, 0, 0).unwrap();
            for (version, entry) in (1..).zip(entries) {
                assert_eq!((entry.version, entry.before), (version, levels), "{entry:?}");
                levels = levels.apply(entry.action, entry.quantity).unwrap();
                assert_eq!(entry.after, levels);
            }
            assert_eq!(levels, row.record.levels);
            let holds = self.holds.values().filter(|hold| hold.key == row.record.key);
            let held = holds.fold(Held::default(), |sum, hold| Held {
                locked: sum.locked + hold.held.locked,
                reserved: sum.reserved + hold.held.reserved,
            });
            assert_eq!(held, row.held);
            assert!(held.locked <= levels.locked() && held.reserved <= levels.reserved());
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let operation = proptest::sample::select(Operation::ALL.to_vec());
    let one = (0..3_u64, operation, 1..6_u64, proptest::option::of(0..3_u64), proptest::bool::ANY);
    let one = one.prop_map(|(number, operation, units, of_order, expires)| {
        let mut change = change(number, operation, units);
        change.order_id = of_order.map(order);
        let expires = expires && operation == Operation::Lock && of_order.is_some();
        change.expires_in = expires.then(|| ExpiresIn::seconds(60).unwrap());
        change
    });
    proptest::collection::vec(one, 1..4)
}

proptest! {
    /// In one transaction each, or many in one: the same answers, the same levels, nothing lost.
    #[test]
    fn levels_are_the_sum_of_the_log(requests in proptest::collection::vec(changes(), 1..40), at_once in 1..10_usize) {
        let requests: Vec<_> = requests.into_iter().map(identified).collect();
        let (mut one_by_one, mut combined) = (Shelf::new(), Shelf::new());
        for requests in requests.chunks(at_once) {
            let mut bench = combined.bench();
            for request in requests {
                let mut alone = one_by_one.bench();
                let answer = alone.apply(request);
                prop_assert_eq!(&answer, &bench.apply(request));
                let writes = alone.into_writes();
                prop_assert_eq!(writes.is_empty(), answer.is_err(), "a rejected request leaves no trace");
                one_by_one.write(writes);
            }
            combined.write(bench.into_writes());
            combined.check();
        }
        prop_assert_eq!(&one_by_one.rows, &combined.rows);
        // Once more, in whatever transaction: the first answers, and nothing to write.
        let mut again = combined.bench();
        for request in &requests {
            let known = combined.log.iter().any(|entry| entry.request_id == *request.id());
            if known {
                prop_assert!(again.apply(request).unwrap().replayed);
            }
        }
        prop_assert!(again.into_writes().is_empty());
    }
}

#[test]
fn a_request_that_comes_twice_in_one_batch_is_carried_out_once() {
    let mut bench = Shelf::new().bench();
    let request = identified(vec![change(0, Operation::Lock, 10), change(1, Operation::Add, 1)]);
    let first = bench.apply(&request).unwrap();
    assert!(!first.replayed);
    let second = bench.apply(&request).unwrap();
    assert_eq!((second.replayed, second.records), (true, first.records));
    let other = Request::one(change(0, Operation::Add, 1)).id(request.id().clone()).identify().unwrap();
    assert_eq!(bench.apply(&other).unwrap_err().code(), "request_conflict");
    assert_eq!(bench.into_writes().entries.len(), 2);
}

#[test]
fn what_is_written_is_sorted_by_record() {
    let mut bench = Shelf::new().bench();
    for number in [2, 0, 1, 0] {
        let lock = change(number, Operation::Lock, 1).order(order(9 - number));
        bench.apply(&identified(vec![lock])).unwrap();
    }
    let writes = bench.into_writes();
    assert!(writes.rows.is_sorted_by_key(|write| write.row.record.key));
    assert!(writes.entries.is_sorted_by_key(|entry| (entry.key, entry.version)));
    assert!(writes.holds.is_sorted_by_key(|hold| hold.key));
    assert_eq!((writes.rows.len(), writes.entries.len(), writes.holds.len()), (3, 4, 3));
    assert!(writes.rows.iter().all(|write| (write.fence, write.row.fence) == (3, 7)), "{:?}", writes.rows);
}

#[test]
fn a_resident_row_is_refused() {
    let mut bench = Workbench::new();
    let residence = Some(Residence { epoch: 1, sequence: 2 });
    bench.put_row(StockRow { residence, ..row(0, 10) }, None);
    let rejection = bench.apply(&identified(vec![change(0, Operation::Add, 1)])).unwrap_err();
    assert_eq!(rejection, Rejection::Resident { key: key(0) });
}

#[test]
fn an_entry_under_the_id_of_a_pruned_request_is_not_taken_for_all_of_it() {
    let request = identified(vec![change(0, Operation::Add, 1), change(1, Operation::Add, 1)]);
    let mut shelf = Shelf::new();
    let mut bench = shelf.bench();
    bench.apply(&request).unwrap();
    shelf.write(bench.into_writes());
    shelf.log.remove(0);
    assert_eq!(shelf.bench().apply(&request).unwrap_err().code(), "request_conflict");
}

/// Printed, not judged: what a request costs in memory.
#[test]
fn thousands_of_requests_fit_on_it() {
    let mut bench = Workbench::new();
    (0..100).for_each(|number| bench.put_row(row(number, 1_000_000), None));
    let requests: Vec<_> =
        (0..20_000).map(|number| identified(vec![change(number % 100, Operation::Lock, 1)])).collect();
    let started = std::time::Instant::now();
    requests.iter().for_each(|request| {
        bench.apply(request).unwrap();
    });
    let entries = bench.into_writes().entries.len();
    println!("{entries} requests in {:?}", started.elapsed());
    assert_eq!(entries, 20_000);
}
