//! Requests to script calls, and the scripts' values back to replies.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind, Value};

use crate::error::{Cause, NodeError};
use crate::node::{KeyState, Reply, Request, millis};

static ACQUIRE: LazyLock<Script> = LazyLock::new(|| Script::new(ACQUIRE_SOURCE));
static EXTEND: LazyLock<Script> = LazyLock::new(|| Script::new(EXTEND_SOURCE));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(RELEASE_SOURCE));
static INSPECT: LazyLock<Script> = LazyLock::new(|| Script::new(INSPECT_SOURCE));

const ACQUIRE_SOURCE: &str = include_str!("acquire.lua");
const EXTEND_SOURCE: &str = include_str!("extend.lua");
const RELEASE_SOURCE: &str = include_str!("release.lua");
const INSPECT_SOURCE: &str = include_str!("inspect.lua");

/// The commands that make every script known to a node.
pub(super) fn load_all() -> impl Iterator<Item = Cmd> {
    [ACQUIRE_SOURCE, EXTEND_SOURCE, RELEASE_SOURCE, INSPECT_SOURCE].into_iter().map(|source| {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(source);
        command
    })
}

/// The command that carries out `request`.
pub(super) fn command(request: &Request) -> Cmd {
    match request {
        Request::Acquire { claim, ttl } => {
            let mut command = call(&ACQUIRE, claim.keys());
            command.arg(claim.value()).arg(millis(*ttl));
            command
        }
        Request::Extend { claim, ttl } => {
            let mut command = call(&EXTEND, claim.keys());
            command.arg(claim.value()).arg(millis(*ttl));
            command
        }
        Request::Release { claim, .. } => {
            let mut command = call(&RELEASE, claim.keys());
            command.arg(claim.value());
            command
        }
        Request::Inspect { keys } => call(&INSPECT, keys),
    }
}

fn call(script: &Script, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len()).arg(keys);
    command
}

/// What the node's `value` means as the answer to `request`.
pub(super) fn reply(request: &Request, value: Value) -> Result<Reply, NodeError> {
    match (request, value) {
        (Request::Acquire { .. }, Value::Okay) => Ok(Reply::Granted),
        (Request::Acquire { .. }, Value::Int(left)) => Ok(Reply::Held { remaining: remaining(left) }),
        (Request::Extend { .. }, Value::Int(1)) => Ok(Reply::Extended),
        (Request::Release { .. }, Value::Int(1)) => Ok(Reply::Released),
        (Request::Extend { .. } | Request::Release { .. }, Value::Int(0)) => Ok(Reply::NotHeld),
        (Request::Inspect { .. }, Value::Array(values)) => key_states(&values),
        (_, value) => Err(unexpected(&value)),
    }
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
