//! The first round of a manager, in which every node says who it is. It is everybody's, so that nobody
//! depends on whoever happened to begin it being polled on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::node::Request;
use crate::round::{Aftermath, Asked, Nodes, Round};

/// Whether every node has been met, or has had its time.
#[derive(Clone, Default)]
pub(crate) struct Meeting {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    begun: AtomicBool,
    over: AtomicBool,
    ended: Notify,
}

impl Meeting {
    pub(crate) fn is_over(&self) -> bool {
        self.state.over.load(Ordering::Acquire)
    }

    /// Asks every node, if nobody has yet, and waits for their answers, at most so long: then it is over for
    /// everybody.
    pub(crate) async fn hold(&self, nodes: &Nodes, limit: Duration) {
        let mut ended = std::pin::pin!(self.state.ended.notified());
        ended.as_mut().enable();
        if !self.state.begun.swap(true, Ordering::AcqRel) {
            let all_answered = Box::new(AllAnswered { meeting: self.clone() });
            Round::ask_and_then(nodes, Some(all_answered), |_| Asked::Request(Request::Info));
        }
        if !self.is_over() {
            let _ = tokio::time::timeout(limit, ended).await;
            self.end();
        }
    }

    fn end(&self) {
        self.state.over.store(true, Ordering::Release);
        self.state.ended.notify_waiters();
    }
}

/// Dropped by the round when every node has answered.
struct AllAnswered {
    meeting: Meeting,
}

impl Aftermath for AllAnswered {
    fn decided(&mut self, _listeners: usize) {}
}

impl Drop for AllAnswered {
    fn drop(&mut self) {
        self.meeting.end();
    }
}
