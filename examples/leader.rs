//! Leader election: of several candidates one leads, and when it is gone another one does.
//!
//! Leading is holding a lock. Everybody asks for it and waits for ever; whoever gets it leads until it
//! resigns, vanishes, or loses the lease. The fencing token is the number of the term: it only grows,
//! so that orders of a leader who does not know yet that it is none can be told from the new one's.
//! Run it with `cargo run -p examples --example leader`; `REDLOCK_NODES` names other nodes than its own.

mod nodes;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nodes::Nodes;
use redlock::{FencingToken, Redlock};
use tokio::time::sleep;

/// How long nobody leads after a leader has vanished.
const TTL: Duration = Duration::from_secs(1);

/// One time of leading.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    /// Who led.
    pub(crate) leader: &'static str,
    /// The number of the term.
    pub(crate) token: FencingToken,
}

/// What everybody can see.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    leading: AtomicUsize,
    most: AtomicUsize,
    terms: Mutex<Vec<Term>>,
}

impl Shown {
    /// The largest number of leaders there ever was at a time.
    pub(crate) fn most_leaders(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// All terms, in the order in which they began.
    pub(crate) fn terms(&self) -> Vec<Term> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begins(&self, term: Term) -> Leading<'_> {
        println!("{} leads, term {}", term.leader, term.token);
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).push(term);
        self.most.fetch_max(self.leading.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Leading(self)
    }
}

/// Ends with the leading, also if that is dropped half-way.
struct Leading<'a>(&'a Shown);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.leading.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shown = lesson().await?;
    println!("{} terms, at most {} leader at a time", shown.terms().len(), shown.most_leaders());
    Ok(())
}

pub(crate) async fn lesson() -> anyhow::Result<Arc<Shown>> {
    let nodes = Nodes::named_or_own().await?;
    let shown = Arc::<Shown>::default();
    let mut candidates = Vec::new();
    for name in ["ada", "ben", "cleo"] {
        // Each a process of its own, as it were.
        let redlock = nodes.builder().ttl(TTL).build()?;
        candidates.push(tokio::spawn(stand(redlock, name, Arc::clone(&shown))));
    }
    for candidate in candidates {
        candidate.await??;
    }
    Ok(shown)
}

/// Leads twice, for a while each: every candidate gets its turn.
async fn stand(redlock: Redlock, leader: &'static str, shown: Arc<Shown>) -> anyhow::Result<()> {
    for _ in 0..2 {
        let guard = redlock.lock("leader").wait(None).await?;
        let leading = shown.begins(Term { leader, token: guard.fence() });
        tokio::select! {
            reason = guard.lost() => println!("{leader} leads no more: {reason}"),
            () = lead() => println!("{leader} resigns"),
        }
        drop(leading);
        // Dropped, the guard releases; a leader that vanishes is missed after the ttl.
        guard.release().await?;
        // Others first.
        sleep(Duration::from_millis(20)).await;
    }
    redlock.close(Duration::from_secs(1)).await;
    Ok(())
}

/// What only one may do.
async fn lead() {
    sleep(Duration::from_millis(200)).await;
}
