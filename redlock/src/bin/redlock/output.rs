//! What is printed, for people or for programs. Never a password: nodes are called by their names,
//! which have none.

use std::io::{self, Write as _};
use std::time::Duration;

use redlock::{Cause, NodeFailure};
use serde_json::{Value, json};

use crate::status::Failure;

/// Where answers and messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// JSON, one object a line, or text.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// The answer to what was asked: on standard output, in one of its two forms.
    pub(crate) fn answer(self, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) {
        let line = if self.json { value().to_string() } else { text() };
        let _ = writeln!(self.stdout(), "{line}");
    }

    /// Something that happened meanwhile, for programs: on standard error, because standard output
    /// belongs to the command that is run.
    pub(crate) fn event(self, event: &str, mut value: Value) {
        if self.json {
            value["event"] = json!(event);
            complain(&value.to_string());
        }
    }

    /// Something that people should know and that is no failure.
    pub(crate) fn warn(self, message: &str) {
        if self.json {
            self.event("warning", json!({ "message": message }));
        } else {
            complain(&format!("redlock: {message}"));
        }
    }

    /// Why the process ends.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let mut value = Value::Object(failure.details.clone());
            value["code"] = json!(failure.code);
            value["status"] = json!(failure.status);
            value["message"] = json!(failure.message);
            self.event("error", value);
        } else {
            complain(&format!("redlock: {}", failure.message));
        }
    }

    /// Standard output; a reader who has gone is no error.
    pub(crate) fn stdout(self) -> impl io::Write {
        Forgiving(io::stdout())
    }
}

/// The reader of standard error may have gone too.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Takes what nobody reads any more.
struct Forgiving(io::Stdout);

impl io::Write for Forgiving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// A node that failed.
pub(crate) fn node_failure(failure: &NodeFailure) -> Value {
    let mut value = cause(&failure.cause);
    value["node"] = json!(failure.node);
    value["detail"] = json!(failure.detail);
    value
}

/// Why, in a word that stays, with what belongs to it.
pub(crate) fn cause(cause: &Cause) -> Value {
    let word = match cause {
        Cause::Timeout => "timeout",
        Cause::Refused => "refused",
        Cause::Auth => "auth",
        Cause::WrongType => "wrong_type",
        Cause::Quarantined { remaining } => {
            return json!({ "cause": "quarantined", "remaining_ms": millis(*remaining) });
        }
        Cause::SameServer { other, .. } => return json!({ "cause": "same_server", "other": other }),
        Cause::Replica => "replica",
        Cause::Backlog => "backlog",
        Cause::InvalidResource => "invalid_resource",
        _ => "protocol",
    };
    json!({ "cause": word })
}

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A lock's value: ours are printable, foreign ones are any bytes.
pub(crate) fn value(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// A time as people read it, without the digits that nobody needs.
pub(crate) fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
