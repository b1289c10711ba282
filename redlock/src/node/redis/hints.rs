//! Releases as a server publishes them: a second connection, there only while somebody listens.
//!
//! Everything here is a hint. What is missed costs a waiter a pause, nothing else, so a connection
//! that does not come up is tried again without hurry.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::CONNECT_TIMEOUT;
use super::link::STALLED;
use crate::node::{Ear, Listening};

/// The channel that a release of a key is published on is this and the key.
const CHANNEL: &str = "redlock:released:";
/// How long a connection without listeners is kept.
const IDLE: Duration = Duration::from_secs(10);
/// How long after a failure the next connection is tried.
const PAUSE: Duration = Duration::from_millis(500);

/// Who listens for releases on one node.
pub(super) struct Hints {
    client: Client,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    channels: HashMap<String, Channel>,
    /// What the connection has not been told yet.
    changes: Vec<Change>,
    last_id: u64,
    driven: bool,
    /// Whether there is a connection to tell changes to; a new one is told everything.
    connected: bool,
}

#[derive(Default)]
struct Channel {
    ears: Vec<(u64, Ear)>,
    /// Whether the server counts us among its listeners.
    subscribed: bool,
}

enum Change {
    Subscribe(String),
    Unsubscribe(String),
    /// The connection is no good.
    Reconnect,
}

impl Hints {
    pub(super) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, state: Mutex::default(), changed: Notify::new() })
    }

    /// Lets `ear` hear of releases of `keys` until the result is dropped. Without a runtime nobody
    /// could listen.
    pub(super) fn listen(self: &Arc<Self>, keys: &[String], ear: &Ear) -> Listening {
        let Ok(runtime) = Handle::try_current() else {
            return Listening::deaf();
        };
        let channels: Vec<_> = keys.iter().map(|key| format!("{CHANNEL}{key}")).collect();
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        for channel in &channels {
            let entry = state.channels.entry(channel.clone()).or_default();
            let is_new = entry.ears.is_empty();
            entry.ears.push((id, ear.clone()));
            if is_new {
                state.change(Change::Subscribe(channel.clone()));
            }
        }
        let start = !std::mem::replace(&mut state.driven, true);
        drop(state);
        if start {
            runtime.spawn(drive(Driven { hints: Arc::clone(self), is_over: false }));
        } else {
            self.changed.notify_one();
        }
        Listening::until_dropped(Listener { hints: Arc::clone(self), channels, id })
    }

    /// Whether the server counts us among the listeners of a key.
    pub(super) fn counts(&self, keys: &[String]) -> bool {
        let state = self.lock();
        let counts = |key| state.channels.get(&format!("{CHANNEL}{key}")).is_some_and(|channel| channel.subscribed);
        !state.channels.is_empty() && keys.iter().any(counts)
    }

    /// The server was seen to be gone: a connection that says nothing would not tell.
    pub(super) fn reconnect(&self) {
        let mut state = self.lock();
        state.change(Change::Reconnect);
        drop(state);
        self.changed.notify_one();
    }

    /// The connection is gone; whether nobody needs another one, and the task ends.
    fn is_over(&self) -> bool {
        let mut state = self.lock();
        state.disconnected();
        state.driven = !state.channels.is_empty();
        !state.driven
    }

    fn ears(&self, channel: &str) -> Vec<Ear> {
        let state = self.lock();
        state.channels.get(channel).map_or_else(Vec::new, |at| at.ears.iter().map(|(_, ear)| ear.clone()).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, change: Change) {
        if self.connected {
            self.changes.push(change);
        }
    }

    fn disconnected(&mut self) {
        self.connected = false;
        self.changes.clear();
        self.channels.values_mut().for_each(|channel| channel.subscribed = false);
    }
}

/// Somebody who listens.
struct Listener {
    hints: Arc<Hints>,
    channels: Vec<String>,
    id: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.hints.lock();
        for channel in &self.channels {
            let Some(at) = state.channels.get_mut(channel) else { continue };
            at.ears.retain(|(id, _)| *id != self.id);
            if at.ears.is_empty() {
                state.channels.remove(channel);
                state.change(Change::Unsubscribe(channel.clone()));
            }
        }
        drop(state);
        self.hints.changed.notify_one();
    }
}

/// Frees the place of the task when it goes, also if its runtime was dropped under it.
struct Driven {
    hints: Arc<Hints>,
    /// Whether the place is free already, and maybe taken again.
    is_over: bool,
}

impl Drop for Driven {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.hints.lock();
            state.driven = false;
            state.disconnected();
        }
    }
}

async fn drive(mut driven: Driven) {
    let hints = &Arc::clone(&driven.hints);
    loop {
        if let Err(error) = serve(hints).await {
            tracing::debug!(%error, "no release hints from a node");
        }
        if hints.is_over() {
            driven.is_over = true;
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens over one connection until it is no longer needed, or breaks.
async fn serve(hints: &Hints) -> RedisResult<()> {
    let (mut sink, mut stream) = within(CONNECT_TIMEOUT, hints.client.get_async_pubsub()).await?.split();
    let all = {
        let mut state = hints.lock();
        state.connected = true;
        state.channels.keys().cloned().collect()
    };
    subscribe(hints, &mut sink, all).await?;
    loop {
        let changes = std::mem::take(&mut hints.lock().changes);
        if !changes.is_empty() {
            apply(hints, &mut sink, changes).await?;
            continue;
        }
        if !listen(hints, &mut stream).await? {
            return Ok(());
        }
    }
}

/// Takes in what is published, until something else is to be done; false if nobody listens any
/// more.
async fn listen(hints: &Hints, stream: &mut PubSubStream) -> RedisResult<bool> {
    let unused = hints.lock().channels.is_empty();
    tokio::select! {
        message = stream.next() => match message {
            Some(message) => {
                let ears = hints.ears(message.get_channel_name());
                ears.iter().for_each(|ear| ear.released(message.get_payload_bytes()));
                Ok(true)
            }
            None => Err((redis::ErrorKind::Io, "the connection ended").into()),
        },
        () = hints.changed.notified() => Ok(true),
        () = tokio::time::sleep(IDLE), if unused => Ok(!hints.lock().channels.is_empty()),
    }
}

async fn apply(hints: &Hints, sink: &mut PubSubSink, changes: Vec<Change>) -> RedisResult<()> {
    for change in changes {
        match change {
            Change::Subscribe(channel) => subscribe(hints, sink, vec![channel]).await?,
            Change::Unsubscribe(channel) => within(STALLED, sink.unsubscribe(channel)).await?,
            Change::Reconnect => return Err((redis::ErrorKind::Io, "the node was gone").into()),
        }
    }
    Ok(())
}

async fn subscribe(hints: &Hints, sink: &mut PubSubSink, channels: Vec<String>) -> RedisResult<()> {
    if channels.is_empty() {
        return Ok(());
    }
    within(STALLED, sink.subscribe(&channels)).await?;
    for channel in channels {
        if let Some(at) = hints.lock().channels.get_mut(&channel) {
            at.subscribed = true;
        }
        hints.ears(&channel).iter().for_each(Ear::listening);
    }
    Ok(())
}

async fn within<T>(limit: Duration, doing: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match tokio::time::timeout(limit, doing).await {
        Ok(done) => done,
        Err(_) => Err(super::link::timed_out("the node does not answer")),
    }
}
