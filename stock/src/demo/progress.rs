//! How the sale is going, and what it is waiting for: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

const BAR: &str = "{wide_bar:.green} {pos} of {len} sold, {msg}";
const LINE_EVERY: Duration = Duration::from_secs(1);
const SPIN: Duration = Duration::from_millis(100);

/// Waits, and tells why and for how long.
pub(super) async fn wait(why: &str, how_long: Duration) {
    let until = Instant::now() + how_long;
    let message = |left: Duration| format!("{why}; selling starts in {} s", left.as_secs_f64().ceil());
    if !stderr().is_terminal() {
        eprintln!("{}.", message(how_long));
        return tokio::time::sleep(how_long).await;
    }
    let spinner = ProgressBar::new_spinner();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        spinner.set_message(message(left));
        spinner.tick();
        tokio::time::sleep(left.min(SPIN)).await;
    }
    spinner.finish_and_clear();
}

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
            eprintln!("{} s: {sold} of {} sold, {operations} operations", elapsed.as_secs(), self.stock);
        }
    }
}
