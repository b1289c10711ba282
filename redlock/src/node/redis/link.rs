//! One connection in use: what it has under way, and how that moves.
//!
//! Whoever polls it moves it: the driver's task when something has come, or whoever sends a request
//! while nothing is under way, so that a request to an idle node is in its socket when `send`
//! returns.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::command::Command;
use super::queue::{Job, Queue};
use super::script;
use super::wire::Wire;
use crate::error::Cause;
use crate::meters;
use crate::node::{Reply, Request};

/// A connection that owes an answer for so long is half open or its server hangs.
pub(super) const STALLED: Duration = Duration::from_secs(5);
/// How often a request that found no script is sent again; a server that forgets it as fast as it
/// is loaded must not keep us busy for ever.
const RESENDS: u8 = 20;

/// One connection in use.
pub(super) struct Link {
    wire: Box<dyn Wire>,
    /// The last one that was sent; its room is used again.
    command: Command,
    /// Commands under way, oldest first.
    sent: VecDeque<Sent>,
    /// Requests that found no script, and releases that ran out of turn because of it.
    again: Vec<Job>,
    /// How it ended.
    over: Option<RedisError>,
}

/// A command under way: some jobs, or none where it loads the script, or only asks whether somebody is there.
struct Sent {
    jobs: Vec<Job>,
    since: Instant,
}

impl Link {
    pub(super) fn new(wire: Box<dyn Wire>) -> Self {
        Self { wire, command: Command::default(), sent: VecDeque::new(), again: Vec::new(), over: None }
    }

    /// Sends what waits and takes in what has come, as far as that goes without waiting; ready with
    /// an error once the connection is of no more use.
    pub(super) fn poll(&mut self, queue: &Queue) -> Poll<RedisError> {
        let waker = Waker::from(Arc::clone(&queue.gate));
        // Whoever polls does so in the place of others, and must not run out of its own turn.
        let turn = pin!(unconstrained(poll_fn(|cx| self.turn(queue, cx))));
        turn.poll(&mut Context::from_waker(&waker))
    }

    fn turn(&mut self, queue: &Queue, cx: &mut Context<'_>) -> Poll<RedisError> {
        while self.over.is_none() {
            queue.gate.close();
            let filled = self.fill(queue);
            match self.settle(queue, cx) {
                Ok(settled) if !settled && !filled && queue.gate.open() => return Poll::Pending,
                Ok(_) => {}
                Err(error) => self.over = Some(error),
            }
        }
        queue.gate.leave();
        self.over.clone().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether anybody may poll it, in whatever thread.
    pub(super) fn is_for_all(&self) -> bool {
        self.wire.is_for_all()
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.sent.is_empty() && self.again.is_empty()
    }

    /// Whether nothing is left to do, ever.
    pub(super) fn is_done(&self, queue: &Queue) -> bool {
        self.is_idle() && queue.is_done()
    }

    /// When to look for a stall again; an error if there is one now. A connection that does not tell of its end
    /// by itself is asked something, so that its end is known before a lock is asked for.
    pub(super) fn next_check(&mut self) -> RedisResult<Instant> {
        if self.is_idle() && !self.is_for_all() {
            self.command.clear();
            self.wire.send(self.command.word("PING"));
            self.sent.push_back(Sent { jobs: Vec::new(), since: Instant::now() });
        }
        let oldest = self.sent.front().map_or_else(Instant::now, |sent| sent.since);
        let limit = oldest + STALLED;
        if limit <= Instant::now() { Err(timed_out("the node does not answer")) } else { Ok(limit) }
    }

    /// Takes in the answers that are here, oldest first; whether there was one. What was not sent
    /// yet is sent by this.
    fn settle(&mut self, queue: &Queue, cx: &mut Context<'_>) -> RedisResult<bool> {
        let mut settled = false;
        // Asked even with nothing under way: that is how a connection that ends is noticed.
        while let Poll::Ready(result) = self.wire.poll_answer(cx) {
            let Some(sent) = self.sent.pop_front() else {
                return Err(result.err().unwrap_or_else(|| (redis::ErrorKind::Parse, "an answer to nothing").into()));
            };
            meters::answered(&queue.name, sent.since);
            queue.settled(sent.jobs.len());
            self.answered(queue, sent.jobs, result)?;
            settled = true;
        }
        Ok(settled)
    }

    /// Makes a command of what waits, if there is room for one; whether it did.
    fn fill(&mut self, queue: &Queue) -> bool {
        let loading = !self.again.is_empty();
        if self.sent.len() >= if loading { 1 } else { self.wire.depth() } {
            return false;
        }
        let jobs = if loading { Vec::new() } else { queue.take(self.wire.most_keys()) };
        if jobs.is_empty() && !loading {
            return false;
        }
        if loading {
            script::load(&mut self.command);
        } else {
            script::call(&mut self.command, jobs.iter().map(|job| &job.request));
        }
        self.wire.send(&self.command);
        self.sent.push_back(Sent { jobs, since: Instant::now() });
        true
    }

    fn answered(&mut self, queue: &Queue, jobs: Vec<Job>, result: RedisResult<Value>) -> RedisResult<()> {
        if jobs.is_empty() {
            // Who may not be asked is there all the same; a script that cannot be loaded is missed soon enough.
            result.or_else(|error| if error.is_unrecoverable_error() { Err(error) } else { Ok(Value::Nil) })?;
            queue.put_back(std::mem::take(&mut self.again));
            return Ok(());
        }
        match result {
            Ok(value) if jobs.len() == 1 && script::is_alone(&jobs[0].request) => {
                jobs.into_iter().try_for_each(|job| self.answer(queue, job, &value))
            }
            Ok(Value::Array(values)) if values.len() == jobs.len() => {
                let mut outcome = Ok(());
                for (job, value) in jobs.into_iter().zip(&values) {
                    outcome = self.answer(queue, job, value).and(outcome);
                }
                outcome
            }
            Ok(value) => {
                jobs.into_iter().for_each(|job| job.answer(Err(script::unexpected(&value))));
                Ok(())
            }
            Err(error) if script::is_unknown_script(&error) => self.forgotten(queue, jobs, error),
            Err(error) => self.refuse(queue, jobs, error),
        }
    }

    /// An error where the node cannot even release: then it is as good as down, and is owed.
    fn answer(&mut self, queue: &Queue, job: Job, value: &Value) -> RedisResult<()> {
        let is_release = matches!(job.request, Request::Release { .. });
        if !self.again.is_empty()
            && let Some(until) = job.owed_until()
        {
            // Its acquire may be among those to be sent again, and would come after it.
            self.again.push(Job { resent: job.resent, ..queue.again(job.request.clone(), until) });
        }
        let mut reply = script::reply(&job.request, value);
        if let (Ok(Reply::Released { listeners }), Request::Release { claim, .. }) = (&mut reply, &job.request) {
            *listeners = queue.others(*listeners, claim.keys());
        }
        let broken = match &reply {
            Err(error) if is_release && *error.cause() != Cause::Auth => {
                queue.owe(&job);
                Err((redis::ErrorKind::Client, "the node cannot release", error.to_string()).into())
            }
            _ => Ok(()),
        };
        job.answer(reply);
        broken
    }

    /// The node lost its script (SCRIPT FLUSH, a fail-over): once nothing else is under way it is
    /// loaded, and what did not run is sent again, in order.
    /// An error where that has happened too often to a release: it is owed to the next connection.
    fn forgotten(&mut self, queue: &Queue, jobs: Vec<Job>, error: RedisError) -> RedisResult<()> {
        let (again, given_up): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.resent < RESENDS);
        self.again.extend(again.into_iter().map(|job| Job { resent: job.resent + 1, ..job }));
        if given_up.is_empty() { Ok(()) } else { self.refuse(queue, given_up, error) }
    }

    /// A whole command failed. Where there is a release in it the node is as good as down, and is owed;
    /// a connection that broke is of no more use anyway.
    fn refuse(&self, queue: &Queue, jobs: Vec<Job>, error: RedisError) -> RedisResult<()> {
        let answer = queue.error(&error);
        let is_hopeless = *answer.cause() == Cause::Auth || script::is_misplaced(&error, self.wire.routes());
        let mut owes = false;
        for job in jobs {
            if matches!(job.request, Request::Release { .. }) && !is_hopeless {
                queue.owe(&job);
                owes = true;
            }
            job.answer(Err(answer.clone()));
        }
        if owes || error.is_io_error() || error.is_unrecoverable_error() { Err(error) } else { Ok(()) }
    }

    /// Everything that was under way, oldest first.
    pub(super) fn into_jobs(mut self) -> Vec<Job> {
        let sent = std::mem::take(&mut self.sent).into_iter().flat_map(|sent| sent.jobs);
        std::mem::take(&mut self.again).into_iter().chain(sent).collect()
    }
}

pub(super) fn timed_out(what: &'static str) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, what).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Claim;

    /// Answers every command as a release is answered.
    #[derive(Default)]
    struct Releasing(usize);

    impl Wire for Releasing {
        fn send(&mut self, _: &Command) {
            self.0 += 1;
        }

        fn poll_answer(&mut self, _: &mut Context<'_>) -> Poll<RedisResult<Value>> {
            if self.0 == 0 {
                return Poll::Pending;
            }
            self.0 -= 1;
            Poll::Ready(Ok(Value::Int(1)))
        }
    }

    /// Whoever releases while the driver is at the connection leaves that to the driver, and may be gone before it looks.
    #[test]
    fn what_was_asked_before_the_owner_went_is_still_to_be_done() {
        let queue = Queue::new("node".to_owned(), None, None);
        let mut link = Link::new(Box::new(Releasing::default()));
        let claim = Arc::new(Claim::new(["key".to_owned()].into(), "value".to_owned()));
        assert!(!link.is_done(&queue), "it has an owner");
        let release = Request::Release { claim, by: None, ttl: STALLED };
        queue.put_back(vec![queue.again(release, std::time::Instant::now() + STALLED)]);
        queue.close();
        assert!(!link.is_done(&queue), "a release waits");
        assert!(link.poll(&queue).is_pending());
        assert!(link.is_done(&queue));
    }
}
