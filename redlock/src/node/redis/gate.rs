//! Wake-ups for whoever polls a connection: a poll that causes its own wake-ups would otherwise
//! have the driver scheduled once more for each of them, on another thread, for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Nobody polls: a wake-up is for the driver.
const OPEN: u8 = 0;
/// Somebody polls.
const POLLING: u8 = 1;
/// Somebody polls, and has to poll once more.
const AGAIN: u8 = 2;

/// The way of wake-ups to the driver of one connection.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: AtomicU8,
    driver: AtomicWaker,
}

impl Gate {
    /// Says whom to wake while nobody polls.
    pub(super) fn watch(&self, driver: &Waker) {
        self.driver.register(driver);
    }

    /// Polling begins, or begins anew: what wakes from now on wakes us.
    pub(super) fn close(&self) {
        self.state.store(POLLING, Ordering::SeqCst);
    }

    /// Polling ends, unless there is a reason to poll again; whether it ends.
    pub(super) fn open(&self) -> bool {
        self.state.compare_exchange(POLLING, OPEN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Polling ends, whatever reason there is to poll again: the connection is of no more use.
    pub(super) fn leave(&self) {
        self.state.store(OPEN, Ordering::SeqCst);
    }

    /// Wakes the driver, or whoever does its work now.
    pub(super) fn wake(&self) {
        let polling = self.state.compare_exchange(POLLING, AGAIN, Ordering::SeqCst, Ordering::SeqCst);
        if polling == Err(OPEN) {
            self.driver.wake();
        }
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Self::wake(self);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_polls_is_told_and_the_driver_is_not() {
        let (gate, count) = (Arc::new(Gate::default()), Arc::new(Count::default()));
        gate.watch(&Waker::from(Arc::clone(&count)));
        gate.close();
        Waker::from(Arc::clone(&gate)).wake();
        assert!(!gate.open(), "once more");
        gate.close();
        assert!(gate.open());
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        Waker::from(gate).wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn who_leaves_a_broken_connection_can_wake_the_driver() {
        let (gate, count) = (Arc::new(Gate::default()), Arc::new(Count::default()));
        gate.watch(&Waker::from(Arc::clone(&count)));
        gate.close();
        Gate::wake(&gate);
        gate.leave();
        Gate::wake(&gate);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
