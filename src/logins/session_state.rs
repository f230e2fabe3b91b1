//! Whether sshd's process of a login still runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::finder::{Login, SessionState};
use crate::calendar::MICROS;
use crate::files;
use crate::limits;
use crate::procfs::{self, Process};
use crate::system_log::SSHD;
use crate::system_log::journal::Moment;

/// By how much two clocks can differ, in microseconds: one counts whole seconds.
const SLACK: u64 = 2 * MICROS;

/// By when a journal that has all entries of a boot begins, in microseconds after the start of the system. Nobody can log in much earlier.
const BOOT: u64 = 60 * MICROS;

/// The running system.
#[derive(Debug)]
pub(super) struct RunningSystem<'a> {
    root: &'a Path,
    boot: Option<String>,
    /// When the system was started, in microseconds since 1970.
    started: Option<u64>,
}

impl<'a> RunningSystem<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        let read = |file: &str| files::read_text(&root.join(file), limits::SYSTEM_FILE).ok();
        let boot = read("proc/sys/kernel/random/boot_id").map(|id| id.trim().replace('-', ""));
        let started = procfs::boot_time(&root.join("proc")).map(micros);
        Self { root, boot, started }
    }

    /// Whether a journal that begins with this entry has all entries of its boot. A container starts long after the kernel: with its first
    /// process.
    pub(super) fn is_start(&self, first: &Moment) -> bool {
        let is_running = self.boot.as_ref() == Some(&first.boot);
        let init = Process::read(&self.root.join("proc/1")).filter(|_| is_running);
        let start = init.map_or(0, |init| micros(init.since_boot()));
        first.monotonic <= start.saturating_add(BOOT)
    }

    /// The state of a login that has no end in the log.
    pub(super) fn state(&self, login: &Login) -> SessionState {
        let Some(started) = self.started else { return SessionState::Unknown };
        let earlier = match &login.process.boot {
            Some(boot) => Some(boot) != self.boot.as_ref(),
            None => login.time.saturating_add(SLACK) < started,
        };
        let directory = self.root.join("proc").join(login.process.pid.to_string());
        if earlier || !directory.exists() {
            return SessionState::Ended(None);
        }
        let (Some(process), Ok(program)) = (Process::read(&directory), fs::read_link(directory.join("exe")))
        else {
            return SessionState::Unknown;
        };
        let program = program.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let name = Path::new(&program).file_name();
        // sshd logs that it accepted a key with root's process.
        if !SSHD.iter().any(|sshd| name == Some((*sshd).as_ref())) || procfs::real_user(&directory) != Some(0)
        {
            return SessionState::Ended(None);
        }
        let since_boot = micros(process.since_boot());
        // A process that started after the login is another one with the same number. The clock can have been set, and
        // the monotonic one of the log stands still while the system is suspended: it is enough if one of them agrees.
        let real = started.saturating_add(since_boot) <= login.time.saturating_add(SLACK);
        let monotonic =
            login.process.monotonic.is_some_and(|login| since_boot <= login.saturating_add(SLACK));
        if real || monotonic { SessionState::Open } else { SessionState::Ended(None) }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
