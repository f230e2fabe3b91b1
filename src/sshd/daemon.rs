//! The running sshd, and options on its command line that override its files.

use std::{
    cell::OnceCell,
    error::Error,
    ffi::{OsStr, OsString},
    fmt, fs,
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    config_tree::ConfigTree, drop_in::drop_in_paths, effective::Config, lexer::OpensshVersion,
    query::admin_config,
};
use crate::process::{Output, run};
use crate::safe_path::{self, Program};
use crate::tool::is_root;

/// The sshd service of a system with or without systemd.
pub(crate) struct Daemon<'a> {
    pub(crate) tree: &'a ConfigTree,
    /// The command that runs systemctl.
    pub(crate) systemctl: &'a [OsString],
    /// Time limit for systemctl.
    pub(crate) timeout: Duration,
    /// The result of [`Daemon::find_listeners`].
    listeners: OnceCell<Listeners>,
}

/// The unit is ssh on Debian and Ubuntu, sshd elsewhere. One can be an alias of the other.
pub(crate) const SERVICES: [&str; 2] = ["ssh.service", "sshd.service"];
pub(crate) const SOCKETS: [&str; 2] = ["ssh.socket", "sshd.socket"];

/// The directories of systemd units, highest priority first.
pub(super) const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// sshd writes it at each start and reload.
pub(crate) const PID_FILE: &str = "/run/sshd.pid";

/// Time limit for a reload. The unit runs `sshd -t` first.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

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

impl<'a> Daemon<'a> {
    /// Runs no command yet.
    pub(crate) fn new(tree: &'a ConfigTree, systemctl: &'a [OsString], timeout: Duration) -> Self {
        Self { tree, systemctl, timeout, listeners: OnceCell::new() }
    }

    /// Why changes to the main file would have no effect on the running sshd, or on the one that its unit would
    /// start, and the fix.
    pub(crate) fn overridden(&self, main: &Path) -> Option<String> {
        let Listeners { with_main, with_other } = self.listeners(main);
        let settings = self.unit_lines();
        let units: Vec<Line> =
            settings.iter().filter(|(_, _, line)| line.starts_with("ExecStart")).cloned().collect();
        let mut lines: Vec<String> = with_main.iter().map(|listener| listener.line.clone()).collect();
        if self.has_systemd() {
            let arguments = ["show", "--property=ExecStart"].iter().chain(&SERVICES).map(OsStr::new);
            let shown = run(self.systemctl, &arguments.collect::<Vec<_>>(), self.timeout).ok();
            lines.extend(shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()));
        } else {
            lines.extend(units.iter().map(|(_, _, line)| line.clone()));
        }
        // systemctl shows the names of variables. Their values can be in environment files.
        let variables = self.variables(&settings, &units);
        lines.extend(variables.iter().map(|(_, _, line)| line.clone()));
        let lines: Vec<String> = lines.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        let place = |wrong: &dyn Fn(&str) -> bool| {
            let (path, line, _) = units.iter().chain(&variables).find(|(_, _, line)| wrong(line))?;
            Some(format!("{} line {line}", path.display()))
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
        shown.or_else(|| {
            let (path, line, _) = self.unit_lines().into_iter().find(|(_, _, line)| names(line))?;
            Some(format!("{} line {line}", path.display()))
        })
    }

    /// Whether an sshd that uses the main file is running.
    pub(super) fn is_running(&self, main: &Path) -> bool {
        let active = || self.has_systemd() && self.first_active(&SERVICES).ok().flatten().is_some();
        !self.listeners(main).with_main.is_empty() || active()
    }

    pub(crate) fn has_systemd(&self) -> bool {
        // sd_booted(3)
        self.tree.locate(Path::new("/run/systemd/system")).is_dir()
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
        let words: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        run(self.systemctl, &words, self.timeout).map_err(|error| SystemctlError {
            arguments: arguments.join(" "),
            reason: SystemctlFailure::Run(error),
        })
    }

    /// The pid and command line of the sshd that wrote [`PID_FILE`], if it runs. sshd writes its arguments to its process
    /// title, so the words are separated by blanks in both cases.
    pub(crate) fn pid_file_owner(&self) -> Option<(u32, String)> {
        let pid = self.tree.read(Path::new(PID_FILE)).ok()?;
        let pid: u32 = std::str::from_utf8(&pid).ok()?.trim().parse().ok()?;
        let line = self.proc(pid, "cmdline")?.replace('\0', " ");
        // Another process can have the pid now.
        line.split(' ').take(2).any(|word| word.ends_with("sshd")).then_some((pid, line))
    }

    /// The pid and command line of the sshd that serves this system: the one that wrote [`PID_FILE`], or else one that
    /// uses the main file.
    pub(crate) fn serving(&self, main: &Path) -> Option<(u32, String)> {
        self.sshd_of_pid_file(main).or_else(|| {
            let ours = &self.listeners(main).with_main;
            ours.first().map(|listener| (listener.pid, listener.line.clone()))
        })
    }

    /// The process that the PID file names, if it is an sshd of this system. A stale PID file can name any process, also one of a
    /// container, and the options of this one are passed to sshd.
    fn sshd_of_pid_file(&self, main: &Path) -> Option<(u32, String)> {
        // Only root can see which root directory root's processes have.
        let is_other = |pid| self.is_own_system() && is_root() && self.has_other_files(pid, main);
        self.pid_file_owner().filter(|(pid, _)| self.is_sshd(*pid) && !is_other(*pid))
    }

    /// The listening daemons of this system. The result is cached.
    fn listeners(&self, main: &Path) -> &Listeners {
        self.listeners.get_or_init(|| self.find_listeners(main))
    }

    /// The same, not cached.
    pub(super) fn find_listeners(&self, main: &Path) -> Listeners {
        let first = self.sshd_of_pid_file(main);
        let mut found: Vec<Listener> = first.map(|(pid, line)| Listener { pid, line }).into_iter().collect();
        let entries = fs::read_dir(self.tree.locate(Path::new("/proc"))).into_iter().flatten().flatten();
        for entry in entries.take(MAX_PROCESSES) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
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
        let line = self.proc(pid, "cmdline")?.replace('\0', " ");
        // The title of a session has no [listener] mark. A process that is ending has no command line.
        if line.is_empty() || line.starts_with("sshd: ") && !line.contains("[listener]") {
            return None;
        }
        // sshd for one connection, or one that tests or prints a configuration.
        if options_of_line(&line).iter().any(|option| "iRtTGV".contains(option.letter)) {
            return None;
        }
        // A new child has the title of the listener until it sets its own.
        let status = self.proc(pid, "status").unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
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
        let status = self.proc(pid, "status").unwrap_or_default();
        let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let from_sshd = match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(program) => {
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                name.trim_end_matches(" (deleted)") == "sshd"
            }
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        };
        from_sshd && !users.is_empty() && users.split_whitespace().all(|user| user == "0")
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
        let namespace = |pid: &str| fs::read_link(locate(&format!("/proc/{pid}/ns/pid"))).ok();
        let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
        if namespace("self").zip(namespace(&pid.to_string())).is_some_and(|(here, there)| here != there) {
            return true;
        }
        let root = locate(&format!("/proc/{pid}/root"));
        match identity(&root) {
            // Permission is denied, or the process has ended: it is ignored.
            Err(error) => error.kind() == ErrorKind::PermissionDenied || self.listener(pid).is_none(),
            Ok(there) => {
                let file = root.join(main.strip_prefix("/").unwrap_or(main));
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
    fn variables(&self, settings: &[Line], units: &[Line]) -> Vec<Line> {
        let used = |line: &str| {
            let name = line.split('=').next().unwrap_or_default().trim();
            let name = name.strip_prefix("export ").unwrap_or(name);
            let used = [format!("${name}"), format!("${{{name}}}")];
            !name.is_empty()
                && units.iter().any(|(_, _, line)| {
                    line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
                        .any(|word| used.iter().any(|name| name == word))
                })
        };
        let mut found: Vec<Line> = Vec::new();
        for (path, at, value) in values(settings, "Environment") {
            let used = assignments(value).into_iter().filter(|assignment| used(assignment));
            found.extend(used.map(|assignment| (path.clone(), at, assigned_value(&assignment))));
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for (_, _, value) in values(settings, "EnvironmentFile") {
            let file = PathBuf::from(value.strip_prefix('-').unwrap_or(value));
            if !files.contains(&file) {
                files.push(file);
            }
        }
        for file in files {
            let Ok(bytes) = self.tree.read(&file) else { continue };
            let lines = numbered_lines(&bytes);
            let lines = lines.into_iter().filter(|(_, line)| used(line));
            found.extend(lines.map(|(at, line)| (file.clone(), at, assigned_value(&line))));
        }
        found
    }

    /// The lines of sshd's units.
    fn unit_lines(&self) -> Vec<Line> {
        let mut found = Vec::new();
        for directory in UNITS {
            for unit in ["ssh", "sshd", "ssh@", "sshd@"] {
                let mut files = vec![PathBuf::from(format!("{directory}/{unit}.service"))];
                files.extend(self.tree.glob(format!("{directory}/{unit}.service.d/*.conf").as_bytes(), 100));
                for file in files {
                    let Ok(bytes) = self.tree.read(&file) else { continue };
                    let lines = numbered_lines(&bytes);
                    found.extend(lines.into_iter().map(|(at, line)| (file.clone(), at, line)));
                }
            }
        }
        found
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
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let there =
        Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(path));
    if identity(path)? != identity(&there)? {
        return Err(io::Error::other(format!(
            "{} is another file in sshd's mount namespace",
            path.display()
        )));
    }
    Ok(program)
}

/// The fix for an sshd that reads a file that is not edited.
const BY_HAND: &str = "add AuthorizedKeysCommand and AuthorizedKeysCommandUser to that file by hand";
const BY_HAND_TOO: &str = "To use EC2 Instance Connect there too, add AuthorizedKeysCommand and AuthorizedKeysCommandUser to that file by hand.";

/// Maximum number of processes to examine. The kernel's default limit is 32768 pids, and higher only on large
/// machines.
const MAX_PROCESSES: usize = 100_000;

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
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) pid: u32,
    pub(super) line: String,
}

impl Listener {
    fn shown(&self, main: &Path) -> String {
        let file = other_config(&self.line, main).unwrap_or_default();
        format!("process {} with -f {file}", self.pid)
    }
}

/// A line of a unit or environment file: file, line number, text.
type Line = (PathBuf, usize, String);

/// The values of a unit setting.
fn values<'a>(lines: &'a [Line], name: &'a str) -> impl Iterator<Item = (&'a PathBuf, usize, &'a str)> {
    lines.iter().filter_map(move |(path, at, line)| {
        let (setting, value) = line.split_once('=')?;
        (setting.trim_end() == name).then_some((path, *at, value.trim()))
    })
}

/// The assignments in an `Environment=` line, without quotes (systemd.exec(5), systemd.syntax(7)).
pub(super) fn assignments(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\'' if quote.is_none_or(|open| open == character) => {
                quote = if quote.is_none() { Some(character) } else { None };
                word.get_or_insert_default();
            }
            blank if blank.is_whitespace() && quote.is_none() => found.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    found.extend(word);
    found
}

/// The lines of a unit or environment file, with continuation lines joined, without comments.
pub(super) fn numbered_lines(bytes: &[u8]) -> Vec<(usize, String)> {
    let text = String::from_utf8_lossy(bytes);
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (at, line) in text.lines().enumerate() {
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match found.last_mut().filter(|_| continues) {
            Some((_, start)) => {
                start.push(' ');
                start.push_str(part);
            }
            None => found.push((at.saturating_add(1), part.trim_start().to_owned())),
        }
        continues = more;
    }
    found.retain(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']));
    found
}

/// The value of an assignment, without the opening quote.
fn assigned_value(line: &str) -> String {
    let value = line.split_once('=').map_or(line, |(_, value)| value).trim();
    value.strip_prefix(['"', '\'']).unwrap_or(value).to_owned()
}

pub(crate) fn sets_command(line: &str) -> bool {
    // This also matches AuthorizedKeysCommandUser, which would change the user of our command.
    line.to_ascii_lowercase().contains("authorizedkeyscommand")
}

/// The options of sshd that take a value, in any version.
const OPTIONS_WITH_VALUE: &str = "bCcEfghkopu";

/// Whether an option takes a value.
pub(super) fn takes_value(flag: char) -> bool {
    OPTIONS_WITH_VALUE.contains(flag)
}

/// An option on a command line.
struct CommandLineOption {
    letter: char,
    /// Empty if the option takes none, or if it is missing.
    value: String,
    /// Whether the value is in the word of the option.
    is_attached: bool,
}

/// The options in the words of a command line. As in getopt(3), a word can contain several letters, and a value is the rest of the word
/// or the next word. The words of a process title are separated by blanks, so the value of `-o` continues up to the next word that is
/// an option.
fn getopt<'w>(words: impl Iterator<Item = &'w str>) -> Vec<CommandLineOption> {
    let mut words = words.peekable();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-') else { continue };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            if !takes_value(letter) {
                found.push(CommandLineOption { letter, value: String::new(), is_attached: false });
                continue;
            }
            let is_attached = !rest.as_str().is_empty();
            let first = if is_attached { Some(rest.as_str()) } else { words.next() };
            let mut value = first.unwrap_or_default().to_owned();
            while let Some(word) = words.next_if(|word| letter == 'o' && !word.starts_with('-')) {
                value.push(' ');
                value.push_str(word);
            }
            found.push(CommandLineOption { letter, value, is_attached });
            break;
        }
    }
    found
}

/// The options of a process, from its command line or its title, with one of the letters.
fn options_of_process(line: &str, letters: &str) -> Vec<(char, String)> {
    let line = line.split(" [listener]").next().unwrap_or_default();
    let mut options = getopt(line.split_whitespace());
    options.retain(|option| letters.contains(option.letter));
    options.into_iter().map(|option| (option.letter, option.value)).collect()
}

/// The options on a line of a unit or of a process. Quotes around a word of a unit are removed.
fn options_of_line(line: &str) -> Vec<CommandLineOption> {
    getopt(line.split_whitespace().map(|word| word.trim_matches(|c| matches!(c, '"' | '\'' | ';'))))
}

/// The options of a daemon that change its configuration.
pub(crate) fn config_options(line: &str) -> Vec<(char, String)> {
    options_of_process(line, "cfhop")
}

/// The options of a daemon that also count for one connection, each as one word. Ports, log files and the like are of the
/// daemon only.
pub(crate) fn connection_options(line: &str) -> Vec<String> {
    let options = options_of_process(line, "cfghou46").into_iter();
    options.map(|(letter, value)| format!("-{letter}{value}")).collect()
}

/// The value of `-f`, if it is not the main file. A value in the word of the option must be a path, because units also run other
/// programs.
pub(crate) fn other_config(line: &str, main: &Path) -> Option<String> {
    let is_file = |option: &CommandLineOption| {
        option.letter == 'f'
            && !option.value.is_empty()
            && (!option.is_attached || option.value.starts_with('/'))
    };
    let files = options_of_line(line).into_iter().filter(is_file).map(|option| option.value);
    files.into_iter().find(|file| Path::new(file) != main)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn finds_another_main_file() {
        let main = Path::new("/etc/ssh/sshd_config");
        assert_eq!(other_config("/usr/sbin/sshd -D -f /x", main), Some("/x".into()));
        assert_eq!(other_config("/usr/sbin/sshd -D -f/x", main), Some("/x".into()));
        assert_eq!(other_config("/usr/sbin/sshd -D -f /etc/ssh/sshd_config", main), None);
        assert_eq!(other_config("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", main), None);
    }

    #[test]
    fn reads_several_options_in_one_word() {
        let main = Path::new("/etc/ssh/sshd_config");
        for line in [
            "sshd -Df /x",
            "sshd -Df/x",
            "sshd -D4ef /x",
            "sshd -Dp 22 -ef \"/x\"",
            "sshd -De -E/log -f '/x'",
        ] {
            assert_eq!(other_config(line, main), Some("/x".into()), "{line}");
        }
        for line in [
            "sshd -De",
            "sshd -Df /etc/ssh/sshd_config",
            "sshd -oBanner=-f/x",
            "sshd -E -f /x",
            "tool -force",
            "sshd -",
        ] {
            assert_eq!(other_config(line, main), None, "{line}");
        }
        let letters =
            |line| options_of_line(line).into_iter().map(|option| option.letter).collect::<String>();
        assert_eq!(letters("/usr/sbin/sshd -Ddp 22 -o t=i -4"), "Ddpo4");
        assert_eq!(letters("/usr/sbin/sshd -Dt -f /i"), "Dtf");
    }

    #[test]
    fn options_for_one_connection() {
        for (line, expected) in [
            ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", &[][..]),
            ("/usr/sbin/sshd -D -e -f /x -p 2222 -E /log", &["-f/x"]),
            ("/usr/sbin/sshd -Df/x -u0", &["-f/x", "-u0"]),
            (
                "sshd: /usr/sbin/sshd -D -o AuthorizedKeysCommand /x %u %f -o UsePAM=no -h /k [listener] 0 of 1-2",
                &["-oAuthorizedKeysCommand /x %u %f", "-oUsePAM=no", "-h/k"],
            ),
            ("/usr/sbin/sshd -oUsePAM no", &["-oUsePAM no"]),
            ("/usr/sbin/sshd -f", &["-f"]),
            ("", &[]),
        ] {
            assert_eq!(connection_options(line), expected, "{line}");
        }
    }

    #[test]
    fn processes_are_searched_once() {
        let root = std::env::temp_dir().join(format!("eic-keys-daemon-{}", std::process::id()));
        let process = root.join("proc/77");
        fs::create_dir_all(&process).unwrap();
        for (name, text) in
            [("comm", "sshd\n"), ("cmdline", "/usr/sbin/sshd\0-f\0/x\0"), ("status", "PPid:\t1\n")]
        {
            fs::write(process.join(name), text).unwrap();
        }
        let tree = ConfigTree::new(&root);
        let daemon = Daemon::new(&tree, &[], TIMEOUT);
        let main = Path::new("/etc/ssh/sshd_config");
        let found = daemon.notes_on_others(main);
        assert_eq!(found.len(), 1, "{found:?}");
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(daemon.notes_on_others(main), found);
    }

    #[test]
    fn splits_the_assignments_of_a_line() {
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        for (line, expected) in [
            ("A=1", "A=1"),
            ("A=1 B=2\tC=3", "A=1|B=2|C=3"),
            (r#""A=-f /x" B=2 'C=a "b" c'"#, r#"A=-f /x|B=2|C=a "b" c"#),
            (r#"A="1 2" B='3 4'"#, "A=1 2|B=3 4"),
            (r"A=1\ 2 B=3", "A=1 2|B=3"),
            (r#""A=it's" B="#, "A=it's|B="),
            (r#"A=1 "B=2"#, "A=1|B=2"),
        ] {
            assert_eq!(assignments(line), words(expected), "{line}");
        }
        assert_eq!(assignments(" "), Vec::<String>::new());
    }

    #[test]
    fn recognizes_the_override_of_aws() {
        let line = r#"ExecStart=/usr/sbin/sshd -D -o "AuthorizedKeysCommand /usr/share/ec2-instance-connect/eic_run_authorized_keys %%u %%f""#;
        assert!(sets_command(line));
        assert!(!sets_command("ExecStart=/usr/sbin/sshd -D $SSHD_OPTS"));
    }
}
