//! The script that carries out every operation: one, so that a call can carry any sequence of them.
//! What a node spends on a call is more than what it spends on most operations.

mod call;
mod reply;

use std::sync::LazyLock;
use std::time::Duration;

use redis::{ErrorKind, RedisError, Script};

pub(super) use self::call::{call, is_alone, weight};
pub(super) use self::reply::{reply, unexpected};
use super::command::Command;
use crate::error::Cause;
use crate::fencing::MAX_TOKEN;
use crate::node::millis;

/// How long a counter lives after its last use; no lease is longer.
const COUNTER_TTL: Duration = crate::validity::MAX_TTL;

/// The operations: their names, and the blocks of the script that carry them out. Those that come
/// first are found first.
const OPERATIONS: [(&str, &str); 7] = [
    ("acquire", ACQUIRE),
    ("release", RELEASE),
    ("extend", EXTEND),
    ("raise", include_str!("raise.lua")),
    ("heal", include_str!("heal.lua")),
    ("inspect", include_str!("inspect.lua")),
    ("info", include_str!("info.lua")),
];

const ACQUIRE: &str = include_str!("acquire.lua");
const RELEASE: &str = include_str!("release.lua");
const EXTEND: &str = include_str!("extend.lua");

/// Operations that may be all there is in a call, their registers, and their blocks. Registers come behind
/// the arguments; without a loop around it a block takes two thirds of the time.
const ALONE: [(&str, &str, &str); 3] = [
    (call::ACQUIRE_ALONE, "ttl, span = ARGV[4], 1", ACQUIRE),
    (call::RELEASE_ALONE, "by = ARGV[3]", RELEASE),
    (call::EXTEND_ALONE, "ttl = ARGV[4]", EXTEND),
];

static SOURCE: LazyLock<String> = LazyLock::new(|| {
    let blocks = OPERATIONS.map(|(name, block)| format!("operation == '{name}' then\n{block}"));
    let alone = ALONE.map(|(name, registers, block)| {
        format!("first == '{name}' then\nlocal n, k, a, reply = 1, 1, 2, nil\nlocal {registers}\n{block}return reply\n")
    });
    let script = include_str!("batch.lua")
        .replace("--ALONE--", &format!("if {}end", alone.join("elseif ")))
        .replace("--OPERATIONS--", &format!("if {}", blocks.join("elseif ")));
    format!("local COUNTER_TTL, MAX_TOKEN = '{}', {MAX_TOKEN}\n{script}", millis(COUNTER_TTL))
});

/// The script, with the hash it is called by.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&SOURCE));

/// The script's text.
pub(super) fn source() -> &'static str {
    &SOURCE
}

/// Makes of `command` the one that makes the script known to a node.
pub(super) fn load(command: &mut Command) {
    command.clear();
    command.word("SCRIPT").word("LOAD").word(SOURCE.as_str());
}

/// Whether the node has forgotten the script.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Whether the keys are not of one server, or not of this one: so was what came before about the same keys. A
/// connection that routes was wrong about the server, and is right the next time.
pub(super) fn is_misplaced(error: &RedisError, routes: bool) -> bool {
    match error.code() {
        Some("CROSSSLOT") => true,
        Some("MOVED") => !routes,
        _ => false,
    }
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
