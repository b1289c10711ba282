//! Acquire and release, again and again, by one task on keys that nobody else wants.

use std::time::{Duration, Instant};

use super::fresh_key;
use crate::contender::Contender;
use crate::times::Times;
use crate::usage::processor_time;

/// What a turn of cycles took.
pub(crate) struct Cycles {
    pub(crate) acquire: Times,
    pub(crate) release: Times,
    /// Processor time of this process a cycle, in seconds.
    pub(crate) processor: f64,
}

/// Cycles on distinct keys for `time`; at least one.
pub(crate) async fn cycles(contender: &Contender, time: Duration) -> anyhow::Result<Cycles> {
    let (mut acquire, mut release, mut count) = (Times::new(), Times::new(), 0_u32);
    let (started, processor) = (Instant::now(), processor_time());
    while count == 0 || started.elapsed() < time {
        let key = fresh_key();
        let asked = Instant::now();
        let held = contender.acquire(&key).await?;
        let granted = Instant::now();
        contender.release(held).await?;
        release.record(granted.elapsed());
        acquire.record(granted - asked);
        count += 1;
    }
    let processor = processor_time().saturating_sub(processor).as_secs_f64() / f64::from(count);
    Ok(Cycles { acquire, release, processor })
}
