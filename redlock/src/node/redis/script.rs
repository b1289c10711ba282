//! Requests to script calls, and the scripts' values back to replies.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind, Value};

use super::info;
use crate::error::{Cause, NodeError};
use crate::fencing::FencingToken;
use crate::node::{KeyState, Reply, Request, millis};
use crate::resource::Claim;

/// How long a counter lives after its last use; no lease is longer.
const COUNTER_TTL: Duration = crate::validity::MAX_TTL;

/// A script, with the hash it is called by.
type Lazy = LazyLock<Script>;

const SOURCES: [&str; 7] = [
    include_str!("acquire.lua"),
    include_str!("raise.lua"),
    include_str!("extend.lua"),
    include_str!("heal.lua"),
    include_str!("release.lua"),
    include_str!("inspect.lua"),
    include_str!("info.lua"),
];

static ACQUIRE: Lazy = LazyLock::new(|| Script::new(SOURCES[0]));
static RAISE: Lazy = LazyLock::new(|| Script::new(SOURCES[1]));
static EXTEND: Lazy = LazyLock::new(|| Script::new(SOURCES[2]));
static HEAL: Lazy = LazyLock::new(|| Script::new(SOURCES[3]));
static RELEASE: Lazy = LazyLock::new(|| Script::new(SOURCES[4]));
static INSPECT: Lazy = LazyLock::new(|| Script::new(SOURCES[5]));
static INFO: Lazy = LazyLock::new(|| Script::new(SOURCES[6]));

/// The commands that make every script known to a node.
pub(super) fn load_all() -> impl Iterator<Item = Cmd> {
    SOURCES.into_iter().map(|source| {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(source);
        command
    })
}

/// The command that carries out `request`.
pub(super) fn command(request: &Request) -> Cmd {
    let counter_ttl = millis(COUNTER_TTL);
    match request {
        Request::Acquire { claim, ttl, proposal } => {
            let mut command = call_on(&ACQUIRE, claim);
            command.arg(millis(*ttl)).arg(proposal.get()).arg(counter_ttl);
            command
        }
        Request::Raise { claim, token } => {
            let mut command = call_on(&RAISE, claim);
            command.arg(token.get()).arg(counter_ttl);
            command
        }
        Request::Extend { claim, ttl, token } => {
            let mut command = call_on(&EXTEND, claim);
            command.arg(millis(*ttl)).arg(token.get()).arg(counter_ttl);
            command
        }
        Request::Heal { claim, ttl, token } => {
            let mut command = call_on(&HEAL, claim);
            command.arg(millis(*ttl)).arg(token.get()).arg(counter_ttl);
            command
        }
        Request::Release { claim, .. } => {
            let mut command = call(&RELEASE, claim.keys());
            command.arg(claim.value());
            command
        }
        Request::Inspect { keys } => call(&INSPECT, keys),
        Request::Info => call(&INFO, &[]),
    }
}

fn call(script: &Script, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len()).arg(keys);
    command
}

/// A call with lock keys and counters, and the value as its first argument.
fn call_on(script: &Script, claim: &Claim) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(2 * claim.keys().len());
    command.arg(claim.keys()).arg(claim.counters()).arg(claim.value());
    command
}

/// What the node's `value` means as the answer to `request`.
pub(super) fn reply(request: &Request, value: &Value) -> Result<Reply, NodeError> {
    match (request, value) {
        (Request::Acquire { .. }, Value::BulkString(token)) => granted(token, value),
        (Request::Acquire { .. }, Value::Int(left)) => Ok(Reply::Held { remaining: remaining(*left) }),
        (Request::Release { .. }, Value::Int(1)) => Ok(Reply::Released),
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

fn unexpected(value: &Value) -> NodeError {
    let shown: String = format!("{value:?}").chars().take(100).collect();
    NodeError::new(Cause::Protocol, format!("not an answer of a lock script: {shown}"))
}

/// Whether the node has forgotten the scripts.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// What kind of failure `error` is.
pub(super) fn cause(error: &RedisError) -> Cause {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm), _)
        | (_, Some("NOAUTH" | "WRONGPASS")) => Cause::Auth,
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => Cause::Replica,
        (_, Some("WRONGTYPE")) => Cause::WrongType,
        _ if error.is_timeout() => Cause::Timeout,
        _ if error.is_io_error() || error.is_connection_refusal() => Cause::Refused,
        _ => Cause::Protocol,
    }
}
