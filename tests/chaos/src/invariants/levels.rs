//! What operations do to levels, with arithmetic of its own: the program's is what is to be checked.

use crate::record::Logged;

/// Available, locked, reserved.
pub(super) type Levels = [i64; 3];

/// What the operation of an entry does to levels, whether or not that is allowed.
pub(super) fn apply([available, locked, reserved]: Levels, entry: &Logged) -> Levels {
    let n = entry.quantity;
    match entry.action.as_str() {
        "lock" => [available - n, locked + n, reserved],
        "unlock" => [available + n, locked - n, reserved],
        "reserve" => [available, locked - n, reserved + n],
        "release" => [available + n, locked, reserved - n],
        "deduct" => [available, locked, reserved - n],
        "add" => [available + n, locked, reserved],
        _ => [n - locked - reserved, locked, reserved],
    }
}
