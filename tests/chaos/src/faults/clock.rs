//! Faults of a lock node's clock, by libfaketime: pushed forward or back, too fast or too slow.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use testkit::{RedisBuilder, RedisServer, Reply};

use super::Fault;
use super::node::Node;
use crate::clock::{Nanos, now, seconds};

/// Where Debian has it. The C library is preloaded too: without it redis-server's allocator never comes up.
const LIBRARIES: [(&str, &str); 2] = [
    ("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/lib/x86_64-linux-gnu/libc.so.6"),
    ("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1", "/lib/aarch64-linux-gnu/libc.so.6"),
];

/// A clock that agrees with everybody's. A pace that is not said stays what it was.
const RIGHT: &str = "+0 x1";

/// The clock of a node: a file that says by how much it is off, read at every look at the time.
#[derive(Debug)]
pub(crate) struct NodeClock {
    pub(crate) number: usize,
    file: PathBuf,
    _folder: TempDir,
}

impl NodeClock {
    /// A clock that is right.
    pub(crate) fn new(number: usize) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let clock = Self { number, file: folder.path().join("clock"), _folder: folder };
        clock.set(RIGHT)?;
        Ok(clock)
    }

    /// A server that goes by this clock.
    pub(crate) fn wind(&self, builder: RedisBuilder) -> anyhow::Result<RedisBuilder> {
        let (faketime, libc) = libraries().context("libfaketime is not installed")?;
        let builder = builder.env("LD_PRELOAD", format!("{faketime}:{libc}"));
        let builder = builder.env("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string());
        Ok(builder.env("FAKETIME_NO_CACHE", "1"))
    }

    /// In one step, so that nobody reads a half of it.
    fn set(&self, says: &str) -> anyhow::Result<()> {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{says}\n"))?;
        Ok(fs::rename(next, &self.file)?)
    }
}

/// What happens to clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    Forward,
    Back,
    Fast,
    Slow,
}

impl Push {
    /// Whether this is what has become of a clock: by how many seconds it is ahead, and how many it went on in one.
    fn is_seen(self, ahead: f64, pace: f64) -> bool {
        match self {
            Self::Forward => ahead > 3_000.0,
            Self::Back => ahead < -3_000.0,
            Self::Fast => pace > 5.0,
            Self::Slow => pace < 0.5,
        }
    }
}

/// What a node's clock said, in seconds, and when.
type Said = (f64, Nanos);

/// A fault of some nodes' clocks.
#[derive(Debug)]
pub(crate) struct ClockFault {
    clocks: Vec<(Arc<NodeClock>, Arc<Node>)>,
    push: Push,
    /// What they said right after.
    said: Mutex<Vec<Said>>,
}

impl ClockFault {
    /// Of these clocks, each with the node that goes by it.
    pub(crate) fn new(clocks: Vec<(Arc<NodeClock>, Arc<Node>)>, push: Push) -> Self {
        Self { clocks, push, said: Mutex::default() }
    }

    /// What all of them say.
    async fn look(&self) -> anyhow::Result<Vec<Said>> {
        let mut said = Vec::new();
        for (_, node) in &self.clocks {
            said.push((says(&node.server).await?, now()));
        }
        Ok(said)
    }

    /// Whether every node goes by what its clock was set to.
    async fn is_seen(&self) -> anyhow::Result<bool> {
        let is = self.look().await?;
        let right = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let was = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(is.len() == was.len(), "nobody looked at the clocks when they were set");
        let seen = |((was, then), (is, now)): (&Said, &Said)| {
            self.push.is_seen(is - right, (is - was) / seconds(*then, *now).max(0.001))
        };
        Ok(was.iter().zip(&is).all(seen))
    }

    fn set(&self, says: &str) -> BoxFuture<'_, anyhow::Result<()>> {
        let done = self.clocks.iter().try_for_each(|(clock, _)| clock.set(says));
        Box::pin(std::future::ready(done))
    }
}

impl Fault for ClockFault {
    fn name(&self) -> String {
        let numbers: Vec<_> = self.clocks.iter().map(|(clock, _)| clock.number.to_string()).collect();
        let what = match self.push {
            Push::Forward => "an hour ahead",
            Push::Back => "an hour behind",
            Push::Fast => "ten times too fast",
            Push::Slow => "ten times too slow",
        };
        format!("clock {} {what}", numbers.join(", "))
    }

    fn inject(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            self.set(match self.push {
                Push::Forward => "+3600 x1",
                Push::Back => "-3600 x1",
                Push::Fast => "+0 x10",
                Push::Slow => "+0 x0.1",
            })
            .await?;
            let said = self.look().await?;
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
            Ok(())
        })
    }

    /// The nodes are asked, for a library that is not loaded pushes nobody.
    fn bites(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.is_seen().await.unwrap_or(false) })
    }

    fn undo(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.set(RIGHT)
    }

    fn available(&self) -> Result<(), String> {
        available()
    }
}

/// What a node takes the time for, in seconds.
async fn says(server: &RedisServer) -> anyhow::Result<f64> {
    let reply = server.command(&["TIME"]).await?;
    let Reply::List(parts) = &reply else { anyhow::bail!("TIME is {reply:?}") };
    let part = |at: usize| -> anyhow::Result<f64> {
        Ok(parts.get(at).and_then(Reply::text).context("a time that is too short")?.parse()?)
    };
    Ok(part(0)? + part(1)? / 1e6)
}

/// Whether clocks can be pushed here.
pub(crate) fn available() -> Result<(), String> {
    libraries()
        .map(drop)
        .ok_or_else(|| "libfaketime is not installed (Debian, Ubuntu: apt-get install faketime)".into())
}

fn libraries() -> Option<(&'static str, &'static str)> {
    LIBRARIES.into_iter().find(|(faketime, libc)| Path::new(faketime).exists() && Path::new(libc).exists())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ALL: [Push; 4] = [Push::Forward, Push::Back, Push::Fast, Push::Slow];

    /// Whether each push is seen on a server that goes by its clock, or by the machine's.
    async fn seen(goes_by_it: bool) -> Vec<bool> {
        available().unwrap();
        let clock = Arc::new(NodeClock::new(1).unwrap());
        let builder = RedisServer::builder();
        let builder = if goes_by_it { clock.wind(builder).unwrap() } else { builder };
        let node = Arc::new(Node { name: "node 1".to_owned(), server: builder.start().await.unwrap() });
        let mut seen = Vec::new();
        for push in ALL {
            let fault = ClockFault::new(vec![(clock.clone(), node.clone())], push);
            fault.inject().await.unwrap();
            // A pace takes time to see: long beside what an answer takes on a busy machine.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            seen.push(fault.bites().await);
            fault.undo().await.unwrap();
            let right = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
            assert!((says(&node.server).await.unwrap() - right).abs() < 1.0, "{push:?} is not undone");
        }
        seen
    }

    #[tokio::test]
    async fn a_push_is_seen_by_the_node_that_goes_by_the_clock() {
        assert_eq!(seen(true).await, [true; 4]);
    }

    #[tokio::test]
    async fn a_push_that_nobody_sees_is_no_fault() {
        assert_eq!(seen(false).await, [false; 4]);
    }
}
