//! Requests to one script call, and the script's values back to replies.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, Script, Value};

use super::info;
use crate::error::{Cause, NodeError};
use crate::fencing::{FencingToken, MAX_TOKEN};
use crate::node::{KeyState, Reply, Request, millis};
use crate::resource::Claim;

/// How long a counter lives after its last use; no lease is longer.
const COUNTER_TTL: Duration = crate::validity::MAX_TTL;

/// The operations: their names, and the blocks of the script that carry them out. Those that come
/// first are found first.
const OPERATIONS: [(&str, &str); 7] = [
    ("acquire", include_str!("acquire.lua")),
    ("release", include_str!("release.lua")),
    ("extend", include_str!("extend.lua")),
    ("raise", include_str!("raise.lua")),
    ("heal", include_str!("heal.lua")),
    ("inspect", include_str!("inspect.lua")),
    ("info", include_str!("info.lua")),
];

/// All operations are one script, so that a call can carry any sequence of them: what a node spends
/// on a call is more than what it spends on most operations.
static SOURCE: LazyLock<String> = LazyLock::new(|| {
    let mut source = format!("local COUNTER_TTL, MAX_TOKEN = '{}', {MAX_TOKEN}\n", millis(COUNTER_TTL));
    let blocks = OPERATIONS.map(|(name, block)| format!("operation == '{name}' then\n{block}"));
    let chain = format!("if {} end", blocks.join("elseif "));
    source.push_str(&include_str!("batch.lua").replace("--OPERATIONS--", &chain));
    source
});

/// The script, with the hash it is called by.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&SOURCE));

/// The script's text.
pub(super) fn source() -> &'static str {
    &SOURCE
}

/// The command that makes the script known to a node.
pub(super) fn load() -> Cmd {
    let mut command = redis::cmd("SCRIPT");
    command.arg("LOAD").arg(SOURCE.as_str());
    command
}

/// The command that carries out `requests`, in order.
pub(super) fn call<'a>(requests: impl Iterator<Item = &'a Request> + Clone) -> Cmd {
    let keys = requests.clone().map(|request| lock_keys(request).len() + counters(request).len()).sum::<usize>();
    let mut command = redis::cmd("EVALSHA");
    command.arg(SCRIPT.get_hash()).arg(keys);
    for request in requests.clone() {
        command.arg(lock_keys(request)).arg(counters(request));
    }
    for request in requests {
        add_arguments(&mut command, request);
    }
    command
}

/// How many lock keys `request` is about.
pub(super) fn weight(request: &Request) -> usize {
    lock_keys(request).len()
}

fn claim(request: &Request) -> Option<&Claim> {
    match request {
        Request::Acquire { claim, .. }
        | Request::Raise { claim, .. }
        | Request::Extend { claim, .. }
        | Request::Heal { claim, .. }
        | Request::Release { claim, .. } => Some(claim),
        Request::Inspect { .. } | Request::Info => None,
    }
}

fn lock_keys(request: &Request) -> &[String] {
    match request {
        Request::Inspect { keys } => keys,
        request => claim(request).map_or(&[], Claim::keys),
    }
}

fn counters(request: &Request) -> &[String] {
    match request {
        Request::Release { .. } => &[],
        request => claim(request).map_or(&[], Claim::counters),
    }
}

fn add_arguments(command: &mut Cmd, request: &Request) {
    let name = match request {
        Request::Acquire { .. } => "acquire",
        Request::Raise { .. } => "raise",
        Request::Extend { .. } => "extend",
        Request::Heal { .. } => "heal",
        Request::Release { .. } => "release",
        Request::Inspect { .. } => "inspect",
        Request::Info => "info",
    };
    command.arg(name).arg(weight(request));
    if let Some(claim) = claim(request) {
        command.arg(claim.value());
    }
    match request {
        Request::Acquire { ttl, proposal, span, .. } => {
            command.arg(millis(*ttl)).arg(proposal.get()).arg(*span);
        }
        Request::Raise { token, .. } => {
            command.arg(token.get());
        }
        Request::Extend { ttl, token, .. } | Request::Heal { ttl, token, .. } => {
            command.arg(millis(*ttl)).arg(token.get());
        }
        Request::Release { by, .. } => {
            command.arg(by.as_deref().unwrap_or_default());
        }
        Request::Inspect { .. } | Request::Info => {}
    }
}

/// What the node's `value` means as the answer to `request`.
pub(super) fn reply(request: &Request, value: &Value) -> Result<Reply, NodeError> {
    match (request, value) {
        (_, Value::Array(values)) if values.len() == 1 => Err(refused(&values[0])),
        (Request::Acquire { .. }, Value::BulkString(token)) => granted(token, value),
        (Request::Acquire { .. }, Value::Int(left)) => Ok(Reply::Held { remaining: remaining(*left) }),
        (Request::Release { .. }, Value::Int(heard @ 1..)) => {
            Ok(Reply::Released { listeners: usize::try_from(heard - 1).unwrap_or(usize::MAX) })
        }
        (
            Request::Raise { .. } | Request::Extend { .. } | Request::Heal { .. } | Request::Release { .. },
            Value::Int(0),
        ) => Ok(Reply::NotHeld),
        (Request::Raise { .. } | Request::Extend { .. } | Request::Heal { .. }, Value::Int(1)) => Ok(Reply::Done),
        (Request::Inspect { .. }, Value::Array(values)) => key_states(values),
        (Request::Info, Value::Nil) => Ok(Reply::Info(None)),
        (Request::Info, Value::Array(values)) => match info::parse(values) {
            Some(info) => Ok(Reply::Info(Some(Box::new(info)))),
            None => Err(unexpected(value)),
        },
        (_, value) => Err(unexpected(value)),
    }
}

/// The error that one operation of a call ended with.
fn refused(text: &Value) -> NodeError {
    let Value::BulkString(text) = text else {
        return unexpected(text);
    };
    let text = String::from_utf8_lossy(text);
    let code = text.split(' ').next().unwrap_or_default();
    NodeError::new(cause_of_code(code).unwrap_or(Cause::Protocol), text)
}

fn granted(token: &[u8], value: &Value) -> Result<Reply, NodeError> {
    let number = std::str::from_utf8(token).ok().and_then(|text| text.parse().ok());
    let token = number.and_then(FencingToken::new).ok_or_else(|| unexpected(value))?;
    Ok(Reply::Granted { token })
}

fn key_states(values: &[Value]) -> Result<Reply, NodeError> {
    let state = |pair: &[Value]| match pair {
        [Value::Nil, _] => Ok(KeyState::Free),
        [Value::BulkString(value), Value::Int(left)] => {
            Ok(KeyState::Held { value: value.clone(), remaining: remaining(*left) })
        }
        [other, ..] => Err(unexpected(other)),
        [] => Err(unexpected(&Value::Nil)),
    };
    Ok(Reply::Keys(values.chunks(2).map(state).collect::<Result<_, _>>()?))
}

/// PTTL's answer; negative where the key never expires.
fn remaining(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

pub(super) fn unexpected(value: &Value) -> NodeError {
    let shown: String = format!("{value:?}").chars().take(100).collect();
    NodeError::new(Cause::Protocol, format!("not an answer of a lock script: {shown}"))
}

/// Whether the node has forgotten the script.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// What kind of failure `error` is.
pub(super) fn cause(error: &RedisError) -> Cause {
    match error.code().and_then(cause_of_code) {
        Some(cause) => cause,
        None if error.kind() == ErrorKind::AuthenticationFailed => Cause::Auth,
        None if error.is_timeout() => Cause::Timeout,
        None if error.is_io_error() || error.is_connection_refusal() => Cause::Refused,
        None => Cause::Protocol,
    }
}

/// What kind of failure an error is that a server begins with `code`.
fn cause_of_code(code: &str) -> Option<Cause> {
    match code {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Some(Cause::Auth),
        "READONLY" => Some(Cause::Replica),
        "WRONGTYPE" => Some(Cause::WrongType),
        _ => None,
    }
}
