//! The way to a repository in a process of this suite, which answers line by line.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::child::{Child, again};
use crate::faults::client::Member;
use crate::instance::{self, Answer, Ask, NOBODY, Orders, Outcome, Question};
use crate::record::Record;

type Pending = Mutex<HashMap<u64, oneshot::Sender<Outcome>>>;

/// The way to one instance.
#[derive(Default)]
pub(crate) struct Lines {
    /// Who starts lives of the instance knows this counter, so this must not keep it alive.
    member: OnceLock<Weak<Member>>,
    pending: Arc<Pending>,
    last: AtomicU64,
}

impl Lines {
    /// The instance that answers here, over all its lives.
    pub(crate) async fn member(
        self: Arc<Self>,
        program: PathBuf,
        orders: Orders,
        record: Arc<Record>,
    ) -> anyhow::Result<Arc<Member>> {
        let name = orders.name.clone();
        let start = move |life| {
            let (counter, program, mut orders) = (self.clone(), program.clone(), orders.clone());
            let record = record.clone();
            orders.name = format!("{}.{life}", orders.name.replace(' ', "-"));
            Box::pin(async move { counter.one_life(program, &orders, record).await }) as _
        };
        Member::start(name, Box::new(start)).await
    }

    async fn one_life(
        self: Arc<Self>,
        program: PathBuf,
        orders: &Orders,
        record: Arc<Record>,
    ) -> anyhow::Result<Arc<Child>> {
        let waiting = Waiting { pending: self.pending.clone() };
        let heard = move |line: String| {
            let Ok(Answer { number, outcome }) = serde_json::from_str(&line) else { return };
            if number != NOBODY {
                waiting.answer(number, outcome);
            }
        };
        let said = serde_json::to_string(orders)?;
        Child::start(again(&program, instance::ROLE), &orders.name, &said, record, heard).await
    }

    /// Opens it: who is to be asked is there.
    pub(crate) fn serve(&self, member: &Arc<Member>) {
        let _ = self.member.set(Arc::downgrade(member));
    }

    /// Asks, and waits that long; an error where nobody answers.
    pub(crate) async fn ask(&self, question: Question, within: Duration) -> anyhow::Result<Outcome> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let member = self.member.get().and_then(Weak::upgrade).context("nobody is there")?;
        let child = member.child().await.context("the instance is dead")?;
        let (sender, answer) = oneshot::channel();
        lock(&self.pending).insert(number, sender);
        let line = serde_json::to_string(&Ask { number, question })?;
        let answered = timeout(within, async move {
            child.say(&line).await?;
            // Whoever waits for an answer does not keep the process alive.
            drop((child, member));
            answer.await.context("the instance died")
        });
        let answered = answered.await;
        lock(&self.pending).remove(&number);
        answered.context("no answer in time")?
    }
}

/// Who waits for the answers of one life; with it, their waiting ends.
struct Waiting {
    pending: Arc<Pending>,
}

impl Waiting {
    fn answer(&self, number: u64, outcome: Outcome) {
        if let Some(sender) = lock(&self.pending).remove(&number) {
            let _ = sender.send(outcome);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.pending).clear();
    }
}

fn lock(pending: &Pending) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Outcome>>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}
