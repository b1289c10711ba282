//! Requests that wait for one connection, in two lanes: renewals, which come by the thousand and
//! have time, and everything else, which somebody waits for.
//!
//! Each lane keeps its order. Between them there is none that safety needs: an extension changes only
//! what holds its value, and brings nothing back. One that overtakes the acquire on a node that is
//! behind finds nothing there, and the heal that follows it is behind the acquire.

use std::collections::VecDeque;

use super::queue::Job;
use super::script::weight;
use crate::node::Request;

/// Lock keys of renewals in one command, as a rule: a node does one thing at a time, and what others
/// wait for should be next to it within a fraction of a millisecond.
const RENEWED: usize = 32;

/// Most of them. Where a node is far away few commands travel, and many renewals wait: then a part of
/// those that wait goes with each.
const RENEWED_AT_MOST: usize = 1024;

/// Which part that is.
const PART: usize = 4;

/// Requests that wait for one connection.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    prompt: VecDeque<Job>,
    renewals: VecDeque<Job>,
    /// Which lane goes first where a command has room for one request only.
    renewal_next: bool,
}

impl Waiting {
    /// How many requests somebody waits for.
    pub(super) fn prompt(&self) -> usize {
        self.prompt.len()
    }

    pub(super) fn push_back(&mut self, job: Job) {
        self.lane(&job).push_back(job);
    }

    pub(super) fn push_front(&mut self, job: Job) {
        self.lane(&job).push_front(job);
    }

    /// How many renewals there are.
    pub(super) fn renewals(&self) -> usize {
        self.renewals.len()
    }

    fn lane(&mut self, job: &Job) -> &mut VecDeque<Job> {
        if matches!(job.request, Request::Extend { .. }) { &mut self.renewals } else { &mut self.prompt }
    }

    /// Takes what fits into one command about `most_keys` lock keys, at least one request if any
    /// waits, the oldest of each lane first. Neither lane keeps the other waiting for ever.
    pub(super) fn take(&mut self, most_keys: usize) -> Vec<Job> {
        if most_keys == 0 {
            self.renewal_next = !self.renewal_next;
            let (first, second) = if self.renewal_next {
                (&mut self.renewals, &mut self.prompt)
            } else {
                (&mut self.prompt, &mut self.renewals)
            };
            return first.pop_front().or_else(|| second.pop_front()).into_iter().collect();
        }
        let prompt = fitting(&self.prompt, most_keys);
        let renewals = fitting(&self.renewals, (self.renewals.len() / PART).clamp(RENEWED, RENEWED_AT_MOST));
        self.prompt.drain(..prompt).chain(self.renewals.drain(..renewals)).collect()
    }

    /// Everything, the prompt ones first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        self.prompt.drain(..).chain(self.renewals.drain(..))
    }
}

/// How many of `lane` are about `most_keys` lock keys together; one that is about more goes alone.
fn fitting(lane: &VecDeque<Job>, most_keys: usize) -> usize {
    let mut keys = 0;
    let fits = |job: &&Job| {
        keys += weight(&job.request).max(1);
        keys <= most_keys
    };
    lane.iter().take_while(fits).count().max(1).min(lane.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fencing::FencingToken;
    use crate::node::redis::queue::Queue;
    use crate::resource::Claim;

    fn job(key: &str, extend: bool) -> Job {
        let claim = Arc::new(Claim::new([key.to_owned()].into(), "value".to_owned()));
        let ttl = Duration::from_secs(1);
        let request = match extend {
            true => Request::Extend { claim, ttl, token: FencingToken::ZERO },
            false => Request::Release { claim, by: None, ttl },
        };
        Queue::new("node".to_owned(), None, None).again(request, Instant::now() + ttl)
    }

    fn is_renewal(job: &Job) -> bool {
        matches!(job.request, Request::Extend { .. })
    }

    #[test]
    fn who_comes_after_thousands_of_renewals_is_in_the_next_command() {
        let mut waiting = Waiting::default();
        (0..100).for_each(|lease| waiting.push_back(job(&lease.to_string(), true)));
        waiting.push_back(job("prompt", false));
        let taken = waiting.take(256);
        assert_eq!((taken.len(), taken.iter().filter(|job| !is_renewal(job)).count()), (RENEWED + 1, 1));
    }

    /// Two commands a round trip must carry what comes meanwhile, however long that takes.
    #[test]
    fn the_longer_renewals_wait_the_more_travel_together() {
        let mut waiting = Waiting::default();
        for (queued, taken) in [(1_000, 250), (100_000, RENEWED_AT_MOST)] {
            (0..queued).for_each(|lease| waiting.push_back(job(&lease.to_string(), true)));
            assert_eq!(waiting.take(256).len(), taken);
            waiting = Waiting::default();
        }
    }

    #[test]
    fn renewals_go_on_under_any_load() {
        for most_keys in [0, 256] {
            let mut waiting = Waiting::default();
            waiting.push_back(job("lease", true));
            (0..1000).for_each(|key| waiting.push_back(job(&key.to_string(), false)));
            let taken = waiting.take(most_keys).into_iter().chain(waiting.take(most_keys));
            assert_eq!(taken.filter(is_renewal).count(), 1, "{most_keys}");
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        for most_keys in [0, 1, 256] {
            let mut waiting = Waiting::default();
            (0..10).for_each(|key| waiting.push_back(job(&key.to_string(), key % 2 == 0)));
            let mut taken = 0;
            while waiting.prompt() + waiting.renewals() > 0 {
                taken += waiting.take(most_keys).len();
            }
            assert_eq!(taken, 10);
        }
    }
}
