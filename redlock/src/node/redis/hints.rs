//! Releases as a server publishes them: a second connection, there only while somebody listens.
//!
//! Everything here is a hint. What is missed costs a waiter a pause, nothing else, so a connection
//! that does not come up is tried again without hurry.

use std::collections::{HashMap, HashSet};
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
    /// Who listens on which channel.
    ears: HashMap<String, Vec<(u64, Ear)>>,
    /// Channels that the server counts us among the listeners of, or may by now.
    told: HashSet<String>,
    /// Channels for which that may have to change.
    changed: HashSet<String>,
    /// The connection is no good.
    broken: bool,
    last_id: u64,
    driven: bool,
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
            state.ears.entry(channel.clone()).or_default().push((id, ear.clone()));
            state.changed.insert(channel.clone());
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
        !state.told.is_empty() && keys.iter().any(|key| state.told.contains(&format!("{CHANNEL}{key}")))
    }

    /// The server was seen to be gone: a connection that says nothing would not tell.
    pub(super) fn reconnect(&self) {
        self.lock().broken = true;
        self.changed.notify_one();
    }

    /// The connection is gone; whether nobody needs another one, and the task ends.
    fn is_over(&self) -> bool {
        let mut state = self.lock();
        state.disconnected();
        state.driven = !state.ears.is_empty();
        !state.driven
    }

    fn ears(&self, channel: &str) -> Vec<Ear> {
        let state = self.lock();
        state.ears.get(channel).map_or_else(Vec::new, |ears| ears.iter().map(|(_, ear)| ear.clone()).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn disconnected(&mut self) {
        self.told.clear();
        self.changed.clear();
        self.broken = false;
    }

    /// The channels to subscribe to, and those to unsubscribe from.
    fn changes(&mut self) -> (Vec<String>, Vec<String>) {
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            self.changed.drain().partition(|channel| self.ears.contains_key(channel));
        let is_told = |channel: &String| self.told.contains(channel);
        (
            wanted.into_iter().filter(|channel| !is_told(channel)).collect(),
            unwanted.into_iter().filter(is_told).collect(),
        )
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
            let Some(ears) = state.ears.get_mut(channel) else { continue };
            ears.retain(|(id, _)| *id != self.id);
            if ears.is_empty() {
                state.ears.remove(channel);
                state.changed.insert(channel.clone());
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
    {
        let mut state = hints.lock();
        state.disconnected();
        state.changed = state.ears.keys().cloned().collect();
    }
    loop {
        if hints.lock().broken {
            return Err((redis::ErrorKind::Io, "the node was gone").into());
        }
        let (wanted, unwanted) = hints.lock().changes();
        subscribe(hints, &mut sink, wanted).await?;
        unsubscribe(hints, &mut sink, unwanted).await?;
        if !listen(hints, &mut stream).await? {
            return Ok(());
        }
    }
}

/// Takes in what is published, until something else is to be done; false if nobody listens any
/// more.
async fn listen(hints: &Hints, stream: &mut PubSubStream) -> RedisResult<bool> {
    let unused = hints.lock().ears.is_empty();
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
        () = tokio::time::sleep(IDLE), if unused => Ok(!hints.lock().ears.is_empty()),
    }
}

async fn subscribe(hints: &Hints, sink: &mut PubSubSink, channels: Vec<String>) -> RedisResult<()> {
    if channels.is_empty() {
        return Ok(());
    }
    // Before the answer, because the server may count us before we know.
    hints.lock().told.extend(channels.iter().cloned());
    within(STALLED, sink.subscribe(&channels)).await?;
    channels.iter().for_each(|channel| hints.ears(channel).iter().for_each(Ear::listening));
    Ok(())
}

async fn unsubscribe(hints: &Hints, sink: &mut PubSubSink, channels: Vec<String>) -> RedisResult<()> {
    if channels.is_empty() {
        return Ok(());
    }
    within(STALLED, sink.unsubscribe(&channels)).await?;
    let mut state = hints.lock();
    for channel in channels {
        state.told.remove(&channel);
        if state.ears.contains_key(&channel) {
            // Somebody came meanwhile.
            state.changed.insert(channel);
        }
    }
    Ok(())
}

async fn within<T>(limit: Duration, doing: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match tokio::time::timeout(limit, doing).await {
        Ok(done) => done,
        Err(_) => Err(super::link::timed_out("the node does not answer")),
    }
}
