//! The seven transitions, over all levels there can be.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;
use stock::levels::{LevelsError, StockLevels};
use stock::operation::{MAX_INTEGER, Operation, Quantity};

/// Figures around zero and around the limit, where mistakes are; and anything between.
fn figure() -> impl Strategy<Value = u64> {
    prop_oneof![0..5u64, 0..=MAX_INTEGER, MAX_INTEGER - 5..=MAX_INTEGER]
}

fn levels() -> impl Strategy<Value = StockLevels> {
    let parts = (figure(), figure(), figure());
    // Most triples of large figures are too large; cut to what the limit leaves.
    parts.prop_map(|(available, locked, reserved)| {
        let available = available.min(MAX_INTEGER);
        let locked = locked.min(MAX_INTEGER - available);
        let reserved = reserved.min(MAX_INTEGER - available - locked);
        StockLevels::new(available, locked, reserved).unwrap()
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    proptest::sample::select(Operation::ALL.as_slice())
}

fn quantity(units: u64) -> Quantity {
    Quantity::new(units).unwrap()
}

/// The table of the design, written once more and in other words: what an operation is refused
/// with.
fn expected_refusal(before: StockLevels, operation: Operation, units: u64) -> Option<&'static str> {
    let (available, locked, reserved) = (before.available(), before.locked(), before.reserved());
    let refused = match operation {
        Operation::Reset => (locked + reserved > units, "below_committed"),
        _ if units == 0 => (true, "invalid_quantity"),
        Operation::Lock => (available < units, "insufficient_stock"),
        Operation::Unlock | Operation::Reserve => (locked < units, "insufficient_locked"),
        Operation::Release | Operation::Deduct => (reserved < units, "insufficient_reserved"),
        Operation::Add => (before.stock() + units > MAX_INTEGER, "overflow"),
    };
    refused.0.then_some(refused.1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn an_operation_is_refused_exactly_when_the_table_says_so(
        before in levels(), operation in operation(), units in figure(),
    ) {
        let code = before.apply(operation, quantity(units)).err().map(|error| error.code());
        prop_assert_eq!(code, expected_refusal(before, operation, units));
    }

    #[test]
    fn the_parts_always_add_up_within_bounds(
        before in levels(), operation in operation(), units in figure(),
    ) {
        if let Ok(after) = before.apply(operation, quantity(units)) {
            let sum = after.available() + after.locked() + after.reserved();
            prop_assert_eq!(after.stock(), sum);
            prop_assert!(after.stock() <= MAX_INTEGER);
        }
    }

    #[test]
    fn only_receiving_shipping_and_counting_change_what_is_on_hand(
        before in levels(), operation in operation(), units in figure(),
    ) {
        if let Ok(after) = before.apply(operation, quantity(units)) {
            let expected = match operation {
                Operation::Add => before.stock() + units,
                Operation::Deduct => before.stock() - units,
                Operation::Reset => units,
                _ => before.stock(),
            };
            prop_assert_eq!(after.stock(), expected);
        }
    }

    #[test]
    fn units_move_between_the_two_levels_of_the_table(
        before in levels(), operation in operation(), units in figure(),
    ) {
        if let Ok(after) = before.apply(operation, quantity(units)) {
            let moved = |from: u64, to: u64| i128::from(to) - i128::from(from);
            let found = (
                moved(before.available(), after.available()),
                moved(before.locked(), after.locked()),
                moved(before.reserved(), after.reserved()),
            );
            let units = i128::from(units);
            let expected = match operation {
                Operation::Lock => (-units, units, 0),
                Operation::Unlock => (units, -units, 0),
                Operation::Reserve => (0, -units, units),
                Operation::Release => (units, 0, -units),
                Operation::Deduct => (0, 0, -units),
                Operation::Add => (units, 0, 0),
                Operation::Reset => (units - i128::from(before.stock()), 0, 0),
            };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_one_operation_does_its_opposite_undoes(before in levels(), units in figure()) {
        for (there, back) in [
            (Operation::Lock, Operation::Unlock),
            (Operation::Unlock, Operation::Lock),
        ] {
            if let Ok(after) = before.apply(there, quantity(units)) {
                prop_assert_eq!(after.apply(back, quantity(units)), Ok(before));
            }
        }
        // A refunded unit goes back to the shelf, and from there by lock and reserve to where it
        // was.
        if let Ok(released) = before.apply(Operation::Release, quantity(units)) {
            let again = released
                .apply(Operation::Lock, quantity(units))
                .and_then(|locked| locked.apply(Operation::Reserve, quantity(units)));
            prop_assert_eq!(again, Ok(before));
        }
    }

    #[test]
    fn a_refusal_carries_the_figures_it_was_made_from(
        before in levels(), operation in operation(), units in figure(),
    ) {
        let Err(error) = before.apply(operation, quantity(units)) else { return Ok(()) };
        let true_to = match error {
            LevelsError::InsufficientStock { available, quantity } =>
                (available, quantity) == (before.available(), units),
            LevelsError::InsufficientLocked { locked, quantity } =>
                (locked, quantity) == (before.locked(), units),
            LevelsError::InsufficientReserved { reserved, quantity } =>
                (reserved, quantity) == (before.reserved(), units),
            LevelsError::Overflow { stock, quantity } =>
                (stock, quantity) == (before.stock(), units),
            LevelsError::BelowCommitted { locked, reserved, quantity } =>
                (locked, reserved, quantity) == (before.locked(), before.reserved(), units),
            LevelsError::InvalidQuantity(invalid) =>
                (invalid.quantity, invalid.least) == (0, 1),
            _ => false,
        };
        prop_assert!(true_to, "{:?} of {:?}", error, before);
    }

    #[test]
    fn figures_that_do_not_add_up_are_no_levels(
        stock in figure(), available in figure(), locked in figure(), reserved in figure(),
    ) {
        let read = StockLevels::from_figures(stock, available, locked, reserved);
        let adds_up = available + locked + reserved == stock && stock <= MAX_INTEGER;
        prop_assert_eq!(read.is_ok(), adds_up);
    }
}

#[test]
fn figures_too_large_to_add_are_refused_without_wrapping_around() {
    assert!(StockLevels::from_figures(1, u64::MAX, 1, 1).is_err());
    assert_eq!(StockLevels::new(u64::MAX, u64::MAX, 2).unwrap_err().code(), "overflow");
}
