//! The command `redlock` as people run it: a process, its exit status, and what it prints, on real
//! redis-servers.
#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod family;
mod looking;
mod run;
mod signals;
mod support;
mod values;
