//! A client that can die or stand still between any two of its commands.
//!
//! Locks fail in the gaps between commands, and by luck a gap is hit once in a million times. Here a
//! schedule says which gap: the lock itself is written the way anybody would write it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Script};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Acquire,
    Work,
    Release,
}

/// Before the so-manieth command of a phase; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before(pub(crate) Phase, pub(crate) u32);

/// What happens to a client at a point.
#[derive(Debug)]
enum Fate {
    Lives,
    Dies(Before),
    Pauses(Before, Arc<Gate>),
}

/// Where a paused client and its schedule meet.
#[derive(Debug, Default)]
struct Gate {
    reached: Notify,
    open: Notify,
}

/// The process is gone; nobody gets to run what comes after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Died;

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client died")
    }
}

impl std::error::Error for Died {}

/// One process that uses a lock, with a connection of its own.
#[derive(Debug)]
pub(crate) struct Client {
    connection: MultiplexedConnection,
    phase: Phase,
    commands: u32,
    fate: Fate,
    clock_ahead: Duration,
}

impl Client {
    /// A client of the server at `url`.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        Ok(Self { connection, phase: Phase::Work, commands: 0, fate: Fate::Lives, clock_ahead: Duration::ZERO })
    }

    /// The same, to die at a point.
    pub(crate) fn dying(mut self, at: Before) -> Self {
        self.fate = Fate::Dies(at);
        self
    }

    /// The same, with a clock that is ahead of everybody else's.
    pub(crate) fn with_clock_ahead(mut self, by: Duration) -> Self {
        self.clock_ahead = by;
        self
    }

    /// Begins a phase; commands are counted from here.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.commands = 0;
    }

    /// The time of day by this client's own clock, in milliseconds.
    pub(crate) fn now_ms(&self) -> anyhow::Result<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)? + self.clock_ahead;
        Ok(u64::try_from(now.as_millis())?)
    }

    /// Sends one command.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> anyhow::Result<T> {
        self.meet_fate().await?;
        Ok(command.query_async(&mut self.connection).await?)
    }

    /// Runs one script, which is one command.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, lua: &str, key: &str, args: &[&str]) -> anyhow::Result<T> {
        self.meet_fate().await?;
        let script = Script::new(lua);
        let mut call = script.key(key);
        for arg in args {
            call.arg(*arg);
        }
        Ok(call.invoke_async(&mut self.connection).await?)
    }

    async fn meet_fate(&mut self) -> anyhow::Result<()> {
        self.commands += 1;
        let here = Before(self.phase, self.commands);
        match &self.fate {
            Fate::Dies(at) if *at == here => return Err(Died.into()),
            Fate::Pauses(at, gate) if *at == here => {
                gate.reached.notify_one();
                gate.open.notified().await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// A client that goes on by itself, up to the point where it stands still.
pub(crate) struct Paused<T> {
    gate: Arc<Gate>,
    state: State<T>,
}

enum State<T> {
    Running(JoinHandle<anyhow::Result<T>>),
    Ended(anyhow::Result<T>),
}

impl<T: Send + 'static> Paused<T> {
    /// Lets `client` do `work` until it stands before the point; until its end, where the work has no
    /// such point.
    pub(crate) async fn before<F, W>(at: Before, mut client: Client, work: W) -> anyhow::Result<Self>
    where
        W: FnOnce(Client) -> F,
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        let gate = Arc::new(Gate::default());
        client.fate = Fate::Pauses(at, Arc::clone(&gate));
        let mut task = tokio::spawn(work(client));
        let state = tokio::select! {
            () = gate.reached.notified() => State::Running(task),
            result = &mut task => State::Ended(result.context("a client panicked")?),
        };
        Ok(Self { gate, state })
    }

    /// Lets it go on, to its end.
    pub(crate) async fn go_on(self) -> anyhow::Result<T> {
        self.gate.open.notify_one();
        match self.state {
            State::Running(task) => task.await.context("a client panicked")?,
            State::Ended(result) => result,
        }
    }
}
