//! What can be asked for on the command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use redlock::RestartGuard;

const ALLOWED_TIMES: &str = "allowed are times with a unit, such as 500ms, 10s, 5m or 1h30m";
const ALLOWED_GUARDS: &str = "allowed are max-ttl, off and whole seconds from 1 to 86400";

/// Fault-tolerant locks over independent Redis nodes, for shells and cron.
#[derive(Debug, Parser)]
#[command(name = "redlock", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Inspect(Inspect),
    Release(Release),
    Preflight(Preflight),
    /// Print the completions of a shell.
    Completions {
        /// Which one.
        shell: Shell,
    },
}

impl Command {
    /// Whether programs read the output.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(run) => run.nodes.json,
            Self::Inspect(inspect) => inspect.nodes.json,
            Self::Release(release) => release.nodes.json,
            Self::Preflight(preflight) => preflight.nodes.json,
            Self::Completions { .. } => false,
        }
    }
}

/// Run a command under a lock.
///
/// The lock is renewed for as long as the command runs and released when it ends. The command finds
/// the fencing token in REDLOCK_FENCE and the resource in REDLOCK_RESOURCE (several: one a line).
///
/// If the lock is lost, the command and every process descended from it get SIGTERM, and SIGKILL
/// after the grace. What the command leaves running in the background when it ends by itself is left
/// alone, and no longer under the lock.
///
/// HUP, INT, QUIT, TERM, USR1, USR2, TSTP and CONT are passed on. In the foreground of a terminal the
/// command keeps the terminal, which sends it Ctrl-C and Ctrl-\ itself; INT and QUIT are then not
/// passed on a second time. A redlock that is killed by SIGKILL cannot end its command: that is what
/// the fencing token is for.
///
/// Exit status: the command's; 128 + n if it was ended by signal n; 75 if somebody else holds the
/// lock; 69 if no quorum of nodes answers; 76 if the lock was lost; 64 for options and variables that
/// cannot be used; 126 or 127 if the command cannot be started or found.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What to lock; give it again for several, which are locked all or none.
    #[arg(long = "resource", short = 'r', value_name = "NAME", required = true)]
    pub(crate) resources: Vec<String>,
    /// Lease time: how long the lock outlives a redlock that vanishes.
    #[arg(long, default_value = "10s", value_parser = time, value_name = "TIME")]
    pub(crate) ttl: Duration,
    /// How long to wait for the lock: a time, 0 for one attempt, or forever.
    #[arg(long, default_value = "15s", value_parser = patience, value_name = "TIME")]
    pub(crate) wait: Patience,
    /// How long the lock may be held; then it is lost. Unlimited unless given.
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(crate) max_hold: Option<Duration>,
    /// How long the command may take to end after a loss, before it is killed; 0 kills at once.
    #[arg(long, default_value = "3s", value_parser = time, value_name = "TIME")]
    pub(crate) grace: Duration,
    /// Readable start of the value on the nodes, shown by `inspect`; host:pid unless given.
    #[arg(long, value_name = "TEXT")]
    pub(crate) owner: Option<String>,
    #[command(flatten)]
    pub(crate) nodes: NodeOptions,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Show who holds a resource, node by node, without locking it.
///
/// Exit status: 0 if a quorum of nodes answered, free or not; else 69.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The resource.
    #[arg(value_name = "NAME")]
    pub(crate) resource: String,
    #[command(flatten)]
    pub(crate) nodes: NodeOptions,
}

/// Take a lock away from whoever holds it, and show whose it was.
///
/// On each node the value that was seen there is compared and deleted, so that a lock taken in the
/// meantime stays. The holder is not told: it finds out at its next renewal, and may be working
/// until then.
///
/// Exit status: 0 if nothing of what was seen is left on a quorum of nodes, also if the resource was
/// free; 75 if somebody else took it meanwhile; 69 if no quorum of nodes answers.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The resource.
    #[arg(value_name = "NAME")]
    pub(crate) resource: String,
    /// Yes, whoever it belongs to.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) nodes: NodeOptions,
}

/// Show what every node is, whether it votes, and what should be mended.
///
/// Exit status: 0 if a quorum of nodes votes, else 69.
#[derive(Debug, Args)]
pub(crate) struct Preflight {
    #[command(flatten)]
    pub(crate) nodes: NodeOptions,
}

/// Which nodes, and how they are spoken to.
#[derive(Debug, Args)]
pub(crate) struct NodeOptions {
    /// Lock nodes: redis://, rediss:// or unix:// URLs, separated by commas. REDLOCK_NODES unless
    /// given, which other users of the machine cannot read.
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    pub(crate) nodes: Vec<String>,
    /// Put before resource names to make keys: empty and `redlock:` are the two families.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) key_prefix: String,
    /// How long a node may take to answer, its connection included.
    #[arg(long, default_value = "500ms", value_parser = time, value_name = "TIME")]
    pub(crate) node_timeout: Duration,
    /// The longest lease that any client of these nodes takes, the same in all of them; the ttl
    /// unless given.
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(crate) max_ttl: Option<Duration>,
    /// How long a restarted node does not vote: max-ttl, off, or seconds. REDLOCK_RESTART_GUARD, else
    /// max-ttl, unless given.
    #[arg(long, value_parser = restart_guard, value_name = "GUARD")]
    pub(crate) restart_guard: Option<RestartGuard>,
    /// Print JSON, one object a line: answers on standard output, events and errors on standard
    /// error.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long to wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// One attempt.
    Once,
    /// So long.
    For(Duration),
    /// Until it comes.
    Forever,
}

fn patience(text: &str) -> Result<Patience, String> {
    match text {
        "forever" => Ok(Patience::Forever),
        "0" => Ok(Patience::Once),
        _ => match time(text) {
            Ok(Duration::ZERO) => Ok(Patience::Once),
            Ok(time) => Ok(Patience::For(time)),
            Err(error) => Err(format!("{error}, 0, and forever")),
        },
    }
}

fn time(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; {ALLOWED_TIMES}"))
}

/// A restart guard by its text.
///
/// # Errors
///
/// What is allowed.
pub(crate) fn restart_guard(text: &str) -> Result<RestartGuard, String> {
    match (text, text.parse()) {
        ("max-ttl", _) => Ok(RestartGuard::MaxTtl),
        ("off", _) => Ok(RestartGuard::Off),
        (_, Ok(seconds @ 1..=86_400)) => Ok(RestartGuard::For(Duration::from_secs(seconds))),
        _ => Err(ALLOWED_GUARDS.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn waits_are_read() {
        assert_eq!(patience("0"), Ok(Patience::Once));
        assert_eq!(patience("0s"), Ok(Patience::Once));
        assert_eq!(patience("1m 30s"), Ok(Patience::For(Duration::from_secs(90))));
        assert_eq!(patience("forever"), Ok(Patience::Forever));
        // A bare number could mean seconds or milliseconds; locks have been lost over that.
        assert!(patience("15").unwrap_err().contains("allowed are"));
    }
}
