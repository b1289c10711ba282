//! The task that owns a node's connection: connects, sends what is ready, takes in the answers.
//!
//! Requests are pipelined and never cancelled. A connection that has not answered for a while is
//! given up; releases that were under way are sent again on the next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};
use rand::RngExt;
use redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::queue::{Job, Queue};
use super::script;
use super::wire::{Results, Wire};
use super::{CONNECT_TIMEOUT, Connect};
use crate::error::Cause;
use crate::node::{NodeInfo, Reply, Request};

/// Most requests in one batch.
const BATCH: usize = 64;
/// A connection that owes an answer for so long is half open or its server hangs.
const STALLED: Duration = Duration::from_secs(5);
/// How often a request that found no script is sent again; a server that forgets them as fast as
/// they are loaded must not keep us busy for ever.
const RESENDS: u8 = 20;
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
                let mut link = Link::new(queue, wire);
                match link.serve().await {
                    Ok(()) => return,
                    Err(error) => link.broke(&error),
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
    while !queue.closed() {
        queue.changed.notified().await;
    }
}

/// A connection that knows the scripts, and what its server says of itself.
async fn open(connect: &Connect) -> RedisResult<(Box<dyn Wire>, Option<Box<NodeInfo>>)> {
    let opening = async {
        let wire = connect().await?;
        let commands = script::load_all().chain([script::command(&Request::Info)]).collect();
        let mut last = Value::Nil;
        for result in wire.call(commands).await? {
            last = result?;
        }
        match script::reply(&Request::Info, &last) {
            Ok(Reply::Info(info)) => Ok((wire, info)),
            _ => Err((ErrorKind::Parse, "INFO is unreadable").into()),
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(timed_out("the connection did not come up")),
    }
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

fn timed_out(what: &'static str) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, what).into()
}

/// One connection in use.
struct Link<'a> {
    queue: &'a Queue,
    wire: Box<dyn Wire>,
    /// Batches under way, oldest first, and since when.
    sent: VecDeque<(Vec<Job>, Instant)>,
    /// Requests that found no script, and releases that ran out of turn because of it.
    again: Vec<Job>,
}

impl<'a> Link<'a> {
    fn new(queue: &'a Queue, wire: Box<dyn Wire>) -> Self {
        Self { queue, wire, sent: VecDeque::new(), again: Vec::new() }
    }

    /// Works until the owner is gone and nothing is left to do, or the connection breaks.
    async fn serve(&mut self) -> RedisResult<()> {
        let mut results = FuturesOrdered::new();
        let mut check = std::pin::pin!(tokio::time::sleep(STALLED));
        loop {
            while self.again.is_empty() && self.sent.len() < self.wire.depth() {
                let jobs = self.queue.take(BATCH);
                if jobs.is_empty() {
                    break;
                }
                let commands = jobs.iter().map(|job| script::command(&job.request)).collect();
                results.push_back(self.wire.call(commands));
                self.sent.push_back((jobs, Instant::now()));
            }
            if self.sent.is_empty() && !self.again.is_empty() {
                self.reload().await?;
                continue;
            }
            if self.sent.is_empty() && self.queue.closed() {
                return Ok(());
            }
            let room = self.again.is_empty() && self.sent.len() < self.wire.depth();
            tokio::select! {
                biased;
                Some(batch) = results.next() => self.settle(batch)?,
                () = self.queue.changed.notified(), if room => {}
                () = check.as_mut() => check.as_mut().reset(self.next_check()?),
            }
        }
    }

    /// When to look for a stall again; an error if there is one now.
    fn next_check(&self) -> RedisResult<Instant> {
        let oldest = self.sent.front().map_or_else(Instant::now, |(_, since)| *since);
        let limit = oldest + STALLED;
        if limit <= Instant::now() { Err(timed_out("the node does not answer")) } else { Ok(limit) }
    }

    /// Takes in the answers of the oldest batch.
    fn settle(&mut self, results: Results) -> RedisResult<()> {
        let results = results?;
        let Some((jobs, _)) = self.sent.pop_front() else {
            return Ok(());
        };
        self.queue.settled(jobs.len());
        let mut refused = Ok(());
        for (job, result) in jobs.into_iter().zip(results) {
            refused = self.answer(job, result).and(refused);
        }
        refused
    }

    /// An error where the node cannot even release: then it is as good as down, and is owed.
    fn answer(&mut self, job: Job, result: RedisResult<Value>) -> RedisResult<()> {
        match result {
            Ok(value) => {
                if !self.again.is_empty() && matches!(job.request, Request::Release { .. }) {
                    // Its acquire may be among those to be sent again, and would come after it.
                    self.again.push(Job { request: job.request.clone(), responder: None, resent: job.resent });
                }
                let reply = script::reply(&job.request, &value);
                job.answer(reply);
            }
            Err(error) if script::is_unknown_script(&error) && job.resent < RESENDS => {
                self.again.push(Job { resent: job.resent + 1, ..job });
            }
            Err(error) => {
                let answer = self.queue.error(&error);
                let is_release = matches!(job.request, Request::Release { .. });
                if is_release && *answer.cause() != Cause::Auth {
                    self.queue.owe(&job);
                    job.answer(Err(answer));
                    return Err(error);
                }
                job.answer(Err(answer));
            }
        }
        Ok(())
    }

    /// The node lost its scripts (SCRIPT FLUSH, a fail-over): load them, then send again, in
    /// order, what did not run. Only called with nothing under way.
    async fn reload(&mut self) -> RedisResult<()> {
        let loading = self.wire.call(script::load_all().collect());
        let Ok(loaded) = tokio::time::timeout(STALLED, loading).await else {
            return Err(timed_out("the node does not answer"));
        };
        for result in loaded? {
            result?;
        }
        self.queue.put_back(std::mem::take(&mut self.again));
        Ok(())
    }

    /// Everything under way fails, and what is owed is remembered.
    fn broke(&mut self, error: &RedisError) {
        tracing::warn!(node = self.queue.name, cause = %script::cause(error), "connection lost");
        let sent = std::mem::take(&mut self.sent).into_iter().flat_map(|(jobs, _)| jobs);
        let jobs = std::mem::take(&mut self.again).into_iter().chain(sent).collect();
        self.queue.down(error, jobs);
    }
}

impl Drop for Link<'_> {
    /// The runtime was dropped under it: what it had under way is answered by being dropped, what
    /// it owes is for the next driver.
    fn drop(&mut self) {
        for job in self.sent.iter().flat_map(|(jobs, _)| jobs).chain(&self.again) {
            self.queue.owe(job);
        }
    }
}
