//! The running sshd, and options on its command line that override its files.

use std::{
    cell::OnceCell,
    error::Error,
    fmt, fs,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    command_line::{has_option, other_config, sets_command, split_words},
    config::Config,
    drop_in::drop_in_paths,
    query::{admin_config, default_main_file},
    unit::{UNIT_NAMES, UnitLine, has_variable, numbered_lines, service_lines, unit_files},
    version::OpensshVersion,
};
use crate::account::is_root;
use crate::config_tree::ConfigTree;
use crate::files;
use crate::process::{Output, TrustedCommand};
use crate::procfs::{self, is_in_other_namespace};
use crate::safe_path::{self, Program};

/// The sshd service of a system with or without systemd.
pub(crate) struct SshdService<'a> {
    pub(crate) tree: &'a ConfigTree,
    /// The command that runs systemctl.
    pub(crate) systemctl: &'a TrustedCommand,
    /// Time limit for systemctl.
    pub(crate) timeout: Duration,
    /// The result of [`SshdService::find_listeners`].
    listeners: OnceCell<Listeners>,
}

/// The unit is ssh on Debian and Ubuntu, sshd elsewhere. One can be an alias of the other.
pub(crate) const SERVICES: [&str; 2] = ["ssh.service", "sshd.service"];
pub(crate) const SOCKETS: [&str; 2] = ["ssh.socket", "sshd.socket"];

/// sshd writes it at each start and reload.
const PID_FILE: &str = "/run/sshd.pid";

/// Time limit for a reload. The unit runs `sshd -t` first.
pub(super) const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(30);

/// systemctl failed.
#[derive(Debug)]
pub(crate) struct SystemctlError {
    arguments: String,
    reason: SystemctlFailure,
}

/// How systemctl failed.
#[derive(Debug)]
enum SystemctlFailure {
    /// It could not be run.
    Run(io::Error),
    /// It failed with this message.
    Status(String),
}

impl fmt::Display for SystemctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "systemctl {}", self.arguments)?;
        match &self.reason {
            SystemctlFailure::Run(_) => Ok(()),
            SystemctlFailure::Status(message) => write!(f, ": {message}"),
        }
    }
}

impl Error for SystemctlError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            SystemctlFailure::Run(error) => Some(error),
            SystemctlFailure::Status(_) => None,
        }
    }
}

impl<'a> SshdService<'a> {
    /// Runs no command yet.
    pub(crate) fn new(tree: &'a ConfigTree, systemctl: &'a TrustedCommand, timeout: Duration) -> Self {
        Self { tree, systemctl, timeout, listeners: OnceCell::new() }
    }

    /// Why changes to the main file would have no effect on the running sshd, or on the one that its unit would
    /// start, and the fix.
    pub(crate) fn overridden(&self, main: &Path) -> Option<String> {
        let Listeners { with_main, with_other } = self.listeners(main);
        let settings = self.unit_lines();
        let units = commands(&settings);
        let mut lines: Vec<String> = with_main.iter().map(|listener| listener.line.clone()).collect();
        if self.has_systemd() {
            let show = self.systemctl.clone().with(["show", "--property=ExecStart"]).with(SERVICES);
            let shown = show.run(self.timeout).ok();
            lines.extend(shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()));
        } else {
            lines.extend(units.iter().map(|line| line.text.clone()));
        }
        // systemctl shows the names of variables. Their values can be in environment files.
        let variables = self.variables(&settings, &units);
        lines.extend(variables.iter().map(|line| line.text.clone()));
        let lines: Vec<String> = lines.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        let place = |wrong: &dyn Fn(&str) -> bool| {
            units.iter().chain(&variables).find(|line| wrong(&line.text)).map(UnitLine::place)
        };
        if lines.iter().any(|line| sets_command(line)) {
            let (place, fix) = match place(&sets_command) {
                Some(place) => (
                    place,
                    "remove that option (AWS's package ec2-instance-connect puts one into the unit: remove the package)",
                ),
                None => (
                    "the command line of the running sshd".into(),
                    "find what starts sshd with that option, and remove it",
                ),
            };
            return Some(format!(
                "{place} has -o AuthorizedKeysCommand, which overrides every file: {fix}, \
                 then systemctl daemon-reload, restart sshd, and run --enable again"
            ));
        }
        if let Some(other) = lines.iter().find_map(|line| other_config(line, main)) {
            let place = place(&|line| other_config(line, main).is_some());
            let place = place.map_or_else(String::new, |place| format!(" ({place})"));
            return Some(format!("sshd runs with -f {other}{place}, not with {}: {BY_HAND}", main.display()));
        }
        let other = with_other.first().filter(|_| with_main.is_empty())?;
        // The socket unit starts the unit's sshd when a client connects.
        if self.has_systemd() && self.first_active(&SOCKETS).ok().flatten().is_some() {
            return None;
        }
        Some(format!(
            "the only running sshd, {}, does not read {}: {BY_HAND}",
            other.shown(main),
            main.display()
        ))
    }

    /// The other daemons than `serving` whose file has no AuthorizedKeysCommand that names eic-keys: their processes and files.
    pub(crate) fn without_our_command(&self, main: &Path, serving: Option<u32>) -> Vec<(u32, PathBuf)> {
        let has = |file: &Path| {
            let Ok(config) = Config::read(self.tree, file, OpensshVersion::newest()) else { return true };
            config
                .settings()
                .iter()
                .any(|setting| String::from_utf8_lossy(&setting.value).contains("eic-keys"))
        };
        let mut others = self.other_files(main);
        others.retain(|(pid, file)| Some(*pid) != serving && !has(file));
        others
    }

    /// Notes about daemons that use another file than the main one.
    pub(super) fn notes_on_others(&self, main: &Path) -> Vec<String> {
        self.listeners(main)
            .with_other
            .iter()
            .filter(|other| self.reads_our_lines(other, main) != Some(true))
            .map(|other| {
                format!(
                    "Note: another sshd is running, {}: its configuration is not changed. {BY_HAND_TOO}",
                    other.shown(main)
                )
            })
            .collect()
    }

    /// The daemons that use another file than the main one, and their files.
    pub(super) fn other_files(&self, main: &Path) -> Vec<(u32, PathBuf)> {
        let file = |other: &Listener| Some((other.pid, other_config(&other.line, main)?.into()));
        self.listeners(main).with_other.iter().filter_map(file).collect()
    }

    /// Describes where a running daemon or a unit sets `-o AuthorizedKeysCommand` with `program`.
    pub(super) fn find_command_line(&self, main: &Path, program: &str) -> Option<String> {
        let names = |line: &str| sets_command(line) && line.contains(program);
        let Listeners { with_main, with_other } = self.listeners(main);
        let process = with_main.iter().chain(with_other).find(|listener| names(&listener.line));
        let shown = process.map(|listener| format!("the command line of sshd, process {}", listener.pid));
        shown.or_else(|| self.unit_lines().iter().find(|line| names(&line.text)).map(UnitLine::place))
    }

    /// Whether an sshd that uses the main file is running.
    pub(super) fn is_running(&self, main: &Path) -> bool {
        let active = || self.has_systemd() && self.first_active(&SERVICES).ok().flatten().is_some();
        !self.listeners(main).with_main.is_empty() || active()
    }

    pub(crate) fn has_systemd(&self) -> bool {
        has_systemd(self.tree)
    }

    /// The first of these units that is active.
    pub(crate) fn first_active<'u>(&self, units: &[&'u str]) -> Result<Option<&'u str>, SystemctlError> {
        let arguments: Vec<&str> = ["is-active"].iter().chain(units).copied().collect();
        // The exit status covers only the last unit; the output has one line per unit.
        let output = self.run_systemctl(&arguments)?;
        let states = String::from_utf8_lossy(&output.stdout).into_owned();
        let active = |(_, state): &(&&str, &str)| matches!(state.trim(), "active" | "reloading");
        Ok(units.iter().zip(states.lines()).find(active).map(|(unit, _)| *unit))
    }

    pub(super) fn systemctl(&self, arguments: &[&str]) -> Result<String, SystemctlError> {
        let output = self.run_systemctl(arguments)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let reason = SystemctlFailure::Status(output.error_text());
            Err(SystemctlError { arguments: arguments.join(" "), reason })
        }
    }

    fn run_systemctl(&self, arguments: &[&str]) -> Result<Output, SystemctlError> {
        self.systemctl.clone().with(arguments).run(self.timeout).map_err(|error| SystemctlError {
            arguments: arguments.join(" "),
            reason: SystemctlFailure::Run(error),
        })
    }

    /// The sshd that wrote [`PID_FILE`], if it runs.
    pub(crate) fn pid_file_owner(&self) -> Option<Listener> {
        let pid = self.number_in(Path::new(PID_FILE))?;
        let line = self.command_line(pid)?;
        // Another process can have the pid now.
        line.split([' ', '\0']).take(2).any(|word| word.ends_with("sshd")).then_some(Listener { pid, line })
    }

    /// The process number in a file.
    fn number_in(&self, file: &Path) -> Option<u32> {
        std::str::from_utf8(&self.tree.read(file).ok()?).ok()?.trim().parse().ok()
    }

    /// The PID file that has the number of an sshd: [`PID_FILE`], or that of its configuration.
    pub(super) fn pid_file_of(&self, pid: u32) -> Option<PathBuf> {
        let names = |file: &PathBuf| self.number_in(file) == Some(pid);
        let configured = || {
            let default = default_main_file(self.tree);
            let main = other_config(&self.command_line(pid)?, &default).map_or(default, PathBuf::from);
            let config = Config::read(self.tree, &main, OpensshVersion::newest()).ok()?;
            config.paths("pidfile").into_iter().map(|(_, file)| file).find(names)
        };
        Some(PathBuf::from(PID_FILE)).filter(names).or_else(configured)
    }

    /// The sshd that serves this system: the one of its own unit; or else one that uses the main file and
    /// listens on port 22; or else the one that wrote [`PID_FILE`], one that uses the main file, or the only one.
    pub(crate) fn serving(&self, main: &Path) -> Option<Listener> {
        let named = self.sshd_of_pid_file(main);
        if named.as_ref().is_some_and(|named| self.is_of_own_unit(named.pid)) {
            return named;
        }
        // Another sshd can have written the file last.
        let Listeners { with_main, with_other } = self.listeners(main);
        let of_unit = with_main.iter().chain(with_other).find(|listener| self.is_of_own_unit(listener.pid));
        let usual = || with_main.iter().find(|listener| self.has_usual_port(listener.pid));
        if let Some(found) = of_unit.or_else(usual) {
            return Some(found.clone());
        }
        let only = || with_other.first().filter(|_| with_other.len() == 1);
        let first = || with_main.first().or_else(only).cloned();
        named.or_else(first).filter(|Listener { pid, line }| {
            other_config(line, main).is_none() || self.has_usual_port(*pid) || !self.is_beside_unit(*pid)
        })
    }

    /// Whether a process is in the control group of sshd's own unit.
    pub(crate) fn is_of_own_unit(&self, pid: u32) -> bool {
        self.service_of(pid).is_some_and(|unit| SERVICES.contains(&unit.as_str()))
    }

    /// Whether this process listens on port 22. Only root can find that out.
    fn has_usual_port(&self, pid: u32) -> bool {
        let process = self.tree.locate(Path::new(&format!("/proc/{pid}")));
        procfs::listening(&process).iter().any(|socket| socket.local.port() == 22)
    }

    /// Whether an sshd is not the one that is meant to serve this system: a socket unit waits for clients, or sshd's own unit is enabled
    /// and this is another one's process.
    fn is_beside_unit(&self, pid: u32) -> bool {
        let enabled = || {
            let states = self.run_systemctl(&[&["is-enabled"], &SERVICES[..]].concat()).ok();
            states
                .is_some_and(|states| states.stdout.split(|byte| *byte == b'\n').any(|one| one == b"enabled"))
        };
        let waits = || self.first_active(&SOCKETS).ok().flatten().is_some();
        self.has_systemd() && (waits() || self.service_of(pid).is_some() && enabled())
    }

    /// Whether no other sshd listens.
    pub(crate) fn is_only_one(&self, main: &Path) -> bool {
        let Listeners { with_main, with_other } = self.listeners(main);
        with_main.len().saturating_add(with_other.len()) == 1
    }

    /// The process that the PID file names, if it is an sshd of this system. A stale PID file can name any process, also one of a
    /// container, and the options of this one are passed to sshd.
    fn sshd_of_pid_file(&self, main: &Path) -> Option<Listener> {
        // Only root can see which root directory root's processes have.
        let is_other = |pid| self.is_own_system() && is_root() && self.has_other_files(pid, main);
        self.pid_file_owner().filter(|owner| self.is_sshd(owner.pid) && !is_other(owner.pid))
    }

    /// The listening daemons of this system. The result is cached.
    fn listeners(&self, main: &Path) -> &Listeners {
        self.listeners.get_or_init(|| self.find_listeners(main))
    }

    /// Finds the listeners, without the cache.
    pub(super) fn find_listeners(&self, main: &Path) -> Listeners {
        let first = self.sshd_of_pid_file(main);
        let mut found: Vec<Listener> = first.into_iter().collect();
        for pid in procfs::processes(&self.tree.locate(Path::new("/proc"))) {
            if found.iter().any(|known| known.pid == pid) {
                continue;
            }
            let line = self.listener(pid).filter(|_| !self.has_other_files(pid, main));
            found.extend(line.map(|line| Listener { pid, line }));
        }
        let (with_main, with_other) =
            found.into_iter().partition(|listener| other_config(&listener.line, main).is_none());
        Listeners { with_main, with_other }
    }

    /// The command line of a process that is a listening sshd, not a session and not started for one connection.
    pub(super) fn listener(&self, pid: u32) -> Option<String> {
        let is_named_sshd = |pid: u32| self.proc(pid, "comm").is_some_and(|name| name.trim_end() == "sshd");
        if !is_named_sshd(pid) || !self.is_sshd(pid) {
            return None;
        }
        let line = self.command_line(pid)?;
        // The title of a session has no [listener] mark. A process that is ending has no command line.
        if line.is_empty() || line.starts_with("sshd: ") && !line.contains("[listener]") {
            return None;
        }
        // sshd for one connection, or one that tests or prints a configuration.
        if has_option(&line, "iRtTGV") {
            return None;
        }
        // A new child has the title of the listener until it sets its own.
        let parent = self.status(pid, "PPid")?.parse().ok()?;
        (!is_named_sshd(parent)).then_some(line)
    }

    /// Whether the tree is this machine's own, so that its processes can be examined and signalled.
    pub(super) fn is_own_system(&self) -> bool {
        self.tree.locate(Path::new("/")) == Path::new("/")
    }

    /// Whether a process with the name sshd runs as root, and from a file of this name. Any user can give a process the
    /// name, and a command line that would have `--enable` or `--disable` refused. Without root, the file of root's
    /// process is not known.
    fn is_sshd(&self, pid: u32) -> bool {
        if !self.is_own_system() {
            return true;
        }
        let users = self.status(pid, "Uid").unwrap_or_default();
        let from_sshd = match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(program) => {
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                name.trim_end_matches(" (deleted)") == "sshd"
            }
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        };
        from_sshd && !users.is_empty() && users.split_whitespace().all(|user| user == "0")
    }

    /// The command line or the title of a process, for the functions of `command_line`.
    fn command_line(&self, pid: u32) -> Option<String> {
        Some(self.proc(pid, "cmdline")?.trim_end_matches('\0').to_owned())
    }

    /// A field of the status of a process.
    fn status(&self, pid: u32, field: &str) -> Option<String> {
        procfs::status(&self.tree.locate(Path::new(&format!("/proc/{pid}"))), field)
    }

    pub(super) fn proc(&self, pid: u32, name: &str) -> Option<String> {
        let path = self.tree.locate(Path::new(&format!("/proc/{pid}/{name}")));
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(MAX_COMMAND_LINE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether an sshd with another main file includes ours. `None` if that file cannot be read.
    pub(super) fn reads_our_lines(&self, other: &Listener, main: &Path) -> Option<bool> {
        let file = other_config(&other.line, main)?;
        let ours: Vec<_> = drop_in_paths(admin_config(main).parent().unwrap_or(main)).collect();
        // Drop-ins that do not exist, or no longer exist, count too.
        let tree = ours.iter().fold(self.tree.clone(), |tree, path| tree.with(path, Some(Vec::new())));
        let config = Config::read(&tree, Path::new(&file), OpensshVersion::newest()).ok()?;
        Some(config.files().any(|file| file.path() == main || ours.iter().any(|path| path == file.path())))
    }

    /// Whether a process is in a container or has another root directory, and so reads other files. If this cannot be
    /// determined, it is not, unless access is denied.
    fn has_other_files(&self, pid: u32, main: &Path) -> bool {
        let locate = |path: &str| self.tree.locate(Path::new(path));
        let identity = |path: &Path| fs::metadata(path).map(|file| files::identity(&file));
        if is_in_other_namespace(&locate("/"), pid, "pid") {
            return true;
        }
        let root = locate(&format!("/proc/{pid}/root"));
        match identity(&root) {
            // Permission is denied, or the process has ended: it is ignored.
            Err(error) => error.kind() == ErrorKind::PermissionDenied || self.listener(pid).is_none(),
            Ok(there) => {
                let file = files::below(&root, main);
                // The roots differ if only one of them has the file.
                let seen = |path: &Path| match identity(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => None,
                    file => Some(file.ok()),
                };
                identity(&locate("/")).is_ok_and(|here| here != there)
                    || seen(&self.tree.locate(main))
                        .zip(seen(&file))
                        .is_some_and(|(here, there)| here != there)
            }
        }
    }

    /// Values that the environment adds to the command line of sshd's units.
    fn variables(&self, settings: &[UnitLine], units: &[UnitLine]) -> Vec<UnitLine> {
        let used = |line: &str| {
            let name = line.split('=').next().unwrap_or_default().trim();
            let name = name.strip_prefix("export ").unwrap_or(name);
            units.iter().any(|line| has_variable(&line.text, name))
        };
        let mut found: Vec<UnitLine> = Vec::new();
        for (line, value) in values(settings, "Environment") {
            let used = split_words(value).into_iter().filter(|assignment| used(assignment));
            let value = |assignment: String| UnitLine { text: assigned_value(&assignment), ..line.clone() };
            found.extend(used.map(value));
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for (_, value) in values(settings, "EnvironmentFile") {
            let file = PathBuf::from(value.strip_prefix('-').unwrap_or(value));
            if !files.contains(&file) {
                files.push(file);
            }
        }
        for file in files {
            let Ok(bytes) = self.tree.read(&file) else { continue };
            let lines = numbered_lines(&bytes);
            let lines = lines.into_iter().filter(|(_, line)| used(line));
            let value = |(number, line): (usize, String)| UnitLine {
                file: file.clone(),
                number,
                text: assigned_value(&line),
            };
            found.extend(lines.map(value));
        }
        found
    }

    /// The file and line of a unit, or of a file with its environment, that gives sshd an option.
    pub(crate) fn place_of_option(&self, letter: char) -> Option<String> {
        let settings = self.unit_lines();
        let units = commands(&settings);
        let variables = self.variables(&settings, &units);
        let letter = letter.to_string();
        variables.iter().chain(&units).find(|line| has_option(&line.text, &letter)).map(UnitLine::place)
    }

    /// The settings of sshd's units.
    fn unit_lines(&self) -> Vec<UnitLine> {
        let of_unit = |unit| service_lines(self.tree, &unit_files(self.tree, unit));
        UNIT_NAMES.into_iter().flat_map(of_unit).collect()
    }
}

/// The program of a running sshd, if only root can change it. sshd runs it again by its path, which can be a newer file than the one
/// that it was started from.
///
/// # Errors
/// `NotFound` if there is no file with this path; otherwise why it must not be run.
pub(crate) fn program_of(pid: u32) -> io::Result<Program> {
    let path = fs::read_link(format!("/proc/{pid}/exe"))?.into_os_string();
    let path = path.to_str().ok_or(ErrorKind::InvalidInput)?;
    let path = Path::new(path.strip_suffix(" (deleted)").unwrap_or(path));
    let program = safe_path::program(Path::new("/"), path)?;
    // The path is the one in sshd's mount namespace, and can lead to another file here.
    let identity = |path: &Path| fs::metadata(path).map(|file| files::identity(&file));
    let there = files::below(&Path::new("/proc").join(pid.to_string()).join("root"), path);
    if identity(path)? != identity(&there)? {
        return Err(io::Error::other(format!(
            "{} is another file in sshd's mount namespace",
            path.display()
        )));
    }
    Ok(program)
}

/// Whether systemd runs this system (`sd_booted(3)`).
pub(crate) fn has_systemd(tree: &ConfigTree) -> bool {
    tree.locate(Path::new("/run/systemd/system")).is_dir()
}

/// The fix for an sshd that reads a file that is not edited.
const BY_HAND: &str = "add AuthorizedKeysCommand and AuthorizedKeysCommandUser to that file by hand";
const BY_HAND_TOO: &str = "To use EC2 Instance Connect there too, add AuthorizedKeysCommand and AuthorizedKeysCommandUser to that file by hand.";

/// Maximum length of an sshd command line.
const MAX_COMMAND_LINE: u64 = 65536;

/// The listening daemons of a system.
#[derive(Debug)]
pub(super) struct Listeners {
    /// Those that use the main file.
    pub(super) with_main: Vec<Listener>,
    /// Those that use another file.
    pub(super) with_other: Vec<Listener>,
}

/// An sshd that listens for connections.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) pid: u32,
    /// Its command line.
    pub(crate) line: String,
}

impl Listener {
    fn shown(&self, main: &Path) -> String {
        let file = other_config(&self.line, main).unwrap_or_default();
        format!("process {} with -f {file}", self.pid)
    }
}

/// The lines of a unit setting, and their values.
fn values<'a>(lines: &'a [UnitLine], name: &'a str) -> impl Iterator<Item = (&'a UnitLine, &'a str)> {
    lines.iter().filter_map(move |line| {
        let (setting, value) = line.setting()?;
        (setting == name).then_some((line, value))
    })
}

/// The lines that start sshd.
fn commands(lines: &[UnitLine]) -> Vec<UnitLine> {
    values(lines, "ExecStart").map(|(line, _)| line.clone()).collect()
}

/// The value of an assignment, without the opening quote.
fn assigned_value(line: &str) -> String {
    let value = line.split_once('=').map_or(line, |(_, value)| value).trim();
    value.strip_prefix(['"', '\'']).unwrap_or(value).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn processes_are_searched_once() {
        let root = std::env::temp_dir().join(format!("eic-keys-service-{}", std::process::id()));
        let process = root.join("proc/77");
        fs::create_dir_all(&process).unwrap();
        for (name, text) in
            [("comm", "sshd\n"), ("cmdline", "/usr/sbin/sshd\0-f\0/x\0"), ("status", "PPid:\t1\n")]
        {
            fs::write(process.join(name), text).unwrap();
        }
        let tree = ConfigTree::new(&root);
        let systemctl = TrustedCommand::new("false");
        let service = SshdService::new(&tree, &systemctl, SYSTEMCTL_TIMEOUT);
        let main = Path::new("/etc/ssh/sshd_config");
        let found = service.notes_on_others(main);
        assert_eq!(found.len(), 1, "{found:?}");
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(service.notes_on_others(main), found);
    }
}
