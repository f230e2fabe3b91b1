//! How much of the log was read, on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use crate::limits;

/// Shows the progress if it takes longer than [`limits::PROGRESS_AFTER`].
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes; 0 if it is not known.
    total: u64,
    read: u64,
    start: Instant,
    terminal: bool,
    shown: Option<String>,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        Self { total, read: 0, start: Instant::now(), terminal: io::stderr().is_terminal(), shown: None }
    }

    pub(super) fn add(&mut self, count: u64) {
        self.read = self.read.saturating_add(count);
        if !self.terminal || self.start.elapsed() < limits::PROGRESS_AFTER {
            return;
        }
        let text = match self.read.saturating_mul(100).checked_div(self.total) {
            Some(percent) => format!("reading the log: {} %", percent.min(100)),
            None => format!("reading the journal: {} s", self.start.elapsed().as_secs()),
        };
        if self.shown.as_ref() != Some(&text) {
            let _ = write!(io::stderr(), "\r{text}");
            self.shown = Some(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(text) = &self.shown {
            let _ = write!(io::stderr(), "\r{:width$}\r", "", width = text.len());
        }
    }
}
