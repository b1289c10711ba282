//! What can happen: one small step of a client, a node or the network at a time.
//!
//! A release is no message here. From the moment on at which a client would send it, the key may
//! vanish: now, later, or never, which is all that a release can do.

use redlock::protocol::{Outcome, Settlement, Tally, granted, quorum, raised};
use stateright::{Model, Property};

use crate::state::{
    ATTEMPTS, Answer, Flaw, LEASE, Link, Lock, Moment, NODES, Phase, Protocol, Requests, Timing, number, token,
};
use crate::{AFTER_CRASH, BY_WRITE_BACK, DISTINCT, EXCLUSIVE, ORDERED};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A client sends its acquires.
    Start { client: usize, proposal: u8 },
    /// An acquire reaches its node; a key that it finds may have ended just before.
    Acquire { node: usize, client: usize, attempt: usize, ended: bool },
    /// A raise reaches its node, in the same way.
    Raise { node: usize, client: usize, attempt: usize, ended: bool },
    /// A client wins its round by the answers of some nodes, one bit each; others are late.
    Win { client: usize, nodes: u8 },
    /// The node timeout ends a round, so many nodes have refused, or its future is dropped.
    GiveUp { client: usize },
    /// A holder is done.
    Release { client: usize },
    /// A node crashes and comes back with its memory; what was under way is lost.
    Crash { node: usize },
    /// Time passes.
    Tick,
}

impl<const C: usize> Model for Protocol<C> {
    type State = Moment<C>;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment<C>> {
        let mut states: Vec<Moment<C>> = Vec::new();
        for a in &self.counters {
            for b in &self.counters {
                for c in &self.counters {
                    let first = Moment::first([*a, *b, *c]).nameless();
                    if !states.contains(&first) {
                        states.push(first);
                    }
                }
            }
        }
        states
    }

    fn actions(&self, state: &Moment<C>, steps: &mut Vec<Step>) {
        if self.is_over(state) {
            return;
        }
        for client in 0..C {
            self.steps_of(state, client, steps);
        }
        for node in 0..NODES {
            let busy = |link: &Link| link.requests != <[Requests; ATTEMPTS]>::default() || link.reply.is_some();
            if state.crashes < self.crashes && state.nodes[node].links.iter().any(busy) {
                steps.push(Step::Crash { node });
            }
        }
        if self.timing == Timing::Leases {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, last: &Moment<C>, step: Step) -> Option<Moment<C>> {
        let mut next = last.clone();
        match step {
            Step::Start { client, proposal } => start(&mut next, client, proposal),
            Step::Acquire { node, client, attempt, ended } => acquire(&mut next, (node, client, attempt), ended),
            Step::Raise { node, client, attempt, ended } => self.raise(&mut next, (node, client, attempt), ended),
            Step::Win { client, nodes } => self.win(&mut next, client, nodes),
            Step::GiveUp { client } | Step::Release { client } => end(&mut next, client),
            Step::Crash { node } => crash(&mut next, node),
            Step::Tick => tick(&mut next),
        }
        let next = next.nameless();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(DISTINCT, |_, state: &Moment<C>| !state.repeated),
            Property::always(ORDERED, |_, state: &Moment<C>| !state.disordered),
            Property::sometimes(BY_WRITE_BACK, |_, state: &Moment<C>| {
                state.holders().any(|(by_write_back, _)| by_write_back)
            }),
            Property::sometimes(AFTER_CRASH, |_, state: &Moment<C>| {
                state.holders().any(|(_, after_crash)| after_crash)
            }),
        ];
        if self.timing == Timing::Leases {
            properties.push(Property::always(EXCLUSIVE, |_, state: &Moment<C>| state.valid_leases() <= 1));
        }
        properties
    }
}

impl<const C: usize> Protocol<C> {
    fn may_start(&self, state: &Moment<C>, client: usize) -> bool {
        let made: u8 = state.clients.iter().map(|client| client.attempts).sum();
        made < self.attempts && usize::from(state.clients[client].attempts) < ATTEMPTS
    }

    /// Whether nobody can acquire any more, so that what is still under way cannot matter.
    fn is_over(&self, state: &Moment<C>) -> bool {
        let asks = |client: usize| matches!(state.clients[client].phase, Phase::Asking | Phase::Writing { .. });
        !(0..C).any(|client| asks(client) || self.may_start(state, client))
    }

    fn steps_of(&self, state: &Moment<C>, client: usize, steps: &mut Vec<Step>) {
        match state.clients[client].phase {
            Phase::Idle if self.may_start(state, client) => {
                steps.extend(self.proposals.iter().map(|&proposal| Step::Start { client, proposal }));
            }
            Phase::Idle => {}
            Phase::Asking | Phase::Writing { .. } => {
                steps.push(Step::GiveUp { client });
                let heard = |nodes: u8| tally(state, client, nodes).outcome() == Outcome::Won;
                let wins = (0..1 << NODES).filter(|nodes| answered(state, client, *nodes) && heard(*nodes));
                steps.extend(wins.map(|nodes| Step::Win { client, nodes }));
            }
            Phase::Holding { .. } => steps.push(Step::Release { client }),
        }
        for node in 0..NODES {
            let lock = state.nodes[node].lock;
            for (attempt, requests) in state.nodes[node].links[client].requests.iter().enumerate() {
                let may_end = lock.is_some_and(|lock| self.may_end(state, lock));
                let endings = if may_end { &[false, true][..] } else { &[false] };
                if requests.acquire != 0 {
                    steps.extend(endings.iter().map(|&ended| Step::Acquire { node, client, attempt, ended }));
                }
                if requests.raise != 0 {
                    let own = lock.is_some_and(|lock| lock.is_of(client, attempt));
                    let endings = if own { endings } else { &[false] };
                    steps.extend(endings.iter().map(|&ended| Step::Raise { node, client, attempt, ended }));
                }
            }
        }
    }

    /// Whether a key may have ended: by its clock, or because its owner is done with it.
    fn may_end(&self, state: &Moment<C>, lock: Lock) -> bool {
        self.timing == Timing::AnyMoment || lock.age >= LEASE || !state.is_live(lock)
    }

    fn raise(&self, next: &mut Moment<C>, (node, client, attempt): (usize, usize, usize), ended: bool) {
        let waiting = matches!(next.clients[client].phase, Phase::Writing { .. }) && is_present(next, client, attempt);
        let at = &mut next.nodes[node];
        if ended {
            at.lock = None;
        }
        let wanted = std::mem::take(&mut at.links[client].requests[attempt].raise);
        let held = at.lock.is_some_and(|lock| lock.is_of(client, attempt));
        let answer = if held || self.has(Flaw::RaisesUnheld) {
            at.counter = number(raised(counter(at.counter), token(wanted)));
            Answer::Done
        } else {
            Answer::Refused
        };
        if waiting {
            at.links[client].reply = Some(answer);
        }
    }

    /// A round is won by the answers of `nodes`: the crate's own decisions.
    fn win(&self, next: &mut Moment<C>, client: usize, nodes: u8) {
        if let Phase::Writing { token } = next.clients[client].phase {
            return self.complete(next, client, token, true);
        }
        for (node, at) in next.nodes.iter_mut().enumerate() {
            let link = &mut at.links[client];
            let reply = link.reply.take();
            link.heard = reply.filter(|_| nodes & (1 << node) != 0);
        }
        self.settle(next, client);
    }

    /// A quorum has granted: the token is known, and recorded or not.
    fn settle(&self, next: &mut Moment<C>, client: usize) {
        let tokens = next.nodes.iter().filter_map(|node| match node.links[client].heard {
            Some(Answer::Granted(granted)) => Some(token(granted)),
            _ => None,
        });
        let settlement = Settlement::of(tokens).expect("a quorum has granted");
        let token = number(settlement.token);
        if !settlement.needs_write_back(quorum(NODES)) || self.has(Flaw::NoWriteBack) {
            return self.complete(next, client, token, false);
        }
        let attempt = usize::from(next.clients[client].attempts) - 1;
        next.clients[client].phase = Phase::Writing { token };
        for node in &mut next.nodes {
            let link = &mut node.links[client];
            match link.heard {
                Some(Answer::Granted(granted)) if granted == token => link.heard = Some(Answer::Done),
                None if !self.has(Flaw::RaisesUnheard) => link.heard = Some(Answer::Failed),
                Some(Answer::Granted(_)) | None => {
                    link.requests[attempt].raise = token;
                    link.heard = None;
                }
                Some(_) => {}
            }
        }
    }

    fn complete(&self, next: &mut Moment<C>, client: usize, token: u8, by_write_back: bool) {
        let from_answer = self.has(Flaw::CountsFromAnswer);
        if next.clients[client].age >= LEASE && !from_answer {
            return end(next, client);
        }
        forget_answers(next, client);
        let after_crash = next.crashes > 0;
        let of = &mut next.clients[client];
        of.phase = Phase::Holding { by_write_back, after_crash };
        if from_answer {
            of.age = 0;
        }
        next.repeated |= next.completed & (1 << token) != 0;
        next.disordered |= token <= of.floor;
        next.completed |= 1 << token;
    }
}

/// Whether all of `nodes` have an answer under way.
fn answered<const C: usize>(state: &Moment<C>, client: usize, nodes: u8) -> bool {
    (0..NODES).all(|node| nodes & (1 << node) == 0 || state.nodes[node].links[client].reply.is_some())
}

/// The round of `client` if it hears from `nodes` what is under way from them.
fn tally<const C: usize>(state: &Moment<C>, client: usize, nodes: u8) -> Tally {
    let mut tally = Tally::new(NODES);
    for (node, at) in state.nodes.iter().enumerate() {
        let link = &at.links[client];
        match link.heard.or(link.reply.filter(|_| nodes & (1 << node) != 0)) {
            Some(Answer::Granted(_) | Answer::Done) => tally.yes(),
            Some(Answer::Refused) => tally.no(),
            Some(Answer::Failed) => tally.failed(),
            None => {}
        }
    }
    tally
}

fn counter(stored: u8) -> Option<redlock::FencingToken> {
    (stored != 0).then(|| token(stored))
}

/// Whether `attempt` is the one that the client is at.
fn is_present<const C: usize>(state: &Moment<C>, client: usize, attempt: usize) -> bool {
    usize::from(state.clients[client].attempts) == attempt + 1
}

fn start<const C: usize>(next: &mut Moment<C>, client: usize, proposal: u8) {
    let floor = u8::try_from(next.completed.checked_ilog2().unwrap_or(0)).expect("32 bits");
    let of = &mut next.clients[client];
    let attempt = usize::from(of.attempts);
    (of.phase, of.age, of.floor) = (Phase::Asking, 0, floor);
    of.attempts += 1;
    for node in &mut next.nodes {
        node.links[client].requests[attempt].acquire = proposal;
    }
}

fn acquire<const C: usize>(next: &mut Moment<C>, (node, client, attempt): (usize, usize, usize), ended: bool) {
    let waiting = next.clients[client].phase == Phase::Asking && is_present(next, client, attempt);
    let at = &mut next.nodes[node];
    if ended {
        at.lock = None;
    }
    let proposal = std::mem::take(&mut at.links[client].requests[attempt].acquire);
    let answer = if at.lock.is_some() {
        Answer::Refused
    } else {
        let (client, attempt) = (u8::try_from(client).expect("small"), u8::try_from(attempt).expect("small"));
        at.lock = Some(Lock { client, attempt, age: 0 });
        at.counter = number(granted(counter(at.counter), token(proposal), 1).expect("it is small"));
        Answer::Granted(at.counter)
    };
    if waiting {
        at.links[client].reply = Some(answer);
    }
}

/// The attempt is over, whatever it had come to.
fn end<const C: usize>(next: &mut Moment<C>, client: usize) {
    forget_answers(next, client);
    let of = &mut next.clients[client];
    (of.phase, of.age, of.floor) = (Phase::Idle, 0, 0);
}

/// Nobody waits for answers any more.
fn forget_answers<const C: usize>(next: &mut Moment<C>, client: usize) {
    for node in &mut next.nodes {
        let link = &mut node.links[client];
        (link.heard, link.reply) = (None, None);
    }
}

fn crash<const C: usize>(next: &mut Moment<C>, node: usize) {
    next.crashes += 1;
    let clients = next.clients;
    for (client, link) in clients.iter().zip(&mut next.nodes[node].links) {
        let waits = matches!(client.phase, Phase::Asking | Phase::Writing { .. }) && link.heard.is_none();
        let (heard, reply) = (link.heard, waits.then_some(Answer::Failed));
        *link = Link { requests: [Requests::default(); ATTEMPTS], reply, heard };
    }
}

fn tick<const C: usize>(next: &mut Moment<C>) {
    for client in &mut next.clients {
        if client.phase != Phase::Idle {
            client.age = (client.age + 1).min(LEASE);
        }
    }
    for lock in next.nodes.iter_mut().filter_map(|node| node.lock.as_mut()) {
        if *lock != Lock::ABANDONED {
            lock.age = (lock.age + 1).min(LEASE);
        }
    }
}
