//! Signals that this process gets and its child should have.

use std::io;
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::status::Failure;

/// End a process that is waiting for its lock; passed on once there is a child.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
/// Have a meaning for the child alone.
const FOR_THE_CHILD: [Signal; 2] = [Signal::USR1, Signal::USR2];
/// Stop and continue. In the foreground the terminal sends them to everybody, so they are left alone.
const JOB_CONTROL: [Signal; 2] = [Signal::TSTP, Signal::CONT];

/// What is listened for.
pub(crate) struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// Those that end a process.
    pub(crate) fn ending() -> Result<Self, Failure> {
        let mut signals = Self { streams: Vec::new() };
        signals.listen(&ENDING)?;
        Ok(signals)
    }

    /// From now on also those that only a child can make sense of.
    pub(crate) fn pass_on_more(&mut self, in_foreground: bool) -> Result<(), Failure> {
        self.listen(&FOR_THE_CHILD)?;
        if in_foreground { Ok(()) } else { self.listen(&JOB_CONTROL) }
    }

    /// The next one.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: what has not been returned is still there.
    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let arrived = self.streams.iter_mut().find_map(|(signal, stream)| {
                // A stream ends with its runtime, and we end before that.
                stream.poll_recv(context).is_ready().then_some(*signal)
            });
            arrived.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn listen(&mut self, signals: &[Signal]) -> Result<(), Failure> {
        let ignored = ignored();
        // Whoever started us under `nohup`, or in the background of a script, wants them ignored by
        // the child too, which inherits that unless we listen.
        for signal in signals.iter().filter(|signal| ignored & (1 << (signal.as_raw() - 1)) == 0) {
            let stream = unix::signal(SignalKind::from_raw(signal.as_raw()));
            let stream = stream.map_err(|error| Failure::system("signals cannot be listened for", &error))?;
            self.streams.push((*signal, stream));
        }
        Ok(())
    }
}

/// The signals that this process was started to ignore, a bit each; none where that cannot be seen.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether this process is in the foreground of a terminal: what is typed there goes to its whole
/// process group.
pub(crate) fn in_foreground() -> bool {
    let foreground = || -> io::Result<_> { Ok(rustix::termios::tcgetpgrp(std::fs::File::open("/dev/tty")?)?) };
    foreground().is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Whether the terminal has sent `signal` to the child already.
pub(crate) fn sent_by_terminal(signal: Signal, in_foreground: bool) -> bool {
    in_foreground && (signal == Signal::INT || signal == Signal::QUIT)
}
