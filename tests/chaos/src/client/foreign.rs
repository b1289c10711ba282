//! Other people's lock clients under the same orders, telling the same events: pottery and redlock-py (Python), and
//! rslock. They have no tokens, so they change what the lock protects by comparing the value they read.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rslock::LockManager;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::sleep;

use super::{Event, Orders};
use crate::child::{READY, again};
use crate::clock::{nanos, now};
use crate::ledger::Ledger;

/// The argument that makes this program a client over rslock.
pub const RSLOCK_ROLE: &str = "client-rslock";

/// A bug of a client without tokens: it goes on when its lease is over, and compares nothing when it writes.
const WRITES_BLINDLY: &str = "foreign-writes-blindly";

const PYTHON: &str = include_str!("foreign.py");

/// Whose client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    Pottery,
    RedlockPy,
    Rslock,
}

impl Foreign {
    pub(crate) const ALL: [Self; 3] = [Self::Pottery, Self::RedlockPy, Self::Rslock];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pottery => "pottery",
            Self::RedlockPy => "redlock-py",
            Self::Rslock => "rslock",
        }
    }

    /// How its process is started; `None` where there is no Python with its packages.
    pub(crate) fn command(self, program: &Path) -> Option<Command> {
        if self == Self::Rslock {
            return Some(again(program, RSLOCK_ROLE));
        }
        let mut command = Command::new(std::env::var_os("TESTKIT_PYTHON")?);
        command.args(["-c", PYTHON, self.name()]);
        Some(command)
    }
}

/// As [`serve`](super::serve), over rslock.
///
/// # Errors
///
/// As [`serve`](super::serve).
pub async fn serve() -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let orders: Orders = serde_json::from_str(&lines.next_line().await?.context("no orders")?)?;
    let ledger = Ledger::connect(&orders.ledger).await?;
    let manager = LockManager::new(orders.nodes.clone());
    println!("{READY}");
    tokio::select! {
        () = work(&orders, &ledger, &manager) => {}
        _ = async { while let Ok(Some(_)) = lines.next_line().await {} } => {}
    }
    Ok(())
}

async fn work(orders: &Orders, ledger: &Ledger, manager: &LockManager) {
    let mut rng = StdRng::seed_from_u64(orders.seed);
    for section in 0.. {
        let key = orders.keys[rng.random_range(0..orders.keys.len())].clone();
        tell(&Event::Asked { at: now(), section, keys: vec![key.clone()] });
        match manager.lock(key.as_bytes(), orders.ttl()).await {
            Ok(lock) => {
                let at = now();
                let until = at + nanos(Duration::from_millis(u64::try_from(lock.validity_time).unwrap_or(0)));
                tell(&Event::Entered { at, section, token: None, until });
                let read = ledger.read(&key).await;
                sleep(Duration::from_millis(rng.random_range(0..8))).await;
                let writer = format!("{}/{section}", orders.name);
                if orders.bug.as_deref() == Some(WRITES_BLINDLY) {
                    sleep(orders.ttl() * 3 / 2).await;
                    if let Ok(read) = read {
                        let _ = ledger.write_blindly(&key, read, &writer).await;
                    }
                } else if let Ok(read) = read
                    && let Ok(accepted) = ledger.write(&key, None, read, &writer).await
                {
                    tell(&Event::Wrote { at: now(), section, accepted });
                }
                tell(&Event::Left { at: now(), section });
                manager.unlock(&lock).await;
            }
            Err(error) => tell(&Event::Refused { at: now(), section, why: error.to_string() }),
        }
        sleep(Duration::from_millis(rng.random_range(1..=orders.pause_ms))).await;
    }
}

fn tell(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        println!("{line}");
    }
}
