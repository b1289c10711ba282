//! The task that owns a node's connection: connects, polls it when something has come, and connects
//! again when it broke. Requests are pipelined and never cancelled; a connection that has not
//! answered for a while is given up, and releases that were under way are sent again on the next.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::RngExt;
use redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::command::Command;
use super::link::{Link, STALLED, timed_out};
use super::queue::Queue;
use super::script;
use super::wire::{Wire, ask};
use super::{CONNECT_TIMEOUT, Connect};
use crate::node::{NodeInfo, Reply, Request};

/// First and longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Starts the driver in the current runtime; without one, whatever waits is answered with an
/// error, because nobody could ever send it.
pub(super) fn start(queue: &Arc<Queue>, connect: &Connect) {
    let driven = Driven { queue: Arc::clone(queue) };
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(drive(driven, Arc::clone(connect)));
    }
}

/// Frees the place of the driver when it goes, also if its runtime was dropped under it; jobs
/// that it leaves behind are answered by being dropped.
struct Driven {
    queue: Arc<Queue>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        // What was under way is for the next driver, as far as it is owed.
        let link = self.queue.link().take();
        let jobs = link.map(Link::into_jobs).unwrap_or_default();
        jobs.iter().for_each(|job| self.queue.owe(job));
        drop(self.queue.undriven());
    }
}

async fn drive(driven: Driven, connect: Connect) {
    let queue = &driven.queue;
    let mut pause = PAUSES.0;
    loop {
        match open(&connect).await {
            Ok((wire, info)) => {
                let since = Instant::now();
                queue.up(info.as_deref());
                introduce(queue, info.as_deref());
                match serve(queue, Link::new(wire)).await {
                    Ok(()) => return,
                    Err(error) => broke(queue, &error),
                }
                // A connection that breaks at once is no reason to hurry.
                if since.elapsed() > PAUSES.1 {
                    pause = PAUSES.0;
                }
            }
            Err(error) => queue.down(&error, Vec::new()),
        }
        if queue.closed() && queue.owed() == 0 {
            return;
        }
        let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
        if queue.closed() {
            tokio::time::sleep(jittered).await;
        } else {
            let _ = tokio::time::timeout(jittered, closing(queue)).await;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Resolves when the owner is gone.
async fn closing(queue: &Queue) {
    poll_fn(|cx| {
        queue.gate.watch(cx.waker());
        if queue.closed() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A connection that knows the script, and what its server says of itself.
async fn open(connect: &Connect) -> RedisResult<(Box<dyn Wire>, Option<Box<NodeInfo>>)> {
    let opening = async {
        let mut wire = connect().await?;
        let mut command = Command::default();
        script::load(&mut command);
        ask(wire.as_mut(), &command).await?;
        script::call(&mut command, std::iter::once(&Request::Info));
        let answer = ask(wire.as_mut(), &command).await?;
        let info = match &answer {
            Value::Array(values) => values.first().map(|value| script::reply(&Request::Info, value)),
            _ => None,
        };
        match info {
            Some(Ok(Reply::Info(info))) => Ok((wire, info)),
            _ => Err((ErrorKind::Parse, "INFO is unreadable").into()),
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(timed_out("the connection did not come up")),
    }
}

/// Works until the owner is gone and nothing is left to do, or the connection breaks.
async fn serve(queue: &Queue, link: Link) -> RedisResult<()> {
    *queue.link() = Some(link);
    let mut check = std::pin::pin!(tokio::time::sleep(STALLED));
    poll_fn(|cx| {
        // Before the poll: what is sent during it must not be missed.
        queue.gate.watch(cx.waker());
        let mut slot = queue.link();
        let Some(link) = slot.as_mut() else { return Poll::Ready(Ok(())) };
        if let Poll::Ready(error) = link.poll(queue) {
            return Poll::Ready(Err(error));
        }
        while check.as_mut().poll(cx).is_ready() {
            match link.next_check() {
                Ok(at) => check.as_mut().reset(at),
                Err(stalled) => return Poll::Ready(Err(stalled)),
            }
            if let Poll::Ready(error) = link.poll(queue) {
                return Poll::Ready(Err(error));
            }
        }
        if link.is_done(queue) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// Everything under way fails, and what is owed is remembered.
fn broke(queue: &Queue, error: &RedisError) {
    tracing::warn!(node = queue.name, cause = %script::cause(error), "connection lost");
    let link = queue.link().take();
    queue.down(error, link.map(Link::into_jobs).unwrap_or_default());
}

/// Says in the log what somebody who waits for this node would like to know.
fn introduce(queue: &Queue, info: Option<&NodeInfo>) {
    let node = &queue.name;
    tracing::debug!(node, ?info, "connected");
    match info {
        None => tracing::warn!(node, "may not be asked INFO: a restart of it cannot be recognised"),
        Some(info) if info.eviction != "noeviction" => {
            tracing::warn!(node, policy = info.eviction, "may evict locks when its memory is short");
        }
        Some(_) => {}
    }
    if let Some(cause) = queue.barred() {
        tracing::warn!(node, %cause, "does not vote");
    }
}
