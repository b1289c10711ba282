//! The service over real HTTP: in this process, and as the program people start.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/backends.rs"]
mod backends;

mod description;
mod end;
mod guarded;
mod health;
mod limits;
mod operations;
mod program;
mod room;
mod shared;
mod stocks;
mod support;
