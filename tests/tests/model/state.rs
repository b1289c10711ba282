//! What there is: clients, nodes, and what is on its way between them.

use std::array;

use redlock::FencingToken;

/// Nodes of a lock.
pub(crate) const NODES: usize = 3;
/// Most attempts of one client.
pub(crate) const ATTEMPTS: usize = 2;
/// Ticks until a key may end by its clock; a lease is valid for less.
pub(crate) const LEASE: u8 = 2;

/// When keys end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Whenever they like.
    AnyMoment,
    /// When their lease's clock allows it.
    Leases,
}

/// A rule taken out of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The largest token granted is used, recorded or not.
    NoWriteBack,
    /// Nodes record a token for whoever asks, holder or not.
    RaisesUnheld,
    /// A token also counts as recorded where the grant was not heard of: it may be a larger one.
    RaisesUnheard,
    /// A lease is counted from its last answer instead of from before its first request.
    CountsFromAnswer,
}

/// The model: `C` clients over three nodes.
#[derive(Clone, Debug)]
pub(crate) struct Protocol<const C: usize> {
    pub(crate) timing: Timing,
    pub(crate) flaw: Option<Flaw>,
    /// Most attempts of all clients together.
    pub(crate) attempts: u8,
    /// What clients may propose.
    pub(crate) proposals: Vec<u8>,
    /// Where counters may stand at first; zero is none.
    pub(crate) counters: Vec<u8>,
    /// How often a node may crash.
    pub(crate) crashes: u8,
}

impl<const C: usize> Protocol<C> {
    pub(crate) fn new(timing: Timing) -> Self {
        Self { timing, flaw: None, attempts: 3, proposals: vec![1], counters: vec![0, 1], crashes: 1 }
    }

    pub(crate) fn attempts(self, attempts: u8) -> Self {
        Self { attempts, ..self }
    }

    pub(crate) fn crashes(self, crashes: u8) -> Self {
        Self { crashes, ..self }
    }

    pub(crate) fn with(self, flaw: Flaw) -> Self {
        Self { flaw: Some(flaw), ..self }
    }

    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Moment<const C: usize> {
    pub(crate) clients: [Client; C],
    pub(crate) nodes: [Node<C>; NODES],
    /// Tokens of completed acquisitions, one bit each.
    pub(crate) completed: u32,
    /// Whether a token came twice.
    pub(crate) repeated: bool,
    /// Whether a token was not above one that was complete before its attempt started.
    pub(crate) disordered: bool,
    pub(crate) crashes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Client {
    /// Attempts made, the present one included.
    pub(crate) attempts: u8,
    pub(crate) phase: Phase,
    /// Ticks since the attempt started.
    pub(crate) age: u8,
    /// The largest token that was complete when the attempt started.
    pub(crate) floor: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    Idle,
    /// Its acquires are under way.
    Asking,
    /// Its write-back is.
    Writing {
        token: u8,
    },
    /// It has acquired.
    Holding {
        by_write_back: bool,
        after_crash: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node<const C: usize> {
    pub(crate) lock: Option<Lock>,
    /// The fencing counter; zero is none.
    pub(crate) counter: u8,
    /// What is between it and each client.
    pub(crate) links: [Link; C],
}

/// The key on one node; its value is who set it, and in which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Lock {
    pub(crate) client: u8,
    pub(crate) attempt: u8,
    /// Ticks since it was set.
    pub(crate) age: u8,
}

impl Lock {
    /// A key whose owner is done with it.
    pub(crate) const ABANDONED: Self = Self { client: u8::MAX, attempt: u8::MAX, age: 0 };

    pub(crate) fn is_of(self, client: usize, attempt: usize) -> bool {
        (usize::from(self.client), usize::from(self.attempt)) == (client, attempt)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Link {
    /// Requests under way, by attempt.
    pub(crate) requests: [Requests; ATTEMPTS],
    /// The answer under way; those that nobody waits for any more are not kept.
    pub(crate) reply: Option<Answer>,
    /// What the client knows of it in its present round.
    pub(crate) heard: Option<Answer>,
}

/// What is under way of one attempt; zero is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Requests {
    /// An acquire, with its proposal.
    pub(crate) acquire: u8,
    /// A raise, with its token.
    pub(crate) raise: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    Granted(u8),
    Done,
    /// Somebody else holds it, or the asker does not.
    Refused,
    Failed,
}

impl<const C: usize> Moment<C> {
    /// Nothing has happened yet, and the counters stand at `counters`.
    pub(crate) fn first(counters: [u8; NODES]) -> Self {
        let idle = Client { attempts: 0, phase: Phase::Idle, age: 0, floor: 0 };
        Self {
            clients: [idle; C],
            nodes: counters.map(|counter| Node { lock: None, counter, links: [Link::default(); C] }),
            completed: 0,
            repeated: false,
            disordered: false,
            crashes: 0,
        }
    }

    /// Whether `lock` belongs to an attempt that is still under way or holds it.
    pub(crate) fn is_live(&self, lock: Lock) -> bool {
        if lock == Lock::ABANDONED {
            return false;
        }
        let client = &self.clients[usize::from(lock.client)];
        client.attempts == lock.attempt + 1 && client.phase != Phase::Idle
    }

    pub(crate) fn valid_leases(&self) -> usize {
        let valid = |client: &&Client| matches!(client.phase, Phase::Holding { .. }) && client.age < LEASE;
        self.clients.iter().filter(valid).count()
    }

    /// Whether each holder acquired by write-back, and whether after a crash.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (bool, bool)> {
        self.clients.iter().filter_map(|client| match client.phase {
            Phase::Holding { by_write_back, after_crash } => Some((by_write_back, after_crash)),
            _ => None,
        })
    }

    /// Of moments that will never differ in anything that matters one is kept: clients and nodes
    /// have no names, nor do the owners of keys that nobody asks for any more.
    pub(crate) fn nameless(mut self) -> Self {
        for node in 0..NODES {
            self.drop_idle_raises(node);
            if let Some(lock) = self.nodes[node].lock
                && lock != Lock::ABANDONED
                && !self.is_live(lock)
                && self.nodes[node].links[usize::from(lock.client)].requests[usize::from(lock.attempt)].raise == 0
            {
                self.nodes[node].lock = Some(Lock::ABANDONED);
            }
        }
        let mut order: [usize; C] = array::from_fn(|client| client);
        order.sort_by_key(|client| self.clients[*client]);
        let mut place = [0; C];
        for (new, old) in (0_u8..).zip(order) {
            place[old] = new;
        }
        self.clients = order.map(|old| self.clients[old]);
        for node in &mut self.nodes {
            node.links = order.map(|old| node.links[old]);
            if let Some(lock) = node.lock.as_mut().filter(|lock| **lock != Lock::ABANDONED) {
                lock.client = place[usize::from(lock.client)];
            }
        }
        self.nodes.sort_unstable();
        self
    }

    /// A raise for an attempt that is over does nothing where its key is gone.
    fn drop_idle_raises(&mut self, node: usize) {
        let lock = self.nodes[node].lock;
        for (client, of) in self.clients.iter().enumerate() {
            let live = (of.phase != Phase::Idle).then(|| usize::from(of.attempts) - 1);
            for (attempt, requests) in self.nodes[node].links[client].requests.iter_mut().enumerate() {
                let is_held = lock.is_some_and(|lock| lock.is_of(client, attempt));
                if live != Some(attempt) && !is_held && requests.acquire == 0 {
                    requests.raise = 0;
                }
            }
        }
    }
}

/// A small number as a token.
pub(crate) fn token(number: u8) -> FencingToken {
    FencingToken::new(number.into()).expect("it is small")
}

/// A token as the small number it is.
pub(crate) fn number(token: FencingToken) -> u8 {
    u8::try_from(token.get()).expect("it is small")
}
