//! Why the script has refused a change, in its few letters.

use crate::hold::Refusal;
use crate::levels::LevelsError;
use crate::request::Identified;

/// The number of the change that was refused, and why: `number letter figures…`.
pub(super) fn parse(note: &str, request: &Identified) -> Option<(usize, Refusal)> {
    let mut words = note.split(' ');
    let number: usize = words.next()?.parse().ok()?;
    let letter = words.next()?;
    let figures: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
    let figure = |n: usize| figures.get(n).copied();
    let change = request.changes().get(number)?;
    let quantity = change.quantity.get();
    let order_id = || change.order_id.clone();
    let refusal = match letter {
        "S" => LevelsError::InsufficientStock { available: figure(0)?, quantity }.into(),
        "L" => LevelsError::InsufficientLocked { locked: figure(0)?, quantity }.into(),
        "R" => LevelsError::InsufficientReserved { reserved: figure(0)?, quantity }.into(),
        "O" => LevelsError::Overflow { stock: figure(0)?, quantity: figure(1).unwrap_or(quantity) }.into(),
        "B" => LevelsError::BelowCommitted { locked: figure(0)?, reserved: figure(1)?, quantity }.into(),
        "H" => Refusal::LockedIsHeld { locked: figure(0)?, held: figure(1)?, quantity },
        "J" => Refusal::ReservedIsHeld { reserved: figure(0)?, held: figure(1)?, quantity },
        "N" => Refusal::HoldNotFound { order_id: order_id()? },
        "E" => Refusal::HoldExceeded { order_id: order_id()?, held: figure(0)?, quantity },
        "X" => Refusal::HoldExpired { order_id: order_id()? },
        "C" => Refusal::HoldChanged { order_id: order_id()? },
        _ => return None,
    };
    Some((number, refusal))
}
