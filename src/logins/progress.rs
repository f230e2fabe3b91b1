//! How much of the log was read, on a terminal.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::limits;

/// Shows a bar if reading takes longer than [`limits::PROGRESS_AFTER`], stderr is a terminal and `TERM` is set. Removes it at the end.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    /// `total` is in bytes; 0 if it is not known.
    pub(super) fn new(total: u64) -> Self {
        let (length, template) = match total {
            0 => (None, "reading the journal {elapsed}"),
            _ => (Some(total), "reading the log {wide_bar} {percent:>3} %"),
        };
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, start: Instant::now() }
    }

    /// Counts what was read since the last call.
    pub(super) fn add(&mut self, count: u64) {
        if self.bar.is_hidden() && self.start.elapsed() >= limits::PROGRESS_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
