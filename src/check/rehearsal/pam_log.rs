//! What PAM's modules log about a login. They log as the process of sshd.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::known_messages::says_nothing;
use crate::check::log_tail::read_from;
use crate::limits;
use crate::system_log::{FILES, file, is_sshd};
use crate::tool::stdout_of;

/// The system log, from the start of a login on.
#[derive(Debug)]
pub(super) struct PamLog {
    /// The log files, and their lengths at the start.
    files: Vec<(PathBuf, u64)>,
}

impl PamLog {
    pub(super) fn begin(root: &Path) -> Self {
        let length = |path: PathBuf| Some((path.clone(), fs::metadata(path).ok()?.len()));
        Self { files: FILES.iter().filter_map(|file| length(root.join(file))).collect() }
    }

    /// The messages of a process since then.
    pub(super) fn of_process(&self, pid: u32) -> PamMessages {
        let start = Instant::now();
        loop {
            let mut messages = PamMessages { lines: journal(pid), file: None };
            messages.retain_reasons();
            for (path, length) in &self.files {
                if !messages.lines.is_empty() {
                    break;
                }
                messages = PamMessages { lines: tail(path, *length, pid), file: Some(path.clone()) };
                messages.retain_reasons();
            }
            if !messages.lines.is_empty() || start.elapsed() > limits::PAM_LOG_WAIT {
                return messages;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Messages, without times.
#[derive(Debug, Default)]
pub(super) struct PamMessages {
    pub(super) lines: Vec<String>,
    /// The log file, to which [`ANYBODY`](crate::system_log::ANYBODY) can write lines. `None` for the journal, where a sender cannot
    /// choose `_PID`.
    pub(super) file: Option<PathBuf>,
}

impl PamMessages {
    fn retain_reasons(&mut self) {
        self.lines.retain(|message| !says_nothing(message));
    }
}

fn journal(pid: u32) -> Vec<String> {
    let process = format!("_PID={pid}");
    let words = ["--since", "-1min", "--lines", "50", "--no-pager", "--quiet", "--output", "cat", &process];
    stdout_of("journalctl", &words).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn tail(path: &Path, from: u64, pid: u32) -> Vec<String> {
    // A shorter file is a new one.
    let text = read_from(path, |length| if length < from { 0 } else { from }).unwrap_or_default();
    text.lines().filter_map(|line| message(line, pid)).map(str::to_owned).collect()
}

/// The message of a line by this process of sshd. While sshd logs to stderr, its PAM modules log without a number,
/// unlike those of the daemon.
fn message(line: &str, pid: u32) -> Option<&str> {
    let parts = file::parts(line)?;
    let is_its = parts.pid.is_none_or(|number| number == pid.to_string());
    (is_sshd(parts.program) && is_its).then_some(parts.message)
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn lines_of_a_process() {
        let line = "Nov 21 20:00:00 host sshd[12]: pam_access(sshd:account): access denied";
        assert_eq!(message(line, 12), Some("pam_access(sshd:account): access denied"));
        assert_eq!(message(line, 1), None);
        let line = "2026-11-21T20:00:00+00:00 host sshd-session[12]: a]: b";
        assert_eq!(message(line, 12), Some("a]: b"));
        let line = "Nov 21 20:00:00 host sshd: pam_access(sshd:account): access denied";
        assert_eq!(message(line, 12), Some("pam_access(sshd:account): access denied"));
        assert_eq!(message("Nov 21 20:00:00 host other: sshd: x", 12), None);
        assert_eq!(message("Nov 21 20:00:00 host other[12]: sshd[12]: x", 12), None);
    }
}
