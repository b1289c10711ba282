//! The crate against real redis-servers (and, where time must be paused, in-process nodes).
//!
//! One file a concern; a new test goes where its concern is. Names that begin with `alone_`
//! measure time and run with nothing beside them.
#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod access;
mod agreement;
mod backlog;
mod config;
mod conformance;
mod connection;
mod dropping;
mod exclusion;
mod expiry;
mod fairness;
mod fencing;
mod handover;
mod healing;
mod interop;
mod load;
mod metrics;
mod orphans;
mod outage;
mod quarantine;
mod renewal;
mod scripts;
mod support;
mod topologies;
