//! Makes each running sshd that reads our lines read its configuration again.

use std::{
    error::Error,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use rustix::process::Signal;

use super::command_line::{config_options, without_title};
use super::service::{Listener, Listeners, SERVICES, SOCKETS, SshdService, SystemctlError};
use crate::error_text::WithCauses;
use crate::process::TrustedCommand;
use crate::procfs::{self, Process};
use crate::safe_path;

/// An sshd to reload.
struct ReloadTarget {
    /// Its process, if found.
    listener: Option<Listener>,
    /// The service whose main process it is.
    unit: Option<Unit>,
}

/// A service and its properties from systemctl.
struct Unit {
    name: String,
    properties: Vec<(String, String)>,
}

/// How to reload an sshd.
enum Method {
    /// By the reload of its unit.
    Unit,
    /// By stopping it: it got its socket from this socket unit, which starts it again.
    Stop(String),
    /// It got its socket from this socket unit, and stopping it would end its sessions. It is not reloaded.
    Skip(String),
    /// By SIGHUP.
    Signal,
}

/// How an administrator makes a listening sshd read its files again.
pub(crate) enum ReloadCommand {
    /// By the reload of this unit.
    Unit(String),
    /// By the reload of sshd's own unit.
    OwnUnit,
    /// By SIGHUP.
    Signal,
}

/// An sshd that cannot be reloaded.
pub(super) struct NotReloadable {
    pid: Option<u32>,
    /// Its name in messages.
    name: String,
    reason: NotReloadableReason,
    fix: String,
}

impl fmt::Display for NotReloadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.name, WithCauses(&self.reason), self.fix)
    }
}

/// Why one sshd cannot be reloaded. In messages, it follows the name of the sshd.
#[derive(Debug)]
enum NotReloadableReason {
    Systemctl(SystemctlError),
    /// Users other than root could change its program.
    UnsafeProgram(PathBuf, io::Error),
    /// Its program could not be run to test its configuration.
    NotTested(PathBuf, io::Error),
    /// Its program rejected its configuration with this message.
    Rejected {
        command: String,
        message: String,
    },
    /// It was started with a relative path, and could not execute its program again.
    RelativePath,
    /// Its unit cannot be reloaded, and its process is not known.
    NoProcess,
    /// It ended before it was signalled.
    Ended,
    Signal(Errno),
    /// It ended when it was reloaded.
    Exited,
    /// It runs, but did not restart itself within [`RESTART_TIMEOUT`].
    NotRestarted,
}

impl fmt::Display for NotReloadableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemctl(_) => f.write_str("cannot be reloaded"),
            Self::UnsafeProgram(path, _) => write!(f, "would execute {} again", path.display()),
            Self::NotTested(path, _) => {
                write!(f, "could not be tested with its configuration: {}", path.display())
            }
            Self::Rejected { command, message } => {
                write!(f, "would not start with its configuration: {command} reports: {message}")
            }
            Self::RelativePath => {
                f.write_str("was not started with an absolute path, and would exit at a reload")
            }
            Self::NoProcess => f.write_str("has no ExecReload=, or is masked, and its process was not found"),
            Self::Ended => f.write_str("ended before it was reloaded"),
            Self::Signal(_) => f.write_str("could not be signalled"),
            Self::Exited => f.write_str("exited at the reload"),
            Self::NotRestarted => f.write_str("did not read its configuration again"),
        }
    }
}

impl Error for NotReloadableReason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Systemctl(error) => Some(error),
            Self::UnsafeProgram(_, error) | Self::NotTested(_, error) => Some(error),
            Self::Signal(error) => Some(error),
            _ => None,
        }
    }
}

/// Why not every sshd was reloaded.
#[derive(Debug)]
pub(super) struct ReloadError {
    cause: ReloadFailure,
    /// Whether an sshd can have read the changed files.
    pub(super) may_have_read: bool,
}

#[derive(Debug)]
enum ReloadFailure {
    Systemctl(SystemctlError),
    Sshd { name: String, reason: NotReloadableReason },
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            ReloadFailure::Systemctl(error) => error.fmt(f),
            ReloadFailure::Sshd { name, reason } => write!(f, "{name} {reason}"),
        }
    }
}

impl Error for ReloadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            ReloadFailure::Systemctl(error) => error.source(),
            ReloadFailure::Sshd { reason, .. } => reason.source(),
        }
    }
}

impl From<SystemctlError> for ReloadFailure {
    fn from(error: SystemctlError) -> Self {
        Self::Systemctl(error)
    }
}

/// Time limit for an sshd to restart itself.
const RESTART_TIMEOUT: Duration = Duration::from_secs(20);

/// The properties of a service to query.
const PROPERTIES: [&str; 7] = [
    "--property=Id",
    "--property=LoadState",
    "--property=ActiveState",
    "--property=CanReload",
    "--property=MainPID",
    "--property=KillMode",
    "--property=TriggeredBy",
];

impl Unit {
    fn get(&self, name: &str) -> &str {
        self.properties.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str())
    }

    /// Whether a process is the main process of this service.
    fn is_main(&self, pid: u32) -> bool {
        self.get("MainPID").parse().is_ok_and(|main: u32| main == pid)
    }

    /// systemd 219 to 257 use these names. A missing property does not prevent a reload.
    fn can_reload(&self) -> bool {
        self.get("CanReload") != "no" && self.get("LoadState") != "masked"
    }
}

impl ReloadTarget {
    fn pid(&self) -> Option<u32> {
        self.listener.as_ref().map(|listener| listener.pid)
    }

    fn name(&self) -> String {
        match (&self.listener, &self.unit) {
            (Some(listener), Some(unit)) => format!("sshd (process {}, {})", listener.pid, unit.name),
            (Some(listener), None) => format!("sshd (process {})", listener.pid),
            (None, Some(unit)) => unit.name.clone(),
            (None, None) => "sshd".into(),
        }
    }

    /// The fix in messages: how to make it read its files again.
    fn fix(&self, reason: &NotReloadableReason) -> String {
        let restart = match (&self.unit, self.pid()) {
            (Some(unit), _) => format!("systemctl restart {}", unit.name),
            (None, Some(pid)) => format!("end process {pid} and start it again"),
            (None, None) => "restart it".into(),
        };
        match reason {
            // It would not start again, or would run the program of somebody else as root.
            NotReloadableReason::UnsafeProgram(..)
            | NotReloadableReason::NotTested(..)
            | NotReloadableReason::Rejected { .. } => {
                format!("correct that first, and only then: {restart}")
            }
            _ => restart,
        }
    }
}

impl SshdService<'_> {
    /// The sshds that read our lines and cannot be reloaded. Called before any change.
    pub(super) fn not_reloadable(&self, main: &Path) -> Result<Vec<NotReloadable>, SystemctlError> {
        let found = self.targets(main)?.into_iter().filter_map(|target| {
            let reason = self.method(&target).err()?;
            let fix = target.fix(&reason);
            Some(NotReloadable { pid: target.pid(), name: target.name(), reason, fix })
        });
        Ok(found.collect())
    }

    /// Reloads each running sshd that reads our lines, except those in `skipped`. `Ok` describes what was done, or
    /// remains to be done.
    pub(super) fn reload(&self, main: &Path, skipped: &[NotReloadable]) -> Result<String, ReloadError> {
        let nothing_reloaded =
            |error: SystemctlError| ReloadError { cause: error.into(), may_have_read: false };
        let targets = self.targets(main).map_err(nothing_reloaded)?;
        let mut lines: Vec<String> = Vec::new();
        let mut reloaded: Vec<u32> = Vec::new();
        for target in targets {
            if skipped.iter().any(|other| other.pid == target.pid()) {
                continue;
            }
            let before = target.pid().and_then(|pid| self.image(pid));
            match self.reload_one(&target, main, before.as_deref()) {
                Ok(line) => lines.push(line),
                Err(cause) => {
                    let unchanged =
                        before.is_some() && before == target.pid().and_then(|pid| self.image(pid));
                    return Err(ReloadError { cause, may_have_read: !lines.is_empty() || !unchanged });
                }
            }
            reloaded.extend(target.pid());
        }
        self.record_reloaded(&reloaded);
        if lines.is_empty() && skipped.is_empty() {
            lines.push(self.describe_no_daemon().map_err(nothing_reloaded)?);
        }
        Ok(lines.join("\n"))
    }

    /// The processes of the sshds that read our lines.
    pub(crate) fn daemons_with_our_lines(&self, main: &Path) -> Vec<u32> {
        let Listeners { with_main, with_other } = self.find_listeners(main);
        let other = with_other.into_iter().filter(|other| self.reads_our_lines(other, main) == Some(true));
        with_main.into_iter().chain(other).map(|listener| listener.pid).collect()
    }

    pub(super) fn process(&self, pid: u32) -> Option<Process> {
        Process::read(&self.tree.locate(Path::new(&format!("/proc/{pid}"))))
    }

    /// How a listening sshd is reloaded.
    pub(crate) fn reload_command(&self, pid: u32) -> ReloadCommand {
        match self.main_unit(pid).ok().flatten() {
            Some(unit) if unit.can_reload() => ReloadCommand::Unit(unit.name),
            None if self.first_active(&SERVICES).ok().flatten().is_some() => ReloadCommand::OwnUnit,
            _ => ReloadCommand::Signal,
        }
    }

    /// The service whose main process this is. Another process of a service is not reloaded with it, such as an sshd that a
    /// session started.
    fn main_unit(&self, pid: u32) -> Result<Option<Unit>, SystemctlError> {
        let Some(name) = self.service_of(pid) else { return Ok(None) };
        Ok(Some(self.unit(&name)?).filter(|unit| unit.is_main(pid)))
    }

    /// Describes when the change takes effect, if no sshd had to be reloaded.
    fn describe_no_daemon(&self) -> Result<String, SystemctlError> {
        if !self.has_systemd() {
            return Ok("systemd is not running: sshd reads the change at its next start, \
                       or after kill -HUP \"$(cat /run/sshd.pid)\"."
                .into());
        }
        Ok(match self.first_active(&SOCKETS)? {
            Some(socket) => {
                format!("{socket} starts sshd for each connection or at the next one: no reload is needed.")
            }
            None => "sshd does not run; it reads the change when it starts.".into(),
        })
    }

    /// Not cached: an sshd can have started since.
    fn targets(&self, main: &Path) -> Result<Vec<ReloadTarget>, SystemctlError> {
        let Listeners { with_main, with_other } = self.find_listeners(main);
        let other = with_other.into_iter().filter(|other| self.reads_our_lines(other, main) != Some(false));
        let has_systemd = self.has_systemd();
        let service = if has_systemd { self.first_active(&SERVICES)? } else { None };
        let service = match service {
            Some(name) => Some(self.unit(name)?),
            None => None,
        };
        let mut found: Vec<ReloadTarget> = Vec::new();
        for listener in with_main.into_iter().chain(other) {
            let unit = if has_systemd { self.main_unit(listener.pid)? } else { None };
            found.push(ReloadTarget { listener: Some(listener), unit });
        }
        let Some(service) = service else { return Ok(found) };
        match found.iter_mut().find(|target| target.pid().is_some_and(|pid| service.is_main(pid))) {
            Some(target) => {
                target.unit.get_or_insert(service);
            }
            None => found.push(ReloadTarget { listener: None, unit: Some(service) }),
        }
        Ok(found)
    }

    /// How an sshd can be reloaded, or why it cannot.
    fn method(&self, target: &ReloadTarget) -> Result<Method, NotReloadableReason> {
        if let Some(unit) = &target.unit {
            // An sshd that got its socket from systemd loses it when it restarts itself: it would exit sooner or
            // later, and until then connections would fail. If it is stopped, the socket unit starts another sshd.
            // Sessions continue (KillMode=process).
            if let Some(socket) = self.active_socket(unit).map_err(NotReloadableReason::Systemctl)? {
                let sessions_continue = matches!(unit.get("KillMode"), "process" | "none");
                return Ok(if sessions_continue { Method::Stop(socket) } else { Method::Skip(socket) });
            }
        }
        if let Some(listener) = &target.listener {
            self.test_configuration(listener)?;
        }
        match (&target.unit, &target.listener) {
            (Some(unit), _) if unit.can_reload() => Ok(Method::Unit),
            (_, Some(listener)) if !Path::new(program(&listener.line)).is_absolute() => {
                Err(NotReloadableReason::RelativePath)
            }
            (_, Some(_)) => Ok(Method::Signal),
            (_, None) => Err(NotReloadableReason::NoProcess),
        }
    }

    /// Reloads one sshd. `before` is the image of its process. `Ok` describes what was done.
    fn reload_one(
        &self,
        target: &ReloadTarget,
        main: &Path,
        before: Option<&[u8]>,
    ) -> Result<String, ReloadFailure> {
        let failed = |reason| ReloadFailure::Sshd { name: target.name(), reason };
        let unit = target.unit.as_ref().map_or("", |unit| unit.name.as_str());
        match self.method(target).map_err(failed)? {
            Method::Skip(socket) => {
                let mode = target.unit.as_ref().map_or("", |unit| unit.get("KillMode"));
                Ok(format!(
                    "{unit} was not reloaded: it must be stopped, so that {socket} starts it with the change, but with its \
                     KillMode={mode} that would end the sessions. Run systemctl stop {unit} when no user is logged in."
                ))
            }
            Method::Stop(socket) => {
                self.systemctl(&["stop", unit])?;
                Ok(format!("{unit} was stopped; {socket} starts it at the next connection."))
            }
            Method::Unit => {
                self.systemctl(&["reload", unit])?;
                self.wait_for_restart(target, main, before).map_err(failed)?;
                // Detect an sshd that exited at the reload.
                match self.first_active(&[unit])? {
                    Some(_) => Ok(format!("{unit} was reloaded.")),
                    None => Err(ReloadFailure::Sshd {
                        name: unit.to_owned(),
                        reason: NotReloadableReason::Exited,
                    }),
                }
            }
            Method::Signal => {
                let Some(listener) = &target.listener else {
                    return Err(failed(NotReloadableReason::NoProcess));
                };
                if !self.is_own_system() {
                    return Ok(format!(
                        "{} reads the change at its next start, or after kill -HUP {}.",
                        target.name(),
                        listener.pid
                    ));
                }
                self.send_sighup(listener.pid).map_err(failed)?;
                self.wait_for_restart(target, main, before).map_err(failed)?;
                Ok(format!("{} was sent SIGHUP and has read its configuration again.", target.name()))
            }
        }
    }

    /// Waits until sshd has restarted itself and listens.
    fn wait_for_restart(
        &self,
        target: &ReloadTarget,
        main: &Path,
        before: Option<&[u8]>,
    ) -> Result<(), NotReloadableReason> {
        let (Some(listener), Some(before)) = (&target.listener, before) else { return Ok(()) };
        if !self.is_own_system() {
            return Ok(());
        }
        // Without address randomization, the new image can look like the old one.
        let random =
            fs::read("/proc/sys/kernel/randomize_va_space").is_ok_and(|level| !level.starts_with(b"0"));
        let start = Instant::now();
        loop {
            match self.image(listener.pid) {
                Some(now) if (now != before || !random) && self.listens(listener.pid) => return Ok(()),
                // Without -D, sshd can continue in a child process.
                None if self.has_successor(listener, main) => return Ok(()),
                _ => {}
            }
            if start.elapsed() > RESTART_TIMEOUT {
                let exited = self.image(listener.pid).is_none();
                return Err(if exited {
                    NotReloadableReason::Exited
                } else {
                    NotReloadableReason::NotRestarted
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether another process with the same command line listens.
    fn has_successor(&self, ended: &Listener, main: &Path) -> bool {
        let Listeners { with_main, with_other } = self.find_listeners(main);
        with_main.iter().chain(&with_other).any(|listener| {
            listener.pid != ended.pid
                && command(&listener.line) == command(&ended.line)
                && self.listens(listener.pid)
        })
    }

    /// Identifies the image of a process: exec(2) changes the addresses.
    fn image(&self, pid: u32) -> Option<Vec<u8>> {
        let image = fs::read(self.tree.locate(Path::new(&format!("/proc/{pid}/auxv")))).ok()?;
        (!image.is_empty()).then_some(image)
    }

    /// Whether a process has a listening TCP socket.
    fn listens(&self, pid: u32) -> bool {
        !procfs::listening(&self.tree.locate(Path::new(&format!("/proc/{pid}")))).is_empty()
    }

    fn send_sighup(&self, pid: u32) -> Result<(), NotReloadableReason> {
        procfs::send_signal(pid, Signal::HUP, || self.listener(pid).is_some()).map_err(|error| match error {
            Errno::SRCH => NotReloadableReason::Ended,
            error => NotReloadableReason::Signal(error),
        })
    }

    /// Checks that an sshd would start with its current configuration and its original options.
    fn test_configuration(&self, listener: &Listener) -> Result<(), NotReloadableReason> {
        if !self.is_own_system() {
            return Ok(());
        }
        let program = Path::new(program(&listener.line));
        if !program.is_absolute() {
            return Ok(());
        }
        let checked = safe_path::program(Path::new("/"), program)
            .map_err(|error| NotReloadableReason::UnsafeProgram(program.to_owned(), error))?;
        let arguments = test_arguments(&listener.line);
        let output = TrustedCommand::new(checked)
            .with(&arguments)
            .run(self.timeout)
            .map_err(|error| NotReloadableReason::NotTested(program.to_owned(), error))?;
        if output.status.success() {
            return Ok(());
        }
        let shown = arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let command = format!("{} {shown}", program.display());
        Err(NotReloadableReason::Rejected { command, message: output.error_text() })
    }

    /// The service of the control group of a process.
    pub(super) fn service_of(&self, pid: u32) -> Option<String> {
        let groups = self.proc(pid, "cgroup")?;
        let paths = groups.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            matches!(controllers, "" | "name=systemd").then_some(path)
        });
        let mut paths = paths.filter(|path| !path.contains("/user.slice/"));
        paths.find_map(|path| path.rsplit('/').find(|part| part.ends_with(".service")).map(str::to_owned))
    }

    fn unit(&self, name: &str) -> Result<Unit, SystemctlError> {
        let arguments: Vec<&str> = ["show"].into_iter().chain(PROPERTIES).chain([name]).collect();
        let shown = self.systemctl(&arguments)?;
        let pairs = shown.lines().filter_map(|line| line.split_once('='));
        let properties = pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let mut unit = Unit { name: name.to_owned(), properties };
        if !unit.get("Id").is_empty() {
            unit.name = unit.get("Id").to_owned();
        }
        Ok(unit)
    }

    /// The active socket unit that passes connections to a service.
    fn active_socket(&self, unit: &Unit) -> Result<Option<String>, SystemctlError> {
        if SERVICES.contains(&unit.name.as_str()) {
            return Ok(self.first_active(&SOCKETS)?.map(str::to_owned));
        }
        let sockets: Vec<&str> =
            unit.get("TriggeredBy").split_whitespace().filter(|name| name.ends_with(".socket")).collect();
        if sockets.is_empty() {
            return Ok(None);
        }
        Ok(self.first_active(&sockets)?.map(str::to_owned))
    }
}

/// The command line of a listener, the same from its title and from its arguments.
fn command(line: &str) -> String {
    without_title(line).trim_end().replace('\0', " ")
}

fn program(line: &str) -> &str {
    without_title(line).split([' ', '\0']).next().unwrap_or_default()
}

/// The arguments with which sshd tests the configuration that it was started with.
fn test_arguments(line: &str) -> Vec<OsString> {
    let options = config_options(line).into_iter().flat_map(|option| option.words());
    [OsString::from("-t")].into_iter().chain(options).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_tested_with_the_options_of_its_sshd() {
        for (line, expected) in [
            ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "-t"),
            ("/usr/sbin/sshd -D -p 2222 -o PidFile=none ", "-t|-p|2222|-o|PidFile=none"),
            ("/usr/sbin/sshd -Df /x -E /log -e -4", "-t|-f|/x"),
            ("/usr/sbin/sshd -f/x -C user=a -h /key", "-t|-f|/x|-h|/key"),
            (
                "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommand /a %u -p 22 [listener] 0 of 1 startups",
                "-t|-o|AuthorizedKeysCommand /a %u|-p|22",
            ),
        ] {
            let words: Vec<_> =
                test_arguments(line).iter().map(|word| word.to_string_lossy().into_owned()).collect();
            assert_eq!(words.join("|"), expected, "{line}");
        }
        assert_eq!(program("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"), "/usr/sbin/sshd");
        assert_eq!(program("sshd -D"), "sshd");
    }

    #[test]
    fn no_sshd_that_would_not_start_is_to_be_restarted() {
        let listener = Listener { pid: 77, line: "/usr/sbin/sshd -D".to_owned() };
        let unit = Unit { name: "admin.service".to_owned(), properties: Vec::new() };
        let of_unit = ReloadTarget { listener: None, unit: Some(unit) };
        let other = ReloadTarget { listener: Some(listener), unit: None };
        let program = || PathBuf::from("/usr/sbin/sshd");
        let rejected = NotReloadableReason::Rejected {
            command: "/usr/sbin/sshd -t".to_owned(),
            message: "line 1: bad".to_owned(),
        };
        let unsafe_program = NotReloadableReason::UnsafeProgram(program(), io::ErrorKind::Other.into());
        let not_tested = NotReloadableReason::NotTested(program(), io::ErrorKind::NotFound.into());
        for (reason, first) in [
            (rejected, "correct that first, and only then: "),
            (unsafe_program, "correct that first, and only then: "),
            (not_tested, "correct that first, and only then: "),
            (NotReloadableReason::RelativePath, ""),
            (NotReloadableReason::NoProcess, ""),
        ] {
            assert_eq!(of_unit.fix(&reason), format!("{first}systemctl restart admin.service"));
            assert_eq!(other.fix(&reason), format!("{first}end process 77 and start it again"));
        }
    }
}
