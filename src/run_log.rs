//! The log of a run that sshd starts: one line per decision, to the system log and, if stderr is a terminal, also to that.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::syslog::{Severity, Syslog};

/// Writes the log of a run. The caller must have escaped remote parts of each text with [`crate::escape::Escaped`].
#[derive(Debug)]
pub struct RunLog {
    syslog: Syslog,
    terminal: bool,
}

impl RunLog {
    /// Opens the system log below `root` (`/`).
    #[must_use]
    pub fn open(root: &Path) -> Self {
        Self { syslog: Syslog::open(root), terminal: io::stderr().is_terminal() }
    }

    /// Logs `text`, to both.
    pub(crate) fn write(&self, severity: Severity, text: &str) {
        self.to_terminal(text);
        self.to_syslog(severity, text);
    }

    /// Logs `text` to the system log only.
    pub(crate) fn to_syslog(&self, severity: Severity, text: &str) {
        self.syslog.send(severity, text);
    }

    /// Writes `text` to the terminal only.
    pub(crate) fn to_terminal(&self, text: &str) {
        if self.terminal {
            let _ = writeln!(io::stderr(), "eic-keys: {text}");
        }
    }
}
