//! How much of the log was read, on a terminal.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use crate::limits;

/// Returns to the beginning of the line and erases it (ECMA-48: CR, EL).
const ERASE: &str = "\r\u{1b}[K";

/// Shows a line if reading takes longer than [`limits::PROGRESS_AFTER`], stderr is a terminal and `TERM` is set. Removes it at the end.
#[derive(Debug)]
pub(super) struct Progress {
    /// In bytes. `None` if it is not known.
    total: Option<u64>,
    read: u64,
    start: Instant,
    is_terminal: bool,
    /// Empty if nothing is shown.
    shown: String,
}

impl Progress {
    /// `total` is in bytes; `None` if it is not known.
    pub(super) fn new(total: Option<u64>) -> Self {
        let is_terminal = io::stderr().is_terminal() && env::var_os("TERM").is_some();
        Self { total, read: 0, start: Instant::now(), is_terminal, shown: String::new() }
    }

    /// Counts what was read since the last call.
    pub(super) fn add(&mut self, count: u64) {
        self.read = self.read.saturating_add(count);
        let elapsed = self.start.elapsed();
        if !self.is_terminal || elapsed < limits::PROGRESS_AFTER {
            return;
        }
        let percent = |total| self.read.saturating_mul(100).checked_div(total).unwrap_or_default().min(100);
        let line = match self.total {
            Some(total) => format!("reading the log: {} %", percent(total)),
            None => format!("reading the journal: {} s", elapsed.as_secs()),
        };
        if line != self.shown {
            let _ = write!(io::stderr(), "{ERASE}{line}");
            self.shown = line;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.shown.is_empty() {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}
