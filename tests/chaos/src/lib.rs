//! Faults on real processes, and the invariants that must hold under them.
//!
//! A [`Scenario`] starts redis-servers, a database and client processes, lets them work, and hurts them by a plan that
//! follows from a seed. Whatever the clients ask for and are told is recorded; a client that is killed or never
//! answered leaves an outcome that is unknown, and stays so until it is looked up in what the database logged. At the
//! end the invariants are checked on the record, and a report is written: what happened, what was broken, and how to
//! run it again.
//!
//! The code under test runs in child processes only ([`client`], [`instance`]), which can be stopped, killed and given
//! a planted bug; this process records and judges, and never asks the code under test whether it was right.
//!
//! Reading order: `clock`, `child`, `client` and `instance` (who works), `bug` (what they may do wrong on purpose),
//! `record` (what happened), `faults` and `plan` (what goes wrong), `invariants` (what must hold), `scenario` (all of it
//! together), `report`.

mod bug;
mod child;
pub mod client;
mod clock;
mod faults;
pub mod instance;
mod invariants;
mod ledger;
mod plan;
mod record;
mod report;
mod scenario;

pub use bug::BUGS;
pub use report::Report;
pub use scenario::{Scenario, Settings, find, run, scenarios};
