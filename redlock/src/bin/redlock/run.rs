//! `redlock run`: a command that runs for as long as a lock is held, and no longer.

use std::time::Duration;

use redlock::{Guard, LockError, LossReason, Redlock, Released};
use serde_json::json;

use crate::child::Child;
use crate::options::{Patience, Run};
use crate::output::{self, Output};
use crate::settings::Urls;
use crate::signals::{self, Signals};
use crate::status::{Failure, by_signal};

/// How long releases may travel after the command has ended; a node that is down would otherwise
/// hold up the exit, and the key ends with its ttl.
const CLOSING: Duration = Duration::from_millis(500);

pub(crate) async fn run(options: &Run, output: Output) -> Result<u8, Failure> {
    let urls = Urls::read(&options.nodes)?;
    let redlock = urls.manager(&options.nodes, |builder| {
        let builder = builder.ttl(options.ttl);
        match &options.owner {
            Some(owner) => builder.owner(owner),
            None => builder,
        }
    })?;
    let outcome = under_the_lock(&redlock, options, output).await;
    redlock.close(CLOSING).await;
    outcome
}

async fn under_the_lock(redlock: &Redlock, options: &Run, output: Output) -> Result<u8, Failure> {
    let in_foreground = signals::in_foreground();
    let mut signals = Signals::ending()?;
    let guard = tokio::select! {
        biased;
        // Dropped half-way, the attempt takes back what it has sent.
        signal = signals.next() => return Ok(by_signal(signal.as_raw())),
        guard = acquire(redlock, options) => guard?,
    };
    output.event("acquired", json!({ "resources": options.resources, "fence": guard.fence().get() }));
    signals.pass_on_more(in_foreground)?;
    let mut child = Child::start(&options.command, &environment(options, &guard), in_foreground)?;
    let ended = tokio::select! {
        biased;
        // First: if the command ends and the lock is lost at the same moment, it is lost.
        reason = guard.lost() => Err(reason),
        status = child.attended(&mut signals, in_foreground) => Ok(status),
    };
    match ended {
        Err(reason) => Err(lost(options, reason, &mut child, output).await),
        Ok(Ok(status)) => release(guard, options, status, output).await,
        // The lock is about to go, so the command must.
        Ok(Err(failure)) => {
            child.end(options.grace).await;
            Err(failure)
        }
    }
}

async fn acquire(redlock: &Redlock, options: &Run) -> Result<Guard, LockError> {
    let request = match options.wait {
        Patience::Once => redlock.try_lock(options.resources.clone()),
        Patience::For(wait) => redlock.lock(options.resources.clone()).wait(wait),
        Patience::Forever => redlock.lock(options.resources.clone()).wait(None),
    };
    match options.max_hold {
        Some(max_hold) => request.max_hold(max_hold).await,
        None => request.await,
    }
}

fn environment(options: &Run, guard: &Guard) -> [(&'static str, String); 2] {
    [("REDLOCK_FENCE", guard.fence().to_string()), ("REDLOCK_RESOURCE", options.resources.join("\n"))]
}

/// Ends the command, with everything it has started.
async fn lost(options: &Run, reason: LossReason, child: &mut Child, output: Output) -> Failure {
    let message = format!("the lock was lost ({reason}); ending the command");
    output.warn(&message);
    let what = if child.end(options.grace).await {
        "the command was ended"
    } else {
        "the command was killed and is not gone yet"
    };
    Failure::lost(&options.resources.join(", "), reason, what)
}

/// The command's own status, unless the lock turns out to have been lost before it ended.
async fn release(guard: Guard, options: &Run, status: u8, output: Output) -> Result<u8, Failure> {
    let lasting = guard.validity();
    match guard.release().await {
        Ok(Released::Released) => {}
        Ok(Released::AlreadyExpired) => {
            let what = format!("the command had ended by itself, with status {status}");
            let failure = Failure::lost(&options.resources.join(", "), LossReason::Quorum, &what);
            return Err(failure.with("command_status", json!(status)));
        }
        Ok(Released::Unconfirmed) => {
            let left = output::shown(lasting);
            output.warn(&format!("no quorum of nodes confirmed the release; the lock ends in {left} at the latest"));
        }
        Err(error) => output.warn(&format!("the release failed: {error}")),
    }
    output.event("released", json!({ "command_status": status }));
    Ok(status)
}
