//! The decisions of the protocol, without I/O and without time: what a model checker or a
//! simulation calls to run the very code that runs in production.

pub use crate::fencing::{Settlement, granted, raised};
#[cfg(feature = "redis")]
pub use crate::node::redis::script;
pub use crate::quorum::{Outcome, Tally, quorum};
