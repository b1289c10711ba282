//! What is under way between one handle and its node, and in what order it gets there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::network::SimNetwork;
use crate::error::{Cause, NodeError};
use crate::node::{Reply, Request, Responder};

/// Most requests under way, as with a real node.
const BACKLOG: usize = 16 * 1024;
/// First and longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Traffic that takes time.
#[derive(Debug)]
pub(super) struct Travel {
    pub(super) network: SimNetwork,
    rng: StdRng,
    pub(super) phase: Phase,
    pub(super) events: BTreeMap<(Instant, u64), Event>,
    last_id: u64,
    /// Requests without an answer, in the order they were sent.
    pub(super) sent: BTreeMap<u64, Job>,
    /// Requests for a connection that is coming up.
    pub(super) waiting: Vec<Job>,
    /// Releases to be sent over the next connection, and until when that makes sense.
    pub(super) debts: VecDeque<(Request, Instant)>,
    /// When the last request arrives, and the last answer: nothing overtakes.
    clear: (Instant, Instant),
    /// Whether the connection has lost a request, or an answer, and so everything behind it.
    pub(super) dead: (bool, bool),
    pub(super) pause: Duration,
    pub(super) driven: bool,
    pub(super) closed: bool,
}

/// Where a connection stands, as the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Connecting,
    Up,
    Down(NodeError),
}

#[derive(Debug)]
pub(super) enum Event {
    /// A connection comes up, or fails to.
    Connect,
    /// Request so-and-so reaches the node.
    Arrive(u64),
    /// Its answer reaches the client.
    Answer(u64, Result<Reply, NodeError>),
    /// And once more.
    Again(Responder, Result<Reply, NodeError>),
    /// The client notices that the connection is dead.
    Notice,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    /// `None` where nobody waits: a release sent again.
    pub(super) responder: Option<Responder>,
}

/// Answers to hand over once nothing is locked: collectors run foreign code.
pub(super) type Answers = Vec<(Option<Responder>, Result<Reply, NodeError>)>;

pub(super) fn hand_over(answers: Answers) {
    for (responder, answer) in answers {
        if let Some(responder) = responder {
            responder.send(answer);
        }
    }
}

impl Travel {
    pub(super) fn new(network: SimNetwork, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            network,
            rng: StdRng::seed_from_u64(seed),
            phase: Phase::New,
            events: BTreeMap::new(),
            last_id: 0,
            sent: BTreeMap::new(),
            waiting: Vec::new(),
            debts: VecDeque::new(),
            clear: (now, now),
            dead: (false, false),
            pause: PAUSES.0,
            driven: false,
            closed: false,
        }
    }

    /// A connection has come up.
    pub(super) fn up(&mut self) {
        (self.phase, self.dead, self.pause) = (Phase::Up, (false, false), PAUSES.0);
    }

    /// Sends a request, or says why not.
    pub(super) fn push(&mut self, job: Job, refusal: Option<NodeError>) -> Answers {
        let is_release = matches!(job.request, Request::Release { .. });
        let full = self.sent.len() + self.waiting.len() >= BACKLOG && !is_release;
        let refusal = match &self.phase {
            Phase::Down(error) => Some(error.clone()),
            _ if full => Some(NodeError::unsent(Cause::Backlog, "too many requests wait already")),
            _ => refusal,
        };
        if let Some(error) = refusal {
            self.owe(&job.request);
            return vec![(job.responder, Err(error))];
        }
        match self.phase {
            Phase::New => {
                self.phase = Phase::Connecting;
                self.waiting.push(job);
                let at = self.reply_time() + self.delay();
                self.at(at, Event::Connect);
            }
            Phase::Connecting => self.waiting.push(job),
            _ => self.depart(job),
        }
        Answers::new()
    }

    /// A request leaves.
    fn depart(&mut self, job: Job) {
        self.last_id += 1;
        let id = self.last_id;
        self.sent.insert(id, job);
        if self.dead.0 || self.draw(self.network.request_loss) {
            self.die(|dead| &mut dead.0);
            return;
        }
        self.clear.0 = self.clear.0.max(Instant::now() + self.delay());
        self.at(self.clear.0, Event::Arrive(id));
    }

    /// When an answer that leaves now is here.
    pub(super) fn reply_time(&mut self) -> Instant {
        self.clear.1 = self.clear.1.max(Instant::now() + self.delay());
        self.clear.1
    }

    /// From here on one direction carries nothing; the client notices later.
    pub(super) fn die(&mut self, direction: fn(&mut (bool, bool)) -> &mut bool) {
        let was_dead = self.is_dead();
        *direction(&mut self.dead) = true;
        if !was_dead {
            let notice = self.rng.random_range(Duration::ZERO..=self.network.notice);
            self.at(Instant::now() + notice, Event::Notice);
        }
    }

    fn is_dead(&self) -> bool {
        self.dead.0 || self.dead.1
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_dead() || matches!(self.phase, Phase::Down(_) | Phase::Connecting)
    }

    /// The client gives the connection up: what is under way fails, and what is owed is
    /// remembered.
    pub(super) fn broke(&mut self) -> Answers {
        if self.phase != Phase::Up {
            return Answers::new();
        }
        let events = std::mem::take(&mut self.events).into_values();
        let lost = NodeError::new(Cause::Refused, "the connection broke");
        let sent = std::mem::take(&mut self.sent);
        sent.values().for_each(|job| self.owe(&job.request));
        let mut answers: Answers = sent.into_values().map(|job| (job.responder, Err(lost.clone()))).collect();
        // Dropped under our lock they would call their collectors there.
        answers.extend(events.filter_map(|event| match event {
            Event::Again(responder, answer) => Some((Some(responder), answer)),
            _ => None,
        }));
        answers.extend(self.down(NodeError::unsent(Cause::Refused, "no connection")));
        answers
    }

    /// Nothing can be sent until a connection comes up.
    pub(super) fn down(&mut self, error: NodeError) -> Answers {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.iter().for_each(|job| self.owe(&job.request));
        let answers = waiting.into_iter().map(|job| (job.responder, Err(error.clone()))).collect();
        (self.phase, self.dead) = (Phase::Down(error), (false, false));
        let pause = self.rng.random_range(self.pause / 2..=self.pause);
        self.pause = (self.pause * 2).min(PAUSES.1);
        let at = Instant::now() + pause + self.delay() + self.delay();
        self.at(at, Event::Connect);
        answers
    }

    fn owe(&mut self, request: &Request) {
        if let Request::Release { ttl, .. } = request {
            self.debts.push_back((request.clone(), Instant::now() + *ttl));
        }
    }

    /// How many releases are owed to the node, those included that are on their way again.
    pub(super) fn owed(&self) -> usize {
        let now = Instant::now();
        let on_their_way = self.sent.values().chain(&self.waiting).filter(|job| job.responder.is_none());
        self.debts.iter().filter(|(_, until)| *until > now).count() + on_their_way.count()
    }

    pub(super) fn at(&mut self, time: Instant, event: Event) {
        self.last_id += 1;
        self.events.insert((time, self.last_id), event);
    }

    fn delay(&mut self) -> Duration {
        self.rng.random_range(self.network.latency.clone())
    }

    pub(super) fn draw(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }
}
