//! Requests to one call of the script.

use std::time::Duration;

use super::SCRIPT;
use crate::node::redis::command::Command;
use crate::node::{Request, millis};
use crate::resource::Claim;

/// Operations about one key that are alone in their call.
pub(super) const ACQUIRE_ALONE: &str = "acquire alone";
pub(super) const RELEASE_ALONE: &str = "release alone";
pub(super) const EXTEND_ALONE: &str = "extend alone";

/// Makes of `command` the one that carries out `requests`, in order.
pub(crate) fn call<'a>(command: &mut Command, requests: impl ExactSizeIterator<Item = &'a Request> + Clone) {
    let keys = requests.clone().map(|request| lock_keys(request).len() + counters(request).len());
    command.clear();
    command.word("EVALSHA").word(SCRIPT.get_hash()).number(count(keys.sum()));
    for request in requests.clone() {
        command.words(lock_keys(request)).words(counters(request));
    }
    match requests.clone().next() {
        Some(request) if requests.len() == 1 && is_alone(request) => add_alone(command, request),
        _ => {
            let mut registers = Registers::default();
            requests.for_each(|request| registers.add(command, request));
        }
    }
}

/// Whether `request`, if there is no other in its call, is answered by its reply as it is.
pub(crate) fn is_alone(request: &Request) -> bool {
    let is_quick = match request {
        Request::Acquire { span, .. } => *span == 1,
        Request::Release { .. } | Request::Extend { .. } => true,
        _ => false,
    };
    is_quick && weight(request) == 1
}

fn add_alone(command: &mut Command, request: &Request) {
    match request {
        Request::Acquire { claim, ttl, proposal, .. } => {
            command.word(ACQUIRE_ALONE).word(claim.value()).number(proposal.get()).number(millis(*ttl));
        }
        Request::Release { claim, by, .. } => {
            command.word(RELEASE_ALONE).word(claim.value()).word(by.as_deref().unwrap_or_default());
        }
        Request::Extend { claim, ttl, token } => {
            command.word(EXTEND_ALONE).word(claim.value()).number(token.get()).number(millis(*ttl));
        }
        _ => unreachable!("asked of `is_alone`"),
    }
}

/// What the script has in its registers, so that it is told again only where it is something else.
#[derive(Default)]
struct Registers<'a> {
    keys: Option<usize>,
    ttl: Option<Duration>,
    span: Option<u32>,
    by: Option<&'a str>,
}

impl<'a> Registers<'a> {
    fn add(&mut self, command: &mut Command, request: &'a Request) {
        self.set(command, request);
        match request {
            Request::Acquire { claim, proposal, .. } => {
                command.word("acquire").word(claim.value()).number(proposal.get());
            }
            Request::Raise { claim, token } => {
                command.word("raise").word(claim.value()).number(token.get());
            }
            Request::Extend { claim, token, .. } => {
                command.word("extend").word(claim.value()).number(token.get());
            }
            Request::Heal { claim, token, .. } => {
                command.word("heal").word(claim.value()).number(token.get());
            }
            Request::Release { claim, .. } => {
                command.word("release").word(claim.value());
            }
            Request::Inspect { .. } => {
                command.word("inspect");
            }
            Request::Info => {
                command.word("info");
            }
        }
    }

    /// Sets the registers that the operation reads.
    fn set(&mut self, command: &mut Command, request: &'a Request) {
        let keys = weight(request);
        if keys > 0 && keys != self.keys.unwrap_or(1) {
            command.word("n").number(count(keys));
            self.keys = Some(keys);
        }
        match request {
            Request::Acquire { ttl, .. } | Request::Extend { ttl, .. } | Request::Heal { ttl, .. }
                if self.ttl != Some(*ttl) =>
            {
                command.word("ttl").number(millis(*ttl));
                self.ttl = Some(*ttl);
            }
            _ => {}
        }
        match request {
            Request::Acquire { span, .. } if *span != self.span.unwrap_or(1) => {
                command.word("span").number(u64::from(*span));
                self.span = Some(*span);
            }
            Request::Release { by, .. } => {
                let by = by.as_deref().unwrap_or_default();
                if self.by != Some(by) {
                    command.word("by").word(by);
                    self.by = Some(by);
                }
            }
            _ => {}
        }
    }
}

/// How many lock keys `request` is about.
pub(crate) fn weight(request: &Request) -> usize {
    lock_keys(request).len()
}

fn claim(request: &Request) -> Option<&Claim> {
    match request {
        Request::Acquire { claim, .. }
        | Request::Raise { claim, .. }
        | Request::Extend { claim, .. }
        | Request::Heal { claim, .. }
        | Request::Release { claim, .. } => Some(claim),
        Request::Inspect { .. } | Request::Info => None,
    }
}

fn lock_keys(request: &Request) -> &[String] {
    match request {
        Request::Inspect { keys } => keys,
        request => claim(request).map_or(&[], Claim::keys),
    }
}

fn counters(request: &Request) -> &[String] {
    match request {
        Request::Release { .. } => &[],
        request => claim(request).map_or(&[], Claim::counters),
    }
}

fn count(keys: usize) -> u64 {
    u64::try_from(keys).unwrap_or(u64::MAX)
}
