//! The script's values back to replies.

use std::time::Duration;

use redis::Value;

use super::cause_of_code;
use crate::error::{Cause, NodeError};
use crate::fencing::FencingToken;
use crate::node::redis::info;
use crate::node::{KeyState, Reply, Request};

/// Said to an acquire whose proposal is its token.
const AS_PROPOSED: i64 = -2;

/// What the node's `value` means as the answer to `request`.
pub(crate) fn reply(request: &Request, value: &Value) -> Result<Reply, NodeError> {
    match (request, value) {
        (_, Value::Array(values)) if values.len() == 1 => Err(refused(&values[0])),
        (Request::Acquire { proposal, .. }, Value::Int(AS_PROPOSED)) => Ok(Reply::Granted { token: *proposal }),
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

pub(crate) fn unexpected(value: &Value) -> NodeError {
    let shown: String = format!("{value:?}").chars().take(100).collect();
    NodeError::new(Cause::Protocol, format!("not an answer of a lock script: {shown}"))
}
