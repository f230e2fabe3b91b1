//! The running sshd: which process it is, with which options, and how it is reloaded.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::check_id::CheckId;
use super::fix::{Fix, Word};
use crate::limits;
use crate::sshd::config::File;
use crate::sshd::config_tree::ConfigTree;
use crate::sshd::daemon::{Daemon, SOCKETS, config_options};
use crate::sshd::effective::Config;
use crate::sshd::reload::ReloadCommand;

/// The running sshd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// Its process, if known. With socket activation, there is none before the first connection.
    pub(crate) process: Option<u32>,
}

/// An sshd that runs, and its options.
pub(crate) struct Serving {
    pub(crate) process: u32,
    /// The options that change its configuration.
    pub(crate) options: Vec<(char, String)>,
    /// When it last read its files.
    read: Option<SystemTime>,
}

impl Serving {
    /// The files of a configuration that were changed after it read them.
    pub(crate) fn unread(&self, tree: &ConfigTree, config: Option<&Config>) -> Vec<PathBuf> {
        let files = config.into_iter().flat_map(Config::files).map(File::path);
        let after = |path: &&Path| changed(&tree.locate(path)) > self.read;
        if self.read.is_none() { Vec::new() } else { files.filter(after).map(Path::to_owned).collect() }
    }
}

/// The sshd that serves this system.
pub(crate) fn serving(tree: &ConfigTree, main: &Path) -> Option<Serving> {
    with_daemon(tree, |daemon| {
        let (process, line) = daemon.serving(main)?;
        Some(Serving { process, options: config_options(&line), read: daemon.read_at(process) })
    })
}

/// The command that makes sshd read its files.
pub(crate) fn reload_words(tree: &ConfigTree, process: Option<u32>) -> String {
    with_daemon(tree, |daemon| match process {
        Some(process) => reload(daemon, process).text().to_owned(),
        None if daemon.has_systemd() => restart_words(tree),
        None => "start sshd".to_owned(),
    })
}

/// The command that starts sshd again.
pub(crate) fn restart_words(tree: &ConfigTree) -> String {
    with_daemon(tree, |daemon| {
        if daemon.has_systemd() {
            format!("systemctl restart {}", unit(daemon))
        } else {
            "restart sshd".to_owned()
        }
    })
}

/// The fix that creates Debian's privilege separation directory, with the mode that systemd gives it.
pub(crate) fn create_directory() -> Fix {
    Fix::command("mkdir -m 0755 /run/sshd", [])
}

/// The fix that makes an sshd read its files.
pub(super) fn reload(daemon: &Daemon<'_>, process: u32) -> Fix {
    match daemon.has_systemd().then(|| daemon.reload_command(process)) {
        Some(ReloadCommand::Unit(unit)) => Fix::command("systemctl reload", [Word::Value(&unit)]),
        Some(ReloadCommand::OwnUnit) => Fix::command("systemctl reload", [Word::Literal(unit(daemon))]),
        Some(ReloadCommand::Signal) | None => signal(process),
    }
}

/// The fix if a restart or a reload may refuse the login.
pub(crate) fn before_restart(wrong: CheckId) -> Fix {
    Fix::advice(format!(
        "fix {wrong} before sshd is reloaded or restarted: the changed configuration may refuse the login"
    ))
}

/// Whether a socket unit starts sshd at the first connection, and there was none yet.
pub(crate) fn waits(tree: &ConfigTree) -> bool {
    with_daemon(tree, |daemon| {
        let socket = || daemon.first_active(&SOCKETS).ok().flatten();
        daemon.pid_file_owner().is_none() && daemon.has_systemd() && socket().is_some()
    })
}

pub(super) fn with_daemon<T>(tree: &ConfigTree, ask: impl FnOnce(&Daemon<'_>) -> T) -> T {
    ask(&Daemon::new(tree, &["systemctl".into()], limits::CHECK_TOOL))
}

/// The unit is ssh on Debian and Ubuntu, sshd elsewhere.
pub(super) fn unit(daemon: &Daemon<'_>) -> &'static str {
    let is = |path| daemon.tree.locate(Path::new(path)).exists();
    if is("/usr/lib/systemd/system/ssh.service") || is("/lib/systemd/system/ssh.service") {
        "ssh"
    } else {
        "sshd"
    }
}

/// The fix that reloads an sshd without its unit.
pub(super) fn signal(process: u32) -> Fix {
    Fix::command("kill -HUP", [Word::Value(&process.to_string())])
}

/// The time of the last change of a file, its owner and mode included.
pub(super) fn changed(path: &Path) -> Option<SystemTime> {
    let file = fs::metadata(path).ok()?;
    let (seconds, rest) = (u64::try_from(file.ctime()).ok()?, u32::try_from(file.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, rest))
}
