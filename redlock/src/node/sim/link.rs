//! The way between one handle and its node: straight, or over a network that is late and loses.
//!
//! It behaves as a connection to a real server does. Requests and answers keep their order. What
//! is lost takes everything behind it along, until the client notices: then whatever was under
//! way fails, releases are owed and sent again over the next connection, and nothing else is.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::server::Server;
use crate::clock::Clock;
use crate::error::{Cause, NodeError};
use crate::node::{Reply, Request, Responder};
use crate::restart::Membership;
use crate::standing::Standing;

/// Most requests under way, as with a real node.
const BACKLOG: usize = 16 * 1024;
/// First and longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// What befalls the traffic between one handle and its node. The default is a perfect network
/// without latency.
///
/// ```
/// use std::time::Duration;
/// use redlock::{Redlock, SimNetwork, SimNode};
///
/// let node = SimNode::new("far away");
/// let slow = SimNetwork::new().latency(Duration::from_millis(1)..=Duration::from_millis(9)).loss(0.01);
/// let redlock = Redlock::builder().node(node.over(slow, 42)).build()?;
/// # Ok::<(), redlock::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct SimNetwork {
    latency: RangeInclusive<Duration>,
    request_loss: f64,
    reply_loss: f64,
    duplication: f64,
    notice: Duration,
}

impl Default for SimNetwork {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO..=Duration::ZERO,
            request_loss: 0.0,
            reply_loss: 0.0,
            duplication: 0.0,
            notice: Duration::from_secs(5),
        }
    }
}

impl SimNetwork {
    /// A perfect network without latency.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long every request, and every answer, is under way. Default: not at all.
    pub fn latency(mut self, latency: RangeInclusive<Duration>) -> Self {
        self.latency = latency;
        self
    }

    /// How likely a request is lost, and an answer. Default: never.
    pub fn loss(mut self, probability: f64) -> Self {
        (self.request_loss, self.reply_loss) = (probability, probability);
        self
    }

    /// How likely a request is lost. One is a partition in that direction. Default: never.
    pub fn request_loss(mut self, probability: f64) -> Self {
        self.request_loss = probability;
        self
    }

    /// How likely an answer is lost. One is a partition in that direction. Default: never.
    pub fn reply_loss(mut self, probability: f64) -> Self {
        self.reply_loss = probability;
        self
    }

    /// How likely an answer comes twice. Default: never.
    pub fn duplication(mut self, probability: f64) -> Self {
        self.duplication = probability;
        self
    }

    /// How long it takes at most until a client gives up a connection that is dead. Default: 5 s.
    pub fn notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }
}

/// The way from one handle to its node.
#[derive(Debug)]
pub(super) struct Link {
    name: Arc<str>,
    server: Arc<Mutex<Server>>,
    state: Mutex<State>,
    /// Tells the driver that something has changed.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// What this handle knows of the node; another client's handle has its own.
    standing: Option<Standing>,
    /// Which start of the node the handle has met.
    start: Option<u64>,
    /// `None` where requests are answered as they are sent.
    travel: Option<Travel>,
}

/// Traffic that takes time.
#[derive(Debug)]
struct Travel {
    network: SimNetwork,
    rng: StdRng,
    phase: Phase,
    events: BTreeMap<(Instant, u64), Event>,
    last_id: u64,
    /// Requests without an answer, in the order they were sent.
    sent: BTreeMap<u64, Job>,
    /// Requests for a connection that is coming up.
    waiting: Vec<Job>,
    /// Releases to be sent over the next connection, and until when that makes sense.
    debts: VecDeque<(Request, Instant)>,
    /// When the last request arrives, and the last answer: nothing overtakes.
    clear: (Instant, Instant),
    /// Whether the connection has lost a request, or an answer, and so everything behind it.
    dead: (bool, bool),
    pause: Duration,
    driven: bool,
    closed: bool,
}

/// Where a connection stands, as the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Connecting,
    Up,
    Down(NodeError),
}

#[derive(Debug)]
enum Event {
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
struct Job {
    request: Request,
    /// `None` where nobody waits: a release sent again.
    responder: Option<Responder>,
}

/// Answers to hand over once nothing is locked: collectors run foreign code.
type Answers = Vec<(Option<Responder>, Result<Reply, NodeError>)>;

fn hand_over(answers: Answers) {
    for (responder, answer) in answers {
        if let Some(responder) = responder {
            responder.send(answer);
        }
    }
}

impl Link {
    pub(super) fn straight(name: &Arc<str>, server: &Arc<Mutex<Server>>) -> Arc<Self> {
        Self::new(name, server, None)
    }

    pub(super) fn over(name: &Arc<str>, server: &Arc<Mutex<Server>>, network: SimNetwork, seed: u64) -> Arc<Self> {
        let now = Instant::now();
        let travel = Travel {
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
        };
        let link = Self::new(name, server, Some(travel));
        lock(server).links.push(Arc::downgrade(&link));
        link
    }

    fn new(name: &Arc<str>, server: &Arc<Mutex<Server>>, travel: Option<Travel>) -> Arc<Self> {
        let state = Mutex::new(State { standing: None, start: None, travel });
        Arc::new(Self { name: Arc::clone(name), server: Arc::clone(server), state, changed: Notify::new() })
    }

    pub(super) fn join(&self, membership: &Membership) {
        let mut standing = Standing::new(Clock::tokio());
        standing.join(membership);
        let mut state = self.state();
        (state.standing, state.start) = (Some(standing), None);
    }

    pub(super) fn barred(&self) -> Option<Cause> {
        self.state().standing.as_ref()?.barred(&self.name)
    }

    pub(super) fn send(self: &Arc<Self>, request: Request, responder: Responder) {
        let mut state = self.state();
        if state.travel.is_none() {
            let answer = self.answer_at_once(&mut state, &request);
            drop(state);
            return responder.send(answer);
        }
        let refusal = state.standing.as_ref().and_then(|standing| standing.refusal(&self.name, &request));
        let Some(travel) = &mut state.travel else { return };
        let answers = travel.push(Job { request, responder: Some(responder) }, refusal);
        let start = !travel.closed && !travel.driven;
        if let Ok(runtime) = Handle::try_current()
            && start
        {
            travel.driven = true;
            runtime.spawn(drive(Arc::clone(self)));
        }
        drop(state);
        self.changed.notify_one();
        hand_over(answers);
    }

    fn answer_at_once(&self, state: &mut State, request: &Request) -> Result<Reply, NodeError> {
        let mut server = lock(&self.server);
        if !server.up {
            return Err(NodeError::unsent(Cause::Refused, "the node is stopped"));
        }
        state.meet(&mut server, &self.name);
        if let Some(refusal) = state.standing.as_ref().and_then(|standing| standing.refusal(&self.name, request)) {
            return Err(refusal);
        }
        server.answer(request)
    }

    pub(super) fn set_network(&self, network: SimNetwork) {
        if let Some(travel) = &mut self.state().travel {
            travel.network = network;
        }
    }

    /// Whether nothing is under way, waits or is owed.
    pub(super) fn is_idle(&self) -> bool {
        self.state().travel.as_ref().is_none_or(|travel| {
            travel.sent.is_empty() && travel.waiting.is_empty() && travel.debts.is_empty() && !travel.is_broken()
        })
    }

    /// The node has stopped: the connection ends once the answers that it has sent are here.
    pub(super) fn node_stopped(&self) {
        if let Some(travel) = &mut self.state().travel
            && travel.phase == Phase::Up
        {
            travel.dead.0 = true;
            let at = travel.reply_time();
            travel.at(at, Event::Notice);
        }
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        if let Some(travel) = &mut self.state().travel {
            travel.closed = true;
        }
        self.changed.notify_one();
    }

    /// Does what is due; answers when something will be, or that nothing ever will.
    fn turn(&self) -> Turn {
        loop {
            let mut state = self.state();
            let Some(travel) = &mut state.travel else { return Turn::Over };
            let is_down = matches!(travel.phase, Phase::Down(_));
            if travel.closed && travel.waiting.is_empty() && (travel.sent.is_empty() || is_down) {
                travel.driven = false;
                return Turn::Over;
            }
            let Some(first) = travel.events.first_entry() else { return Turn::Wait(None) };
            if first.key().0 > Instant::now() {
                return Turn::Wait(Some(first.key().0));
            }
            let answers = match first.remove() {
                Event::Connect => self.connect(&mut state),
                Event::Arrive(id) => self.arrive(&mut state, id),
                Event::Answer(id, answer) => {
                    vec![(travel.sent.remove(&id).and_then(|job| job.responder), answer)]
                }
                Event::Again(responder, answer) => vec![(Some(responder), answer)],
                Event::Notice => travel.broke(),
            };
            drop(state);
            hand_over(answers);
        }
    }

    fn connect(&self, state: &mut State) -> Answers {
        let mut server = lock(&self.server);
        let Some(travel) = &mut state.travel else { return Answers::new() };
        let lost = travel.draw(travel.network.request_loss) | travel.draw(travel.network.reply_loss);
        if !server.up || lost {
            return travel.down(NodeError::unsent(Cause::Refused, "no connection comes up"));
        }
        (travel.phase, travel.dead, travel.pause) = (Phase::Up, (false, false), PAUSES.0);
        let now = Instant::now();
        let debts = std::mem::take(&mut travel.debts).into_iter().filter(|(_, until)| *until > now);
        let debts: Vec<_> = debts.map(|(request, _)| Job { request, responder: None }).collect();
        let waiting = std::mem::take(&mut travel.waiting);
        state.start = None;
        state.meet(&mut server, &self.name);
        server.counts.debts_paid += debts.len() as u64;
        let mut answers = Answers::new();
        for job in debts.into_iter().chain(waiting) {
            let refusal = state.standing.as_ref().and_then(|standing| standing.refusal(&self.name, &job.request));
            if let Some(travel) = &mut state.travel {
                answers.extend(travel.push(job, refusal));
            }
        }
        answers
    }

    fn arrive(&self, state: &mut State, id: u64) -> Answers {
        let start = state.start;
        let Some(travel) = &mut state.travel else { return Answers::new() };
        let Some(job) = travel.sent.get(&id) else { return Answers::new() };
        let mut server = lock(&self.server);
        if !server.up || start.is_some_and(|start| start != server.starts) {
            // It reached a machine that does not know this connection any more.
            server.counts.losses += 1;
            return Answers::new();
        }
        let answer = server.answer(&job.request);
        if let (Ok(Reply::Granted { .. }), Request::Acquire { claim, .. }) = (&answer, &job.request) {
            let released =
                |job: &Job| matches!(&job.request, Request::Release { claim: of, .. } if Arc::ptr_eq(of, claim));
            if travel.sent.range(id + 1..).any(|(_, job)| released(job)) {
                server.counts.late_grants += 1;
            }
        }
        if travel.dead.1 || travel.draw(travel.network.reply_loss) {
            server.counts.losses += 1;
            travel.die(|dead| &mut dead.1);
            return Answers::new();
        }
        let twice = travel.draw(travel.network.duplication);
        if twice && let Some(responder) = travel.sent[&id].responder.as_ref().map(Responder::again) {
            server.counts.duplicates += 1;
            let at = travel.reply_time();
            travel.at(at, Event::Answer(id, answer.clone()));
            let at = travel.reply_time();
            travel.at(at, Event::Again(responder, answer));
        } else {
            let at = travel.reply_time();
            travel.at(at, Event::Answer(id, answer));
        }
        Answers::new()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Meets the node as a new connection would, where it was started anew.
    fn meet(&mut self, server: &mut Server, name: &str) {
        if let Some(standing) = &mut self.standing
            && self.start != Some(server.starts)
        {
            standing.connected(name, Some(&server.info()));
        }
        self.start = Some(server.starts);
    }
}

impl Travel {
    /// Sends a request, or says why not.
    fn push(&mut self, job: Job, refusal: Option<NodeError>) -> Answers {
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
    fn reply_time(&mut self) -> Instant {
        self.clear.1 = self.clear.1.max(Instant::now() + self.delay());
        self.clear.1
    }

    /// From here on one direction carries nothing; the client notices later.
    fn die(&mut self, direction: fn(&mut (bool, bool)) -> &mut bool) {
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

    fn is_broken(&self) -> bool {
        self.is_dead() || matches!(self.phase, Phase::Down(_) | Phase::Connecting)
    }

    /// The client gives the connection up: what is under way fails, and what is owed is
    /// remembered.
    fn broke(&mut self) -> Answers {
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
    fn down(&mut self, error: NodeError) -> Answers {
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

    fn at(&mut self, time: Instant, event: Event) {
        self.last_id += 1;
        self.events.insert((time, self.last_id), event);
    }

    fn delay(&mut self) -> Duration {
        self.rng.random_range(self.network.latency.clone())
    }

    fn draw(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }
}

/// What the driver does next.
enum Turn {
    Wait(Option<Instant>),
    Over,
}

/// Moves what is under way, in tokio's time.
async fn drive(link: Arc<Link>) {
    while let Turn::Wait(until) = link.turn() {
        tokio::select! {
            biased;
            () = link.changed.notified() => {}
            () = sleep_until(until) => {}
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

pub(super) fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
