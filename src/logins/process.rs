//! Whether sshd's process of a login still runs.

use std::fs;
use std::path::Path;

use super::sessions::{Login, State};
use crate::files;
use crate::limits;
use crate::procfs::Process;
use crate::system_log::SSHD;

/// `USER_HZ` is 100 on all architectures that EC2 has.
const MICROS_PER_TICK: u64 = 10_000;

/// By how much two clocks can differ, in microseconds: one counts whole seconds.
const SLACK: u64 = 2_000_000;

/// The running system.
#[derive(Debug)]
pub(super) struct Running<'a> {
    root: &'a Path,
    boot: Option<String>,
    /// When the system was started, in microseconds since 1970.
    started: Option<u64>,
}

impl<'a> Running<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        let read = |file: &str| files::read_text(&root.join(file), limits::SYSTEM_FILE).ok();
        let boot = read("proc/sys/kernel/random/boot_id").map(|id| id.trim().replace('-', ""));
        let started = read("proc/stat").and_then(|text| {
            let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.parse::<u64>().ok()?;
            seconds.checked_mul(1_000_000)
        });
        Self { root, boot, started }
    }

    /// The state of a login that has no end in the log.
    pub(super) fn state(&self, login: &Login) -> State {
        let Some(started) = self.started else { return State::Unknown };
        let earlier = match &login.process.boot {
            Some(boot) => Some(boot) != self.boot.as_ref(),
            None => login.time.saturating_add(SLACK) < started,
        };
        if earlier
            || !login.process.pid.bytes().all(|byte| byte.is_ascii_digit())
            || login.process.pid.is_empty()
        {
            return if earlier { State::Ended(None) } else { State::Unknown };
        }
        let directory = self.root.join("proc").join(&login.process.pid);
        if !directory.exists() {
            return State::Ended(None);
        }
        let (Some(process), Ok(program)) = (Process::read(&directory), fs::read_link(directory.join("exe")))
        else {
            return State::Unknown;
        };
        let program = program.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let name = Path::new(&program).file_name();
        if !SSHD.iter().any(|sshd| name == Some((*sshd).as_ref())) {
            return State::Ended(None);
        }
        let since_boot = process.started.saturating_mul(MICROS_PER_TICK);
        // A process that started after the login is another one with the same number. The clock can have been set, and
        // the monotonic one of the log stands still while the system is suspended: it is enough if one of them agrees.
        let real = started.saturating_add(since_boot) <= login.time.saturating_add(SLACK);
        let monotonic =
            login.process.monotonic.is_some_and(|login| since_boot <= login.saturating_add(SLACK));
        if real || monotonic { State::Open } else { State::Ended(None) }
    }
}
