//! When an sshd last read its files: from its PID file, or from the record of `--enable`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::service::SshdService;
use crate::procfs::{self, Process};

/// The sshds of the last reload, by pid and start time. A boot removes the file and the processes.
const RELOADED: &str = "/run/eic-keys.reloaded";

/// When an sshd last read its files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LastRead {
    At(SystemTime),
    /// Then, when it was started or reloaded, or later.
    Since(SystemTime),
}

impl SshdService<'_> {
    /// Records for `--check` which sshds have read the current files. Some have no PID file, and no other record
    /// exists.
    pub(super) fn record_reloaded(&self, pids: &[u32]) {
        let lines = pids.iter().filter_map(|pid| Some(record(*pid, &self.process(*pid)?) + "\n"));
        let text: String = lines.collect();
        let path = self.tree.locate(Path::new(RELOADED));
        // If this fails, `--check` knows less. If nothing was reloaded, as in an image that is being built, no file stays.
        let _ = if text.is_empty() { fs::remove_file(path) } else { fs::write(path, text) };
    }

    /// When an sshd last read its files: when it wrote its PID file. Otherwise only its start is known, or when `--enable` reloaded it.
    pub(crate) fn read_at(&self, pid: u32) -> Option<LastRead> {
        let process = self.process(pid)?;
        let boot = procfs::boot_time(&self.tree.locate(Path::new("/proc")));
        let start =
            boot.and_then(|boot| SystemTime::UNIX_EPOCH.checked_add(boot)?.checked_add(process.since_boot()));
        let metadata = |path: &Path| fs::metadata(self.tree.locate(path)).ok();
        let reloaded = self.tree.read(Path::new(RELOADED)).unwrap_or_default();
        let reloaded = String::from_utf8_lossy(&reloaded).lines().any(|line| line == record(pid, &process));
        let reloaded = if reloaded { metadata(Path::new(RELOADED))?.modified().ok() } else { None };
        // sshd makes a new file each time, unless an older sshd left one behind. Its other times can be changed.
        let file = self.pid_file_of(pid).and_then(|file| metadata(&file));
        let is_possible = |time: &SystemTime| start.is_none_or(|start| *time >= start);
        let made = |file: fs::Metadata| {
            let made = file.created().ok().filter(is_possible);
            made.or_else(|| file.modified().ok().filter(is_possible))
        };
        let named = file.and_then(made);
        if named.is_some() {
            return reloaded.max(named).map(LastRead::At);
        }
        // It can have been reloaded since. The boot time is rounded down.
        reloaded.or_else(|| start?.checked_add(Duration::from_secs(1))).map(LastRead::Since)
    }

    /// Records that a change of the sshds of the last reload is complete. Removing the old files changes their directory
    /// after sshd has read the new ones.
    pub(super) fn record_end_of_change(&self) {
        let path = self.tree.locate(Path::new(RELOADED));
        let _ = fs::read(&path).and_then(|text| fs::write(&path, text));
    }
}

/// The line of [`RELOADED`] for a process: its pid and start time identify it.
fn record(pid: u32, process: &Process) -> String {
    format!("{pid} {}", process.started)
}
