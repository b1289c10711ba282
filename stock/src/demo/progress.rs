//! How the sale is going, while it goes: a bar on a terminal, a line a second elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

const BAR: &str = "{wide_bar:.green} {pos} of {len} sold, {msg}";
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Shows counts on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    stock: u64,
    bar: Option<ProgressBar>,
    lines: u32,
}

impl Progress {
    pub(super) fn new(stock: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(BAR).expect("the template is well-formed");
            // The last state stays on the screen.
            ProgressBar::new(stock).with_style(style).with_finish(ProgressFinish::Abandon)
        });
        Self { started: Instant::now(), stock, bar, lines: 0 }
    }

    /// The counts have changed, or may have.
    pub(super) fn show(&mut self, operations: u64, sold: u64) {
        let elapsed = self.started.elapsed();
        if let Some(bar) = &self.bar {
            bar.set_position(sold);
            bar.set_message(format!("{operations} operations, {} s", elapsed.as_secs()));
        } else if elapsed >= LINE_EVERY * (self.lines + 1) {
            self.lines += 1;
            eprintln!(
                "{} s: {sold} of {} sold, {operations} operations",
                elapsed.as_secs(),
                self.stock
            );
        }
    }
}
