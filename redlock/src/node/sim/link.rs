//! The way between one handle and its node: straight, or over a network that is late and loses.
//!
//! It behaves as a connection to a real server does. Requests and answers keep their order. What
//! is lost takes everything behind it along, until the client notices: then whatever was under
//! way fails, releases are owed and sent again over the next connection, and nothing else is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::network::SimNetwork;
use super::server::Server;
use super::travel::{Answers, Event, Job, Phase, Travel, hand_over};
use crate::clock::Clock;
use crate::error::{Cause, NodeError};
use crate::node::{Ear, Listening, Reply, Request, Responder};
use crate::restart::Membership;
use crate::standing::Standing;

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

impl Link {
    pub(super) fn straight(name: &Arc<str>, server: &Arc<Mutex<Server>>) -> Arc<Self> {
        Self::new(name, server, None)
    }

    pub(super) fn over(name: &Arc<str>, server: &Arc<Mutex<Server>>, network: SimNetwork, seed: u64) -> Arc<Self> {
        let travel = Travel::new(network, seed);
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

    pub(super) fn listen(&self, keys: &[String], ear: &Ear) -> Listening {
        let id = lock(&self.server).listen(self.address(), keys, ear.clone());
        ear.listening();
        Listening::until_dropped(Listener { server: Arc::clone(&self.server), id })
    }

    /// Tells this handle from others.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn barred(&self) -> Option<Cause> {
        self.state().standing.as_ref()?.barred(&self.name)
    }

    pub(super) fn send(self: &Arc<Self>, request: Request, responder: Responder) {
        let mut state = self.state();
        if state.travel.is_none() {
            let answer = self.answer_at_once(&mut state, &request);
            drop(state);
            responder.send(answer);
            return tell(&self.server);
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
        server.answer(self.address(), request)
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

    /// How many releases the node still has to be told.
    pub(super) fn owed(&self) -> usize {
        self.state().travel.as_ref().map_or(0, Travel::owed)
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
            tell(&self.server);
        }
    }

    fn connect(&self, state: &mut State) -> Answers {
        let mut server = lock(&self.server);
        let Some(travel) = &mut state.travel else { return Answers::new() };
        let lost = travel.draw(travel.network.request_loss) | travel.draw(travel.network.reply_loss);
        if !server.up || lost {
            return travel.down(NodeError::unsent(Cause::Refused, "no connection comes up"));
        }
        travel.up();
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
        let answer = server.answer(self.address(), &job.request);
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

/// Tells those who listen what they are to hear. It reaches them at once: a hint that comes late is
/// no other than one that comes in time for another release.
fn tell(server: &Mutex<Server>) {
    let heard = std::mem::take(&mut lock(server).heard);
    heard.iter().for_each(|(ear, by)| ear.released(by.as_bytes()));
}

/// Somebody who listens.
struct Listener {
    server: Arc<Mutex<Server>>,
    id: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.server).unlisten(self.id);
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
