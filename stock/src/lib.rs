//! Inventory around database transactions, guarded by Redlock.
//!
//! A stock record says how many units of a variant lie in a warehouse and what they are bound to:
//! available, locked by an order, reserved by a paid one. Seven operations move units between these
//! levels ([`levels`]); an order may hold units, for a time or until it is paid ([`hold`]). A
//! [`StockRepository`](repository::StockRepository) carries out requests of one or several such
//! changes, all or nothing and once however often they come ([`request`]), with a log entry for each
//! change in the same transaction. It is there in several kinds that may run side by side on one
//! database.
//!
//! The lock only keeps order; the database keeps truth. Every writer locks the row it reads,
//! compares the version it read when it writes, and raises it, so a lock that failed costs a retry
//! and never a unit. A lease's fencing token is written with the change, so a holder that comes late
//! is turned away and begins again.
//!
//! Reading order: [`operation`] and [`request`] (what is asked for), [`levels`] and [`hold`] (what it
//! does), [`record`], [`log`] (what was done), [`workbench`] (many requests in memory), [`store`]
//! (where it is kept), [`repository`] (all of it together), [`error`], [`config`], [`assembly`] (an instance
//! made of all that), [`service`] (the instance over HTTP), [`demo`].

pub mod assembly;
pub mod bench;
pub mod cache;
pub mod config;
pub mod contention;
pub mod demo;
pub mod error;
mod failpoint;
mod hint;
pub mod hold;
pub mod levels;
pub mod log;
pub mod operation;
pub mod record;
pub mod repository;
pub mod request;
pub mod service;
pub mod store;
pub mod sweeper;
pub mod timestamp;
pub mod workbench;
