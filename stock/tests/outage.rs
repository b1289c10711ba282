//! A database that dies or hangs in the middle of a rush: errors say so, soon, and what was answered
//! is still there.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::time::Duration;

use backends::{Backend, migrated, sim_locks};
use stock::error::RepositoryError;
use stock::operation::{Operation, StockKey};
use stock::record::RowWrite;
use stock::repository::{StockRepository, suite};
use stock::request::{Change, RequestId};
use stock::store::{CommitError, StoreError, Transaction};

/// How long anybody may be left without an answer: a connection, a statement and a commit, each of
/// which the database has eight seconds for, and a lease held by somebody in the same position.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a buyer was told before the database went away.
struct Told {
    answered: u64,
    last: RepositoryError,
}

/// Locks one unit after the other until something goes wrong.
async fn lock_until_it_breaks(repository: Arc<dyn StockRepository>, key: StockKey) -> Told {
    let mut answered = 0;
    loop {
        match repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await {
            Ok(_) => answered += 1,
            Err(last) => return Told { answered, last },
        }
    }
}

/// What happens to the database.
#[derive(Clone, Copy, PartialEq)]
enum Outage {
    Killed,
    Hung,
}

impl Outage {
    async fn begin(self, backend: &Backend) {
        match self {
            Self::Killed => backend.server().kill().await.unwrap(),
            Self::Hung => backend.server().pause().await.unwrap(),
        }
    }

    async fn end(self, backend: &Backend) {
        match self {
            Self::Killed => backend.server().restart().await.unwrap(),
            Self::Hung => backend.server().resume().await.unwrap(),
        }
    }
}

async fn survives(outage: Outage, backend: &Backend, repository: Arc<dyn StockRepository>, buyers: usize) {
    let key = suite::make(repository.as_ref(), 1_000_000).await;
    let buyers: Vec<_> = (0..buyers).map(|_| tokio::spawn(lock_until_it_breaks(repository.clone(), key))).collect();
    let sells = async || backend.store.read(key).await.unwrap().unwrap().record.version > 8;
    testkit::eventually(PATIENCE, sells).await;
    outage.begin(backend).await;

    let (mut answered, mut unknown) = (0, 0);
    for buyer in buyers {
        let told = tokio::time::timeout(PATIENCE, buyer).await.unwrap().unwrap();
        answered += told.answered;
        match told.last.code() {
            "store_unavailable" => {}
            "outcome_unknown" => unknown += 1,
            code => panic!("{code}: {:?}", told.last),
        }
    }
    assert!(answered > 0, "it was over before anything happened");
    let error = repository.get(key).await.unwrap_err();
    assert_eq!(error.code(), "store_unavailable", "{error:?}");

    outage.end(backend).await;
    let store = migrated(&backend.url).await;
    // A COMMIT from before a server was stopped may come to its end only now.
    let open = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_rows_modified > 0";
    testkit::eventually(PATIENCE, async || backend.server().query("", open).await.is_ok_and(|rows| rows.is_empty()))
        .await;
    let audit = suite::explained(store.as_ref(), key).await;
    let locked = audit.record.levels.locked();
    assert!(
        (answered..=answered + unknown).contains(&locked),
        "{answered} were answered, {unknown} are unknown, {locked} are there"
    );
    // The same repository works again, on new connections.
    let after = repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
    assert_eq!(after.levels.locked(), locked + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_survives_a_killed_database() {
    let backend = Backend::mariadb().await;
    survives(Outage::Killed, &backend, backend.row_lock(), 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_survives_a_killed_database() {
    let backend = Backend::mariadb().await;
    survives(Outage::Killed, &backend, backend.redlocked(&sim_locks()), 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_survives_a_hung_database() {
    let backend = Backend::mariadb().await;
    survives(Outage::Hung, &backend, backend.row_lock(), 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_survives_a_hung_database() {
    let backend = Backend::mariadb().await;
    survives(Outage::Hung, &backend, backend.redlocked(&sim_locks()), 8).await;
}

/// The commit was sent and there is no answer: the server may carry it out when it goes on. What
/// comes before the commit is known not to have happened.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_commit_without_an_answer_is_unknown() {
    let backend = Backend::mariadb().await;
    let repository = backend.row_lock();
    let (key, other) = (suite::make(repository.as_ref(), 10).await, suite::make(repository.as_ref(), 10).await);
    let mut committing = backend.store.begin().await.unwrap();
    change(committing.as_mut(), key).await.unwrap();
    let mut changing = backend.store.begin().await.unwrap();
    Outage::Hung.begin(&backend).await;

    let ends = async {
        let (committed, changed) = tokio::join!(committing.commit(), change(changing.as_mut(), other));
        let rolled_back = tokio::time::timeout(Duration::from_secs(3), changing.rollback());
        rolled_back.await.expect("nobody waits for a rollback twice as long as for an answer");
        (committed.unwrap_err(), changed.unwrap_err())
    };
    let (committed, changed) = tokio::time::timeout(PATIENCE, ends).await.unwrap();
    assert_eq!(changed.code(), "store_unavailable", "{changed:?}");
    assert!(matches!(committed, CommitError::Unknown(_)), "{committed:?}");

    Outage::Hung.end(&backend).await;
    // Either way the record and its log are of one mind.
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert!(audit.record.version <= 1, "{audit:?}");
    assert_eq!(suite::explained(backend.store.as_ref(), other).await.record.version, 0);
}

async fn change(transaction: &mut dyn Transaction, key: StockKey) -> Result<(), StoreError> {
    let before = transaction.claim(&[key]).await?[0];
    let lock = Change::new(key, Operation::Lock, suite::quantity(1));
    let changed = before.change(&lock, None, None, (&RequestId::make(), 0)).unwrap();
    transaction.write(&[RowWrite::new(&before, changed.row)]).await?;
    transaction.append(&[changed.entry]).await
}
