//! Whether sshd's process of a login still runs.

use std::fs;
use std::path::Path;

use super::sessions::{Login, State};
use crate::system_log::SSHD;

/// Ticks per second in `/proc`: `USER_HZ`, which is the same on all architectures that EC2 has.
const TICKS: u64 = 100;

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
        let read = |file: &str| fs::read_to_string(root.join(file)).ok();
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
        let process = self.root.join("proc").join(&login.process.pid);
        let stat = match fs::read_to_string(process.join("stat")) {
            Ok(stat) => stat,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return State::Ended(None),
            Err(_) => return State::Unknown,
        };
        let Ok(program) = fs::read_link(process.join("exe")) else { return State::Unknown };
        let program = program.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let name = Path::new(&program).file_name();
        if !SSHD.iter().any(|sshd| name == Some((*sshd).as_ref())) {
            return State::Ended(None);
        }
        let Some(since_boot) = start_time(&stat) else { return State::Unknown };
        // A process that started after the login is another one with the same number. The clock can have been set, and
        // the monotonic one of the log stands still while the system is suspended: it is enough if one of them agrees.
        let real = started.saturating_add(since_boot) <= login.time.saturating_add(SLACK);
        let monotonic =
            login.process.monotonic.is_some_and(|login| since_boot <= login.saturating_add(SLACK));
        if real || monotonic { State::Open } else { State::Ended(None) }
    }
}

/// Microseconds from the start of the system to that of a process, from its `stat`. A name can contain blanks and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_ascii_whitespace().nth(19)?.parse::<u64>().ok()?;
    ticks.checked_mul(1_000_000)?.checked_div(TICKS)
}

#[cfg(test)]
mod tests {
    use super::start_time;

    #[test]
    fn the_start_of_a_process() {
        let fields: String = (4..22).map(|number| format!(" {number}")).collect();
        for name in ["sshd", "a) S 1 (b", "x y"] {
            assert_eq!(start_time(&format!("7 ({name}) S{fields} 250 9 9")), Some(2_500_000), "{name}");
        }
        assert_eq!(start_time("7 (sshd) S 1 2"), None);
        assert_eq!(start_time(""), None);
    }
}
