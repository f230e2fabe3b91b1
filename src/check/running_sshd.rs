//! The running sshd: which process it is, with which options, and how it is reloaded.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::fix::{CommandWord, Fix};
use super::log_tail;
use crate::config_tree::ConfigTree;
use crate::limits;
use crate::process::TrustedCommand;
use crate::sshd::command_line::{SshdOption, config_options, daemon_options, other_config};
use crate::sshd::config::Config;
use crate::sshd::config_file::ConfigFile;
use crate::sshd::last_read::LastRead;
use crate::sshd::query::default_main_file;
use crate::sshd::reload::ReloadCommand;
use crate::sshd::service::{Listener, SOCKETS, SshdService};
use crate::sshd::unit::{StartLine, UnitLine, service_lines, unit_files};
use crate::tool::stdout_of;

/// Whether sshd runs, and as which process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SshdState {
    /// Its process, if known. With socket activation, there is none before the first connection.
    pub(crate) process: Option<u32>,
    /// Without a process: the unit that its socket unit starts, without `.service`.
    pub(crate) waiting: Option<&'static str>,
}

/// An sshd that runs, and its options.
pub(crate) struct ServingSshd {
    pub(crate) process: u32,
    /// The options that change its configuration.
    pub(crate) options: Vec<SshdOption>,
    /// The file that it reads: that of its last `-f`, or else the system's main file.
    pub(crate) main: PathBuf,
    /// Its options for sockets and for the log: `-p`, `-4`, `-6` and `-E`.
    pub(crate) daemon_options: Vec<SshdOption>,
}

impl ServingSshd {
    /// The files of a configuration that were changed after it read them. None if that is not known.
    pub(crate) fn changed_files(&self, tree: &ConfigTree, config: Option<&Config>) -> Vec<PathBuf> {
        let changed =
            |config| with_service(tree, |service| changed_files(service, self.process, config, &[]));
        config.and_then(changed).unwrap_or_default()
    }
}

/// The files of a configuration, and of `others`, that were changed after an sshd last read its files. `None` if it is not known when that
/// was, and if that matters.
pub(super) fn changed_files(
    service: &SshdService<'_>,
    process: u32,
    config: &Config,
    others: &[&Path],
) -> Option<Vec<PathBuf>> {
    let paths = config.files().map(ConfigFile::path).chain(others.iter().copied());
    let changes: Vec<_> =
        paths.filter_map(|path| Some((path, changed_at(&service.tree.locate(path))?))).collect();
    let later = |read: SystemTime| {
        let later = changes.iter().filter(|(_, changed)| *changed > read);
        later.map(|(path, _)| (*path).to_owned()).collect::<Vec<_>>()
    };
    match last_read(service, process)? {
        LastRead::At(read) => Some(later(read)),
        LastRead::Since(start) => Some(later(start)).filter(Vec::is_empty),
    }
}

/// When an sshd last read its files, also by its own words in the journal.
pub(super) fn last_read(service: &SshdService<'_>, process: u32) -> Option<LastRead> {
    let read = service.read_at(process)?;
    let LastRead::Since(start) = read else { return Some(read) };
    // The start is rounded.
    let start = start.checked_sub(Duration::from_secs(2))?;
    let logged = log_tail::last_read_by(process).filter(|logged| *logged >= start);
    Some(logged.map_or(read, LastRead::At))
}

/// The sshd that serves this system.
pub(crate) fn serving(tree: &ConfigTree) -> Option<ServingSshd> {
    let main = default_main_file(tree);
    with_service(tree, |service| {
        let Listener { pid: process, line } = service.serving(&main)?;
        let main = main_of(&line, main);
        let (options, daemon_options) = (config_options(&line), daemon_options(&line));
        Some(ServingSshd { process, options, main, daemon_options })
    })
}

/// The file that an sshd with this command line reads. `default`: without `-f`.
fn main_of(line: &str, default: PathBuf) -> PathBuf {
    let file = other_config(line, &default).filter(|file| file.starts_with('/'));
    file.map_or(default, PathBuf::from)
}

/// Where an option of sshd's command line is set, for a message.
pub(crate) fn place_of_option(tree: &ConfigTree, letter: char) -> String {
    let place = with_service(tree, |service| service.place_of_option(letter));
    place.unwrap_or_else(|| "see the command line of the running sshd".to_owned())
}

/// The fix that makes the sshd of this system read its files.
pub(crate) fn own_reload_fix(tree: &ConfigTree, process: Option<u32>) -> Fix {
    with_service(tree, |service| match process {
        Some(process) => reload_fix(service, process),
        None if service.has_systemd() => restart_fix(tree),
        None => Fix::advice("start sshd"),
    })
}

/// The fix that starts sshd again.
pub(crate) fn restart_fix(tree: &ConfigTree) -> Fix {
    with_service(tree, |service| {
        if service.has_systemd() {
            Fix::command("systemctl restart", [CommandWord::Literal(unit(service))])
        } else {
            Fix::advice("restart sshd")
        }
    })
}

/// The fix that creates Debian's privilege separation directory, with the mode that systemd gives it.
pub(crate) fn create_directory_fix() -> Fix {
    Fix::command("mkdir -m 0755 /run/sshd", [])
}

/// The fix that makes an sshd read its files.
pub(super) fn reload_fix(service: &SshdService<'_>, process: u32) -> Fix {
    match service.has_systemd().then(|| service.reload_command(process)) {
        Some(ReloadCommand::Unit(unit)) => Fix::command("systemctl reload", [CommandWord::Value(&unit)]),
        Some(ReloadCommand::OwnUnit) => {
            Fix::command("systemctl reload", [CommandWord::Literal(unit(service))])
        }
        Some(ReloadCommand::Signal) | None => signal_fix(process),
    }
}

/// Whether a socket unit starts sshd at the first connection, and there was none yet.
pub(crate) fn socket_waits(tree: &ConfigTree) -> bool {
    with_service(tree, |service| {
        let socket = || service.first_active(&SOCKETS).ok().flatten();
        service.serving(&default_main_file(tree)).is_none() && service.has_systemd() && socket().is_some()
    })
}

/// The active socket unit, and the unit that it starts for a client, without `.service`. With `Accept=yes`, that is a template.
pub(super) fn socket_and_unit(service: &SshdService<'_>) -> Option<(&'static str, &'static str)> {
    let socket = service.first_active(&SOCKETS).ok().flatten()?;
    let accept = stdout_of("systemctl", &["show", "--property=Accept", "--value", socket]);
    let has_template = accept.is_ok_and(|accept| accept.trim() == "yes");
    let template = if socket == SOCKETS[0] { "ssh@" } else { "sshd@" };
    Some((socket, if has_template { template } else { unit(service) }))
}

/// The options and the main file of the sshd that a waiting socket unit starts.
pub(crate) fn options_behind_socket(tree: &ConfigTree) -> Option<(Vec<SshdOption>, PathBuf)> {
    let (_, unit) = with_service(tree, |service| service.has_systemd().then(|| socket_and_unit(service)))??;
    let line = StartLine::of_unit(tree, unit)?.line;
    Some((config_options(&line), main_of(&line, default_main_file(tree))))
}

/// What systemctl show knows a unit by. A template has no properties, but each instance has.
pub(super) fn shown_name(unit: &str) -> String {
    format!("{unit}{}.service", if unit.ends_with('@') { "eic-keys" } else { "" })
}

/// Whether systemd starts sshd just now, or is about to start it again.
pub(crate) fn is_being_started(tree: &ConfigTree) -> bool {
    with_service(tree, |service| {
        let state = || stdout_of("systemctl", &["show", "--property=ActiveState", "--value", unit(service)]);
        service.has_systemd() && state().is_ok_and(|state| state.trim() == "activating")
    })
}

/// The setting with this name and this text in its value, in the files of a unit of sshd. The last one, which can override the others.
pub(crate) fn setting_of_unit(tree: &ConfigTree, unit: &str, name: &str, text: &str) -> Option<UnitLine> {
    let mut lines = service_lines(tree, &unit_files(tree, unit));
    lines.retain(|line| {
        line.setting().is_some_and(|(setting, value)| setting == name && value.contains(text))
    });
    lines.pop()
}

/// What to do about a setting of sshd's unit, which is not started again before a client connects.
pub(super) fn remove_setting(tree: &ConfigTree, unit: &str, name: &str, text: &str) -> String {
    // The manager has defaults, too (systemd-system.conf(5)).
    let place = setting_of_unit(tree, unit, name, text)
        .map_or_else(|| format!("in the files of {unit}.service"), |line| line.place());
    format!("correct or remove {name}= ({place}), then: systemctl daemon-reload")
}

pub(super) fn with_service<T>(tree: &ConfigTree, ask: impl FnOnce(&SshdService<'_>) -> T) -> T {
    ask(&SshdService::new(tree, &TrustedCommand::new("systemctl"), limits::CHECK_TOOL))
}

/// The unit is ssh on Debian and Ubuntu, sshd elsewhere.
pub(super) fn unit(service: &SshdService<'_>) -> &'static str {
    let is = |path| service.tree.locate(Path::new(path)).exists();
    if is("/usr/lib/systemd/system/ssh.service") || is("/lib/systemd/system/ssh.service") {
        "ssh"
    } else {
        "sshd"
    }
}

/// The fix that reloads an sshd without its unit.
pub(super) fn signal_fix(process: u32) -> Fix {
    Fix::command("kill -HUP", [CommandWord::Value(&process.to_string())])
}

/// The time when a file got its content: a file with an older time of modification can have been moved to its place since, which changes
/// the directory, too. The owner and the mode alone do not count.
pub(super) fn changed_at(path: &Path) -> Option<SystemTime> {
    let (file, directory) = (fs::metadata(path).ok()?, fs::metadata(path.parent()?).ok()?);
    let (seconds, rest) = (u64::try_from(file.ctime()).ok()?, u32::try_from(file.ctime_nsec()).ok()?);
    let status = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, rest))?;
    // A time in the future was set by hand, or while the clock was fast.
    let now = SystemTime::now();
    let modified = file.modified().ok().filter(|time| *time <= now).unwrap_or(status);
    Some(modified.max(status.min(directory.modified().ok()?))).filter(|time| *time <= now)
}
