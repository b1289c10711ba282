//! The protocol, model-checked: every order of events for a few clients and nodes, decided by the
//! crate's own tally and fencing functions.
//!
//! `model/state.rs` is what there is, `model/steps.rs` what can happen. The network is stronger
//! than a real one: any request may be late by any time, overtake any other, or never arrive. In
//! the untimed variant a key may also vanish at any moment; in the timed one only once the clock
//! of its lease allows it. A model that passes proves nothing unless it can fail, so the last
//! tests take out one rule each and expect the counterexample.
#![allow(missing_docs, reason = "a test's name says what it shows")]

#[path = "model/state.rs"]
mod state;
#[path = "model/steps.rs"]
mod steps;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use state::{Flaw, Protocol, Timing};

const DISTINCT: &str = "tokens of completed acquisitions are distinct";
const ORDERED: &str = "who starts after another has completed gets the larger token";
const EXCLUSIVE: &str = "no two leases are valid at a time";
const BY_WRITE_BACK: &str = "somebody acquires by write-back";
const AFTER_CRASH: &str = "somebody acquires after a crash";

/// Checks every state and that everything of interest was met; answers how many states there are.
fn exhaust<const C: usize>(model: &Protocol<C>) -> usize {
    let checker = model.clone().checker().threads(2).spawn_bfs().join();
    println!("{} unique states, {} steps deep", checker.unique_state_count(), checker.max_depth());
    for property in model.properties() {
        let found = checker.discovery(property.name);
        match property.expectation {
            // Without a crash nobody can acquire after one.
            Expectation::Sometimes if property.name == AFTER_CRASH && model.crashes == 0 => {}
            Expectation::Sometimes => assert!(found.is_some(), "never: {}", property.name),
            _ => checker.assert_no_discovery(property.name),
        }
    }
    assert!(checker.is_done(), "the search ended early");
    checker.unique_state_count()
}

/// Expects that `property` does not hold.
fn refute(model: Protocol<2>, property: &'static str) {
    let wanted = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().threads(2).finish_when(wanted).spawn_bfs().join();
    let path = checker.assert_any_discovery(property);
    println!("{} steps:\n{path}", path.clone().into_actions().len());
}

// The numbers of states are asserted, so that a model that has become smaller by mistake is noticed.

#[test]
fn two_clients_whose_keys_vanish_at_any_moment() {
    let model = Protocol::<2>::new(Timing::AnyMoment).attempts(3).crashes(1);
    assert_eq!(exhaust(&model), 3_980_632);
}

#[test]
fn two_clients_whose_keys_last_as_long_as_they_should() {
    let model = Protocol::<2>::new(Timing::Leases).attempts(2).crashes(1);
    assert_eq!(exhaust(&model), 543_843);
}

#[test]
fn three_clients_whose_keys_vanish_at_any_moment() {
    let model = Protocol::<3>::new(Timing::AnyMoment).attempts(3).crashes(0);
    assert_eq!(exhaust(&model), 3_666_322);
}

#[test]
#[ignore = "takes minutes and gigabytes"]
fn bigger_three_clients_and_a_crash() {
    let model = Protocol::<3>::new(Timing::AnyMoment).attempts(3).crashes(1);
    assert_eq!(exhaust(&model), 12_164_260);
}

#[test]
#[ignore = "takes minutes and gigabytes"]
fn bigger_two_clients_with_leases_and_three_attempts() {
    let model = Protocol::<2>::new(Timing::Leases).attempts(3).crashes(0);
    assert_eq!(exhaust(&model), 12_940_296);
}

#[test]
fn without_the_write_back_it_fails() {
    refute(Protocol::new(Timing::AnyMoment).with(Flaw::NoWriteBack), ORDERED);
    refute(Protocol::new(Timing::AnyMoment).with(Flaw::NoWriteBack), DISTINCT);
}

#[test]
fn a_write_back_to_nodes_that_are_not_held_fails() {
    refute(Protocol::new(Timing::AnyMoment).with(Flaw::RaisesUnheld), DISTINCT);
}

/// A grant that comes after the round was won may be larger than the token.
#[test]
fn a_write_back_to_nodes_that_were_not_heard_of_fails() {
    refute(Protocol::new(Timing::AnyMoment).with(Flaw::RaisesUnheard), DISTINCT);
}

#[test]
fn a_validity_counted_from_the_answer_fails() {
    refute(Protocol::new(Timing::Leases).with(Flaw::CountsFromAnswer), EXCLUSIVE);
}
