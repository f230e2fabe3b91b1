//! Checks the running sshd: its command line, and whether it has read the current configuration.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::fix::Word;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::settings::main;
use crate::check::tool::told;
use crate::error_text::WithCauses;
use crate::limits;
use crate::sshd::config::File;
use crate::sshd::config_tree::ConfigTree;
use crate::sshd::daemon::{Daemon, PID_FILE, SERVICES, SOCKETS};
use crate::sshd::effective::Config;
use crate::sshd::lexer::OpensshVersion;
use crate::sshd::query::{PATHS, Sshd};
use crate::sshd::reload::ReloadCommand;

const DROP_INS: &str = "/etc/ssh/sshd_config.d";

/// The running sshd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// Its process, if known. With socket activation, there is none before the first connection.
    pub(crate) process: Option<u32>,
}

/// Runs the checks of this group.
pub(crate) async fn running(
    runner: &Runner,
    target: &Target<'_>,
    sshd: &Finding<(Sshd, OpensshVersion)>,
) -> Finding<Running> {
    let tree = ConfigTree::new(target.root);
    let running = runner
        .check(CheckId::RunningDaemon, (), async |()| {
            let tree = tree.clone();
            blocking(move || with_daemon(&tree, daemon)).await
        })
        .await;
    let overridden = runner.check(CheckId::RunningOverride, &running, async |_| {
        let tree = tree.clone();
        blocking(move || with_daemon(&tree, overridden)).await
    });
    let current = runner.check(CheckId::RunningCurrent, (sshd, &running), async |((_, version), running)| {
        let (tree, version, running) = (tree.clone(), version.clone(), *running);
        blocking(move || current(&tree, version, running)).await
    });
    tokio::join!(overridden, current);
    running
}

fn with_daemon<T>(tree: &ConfigTree, ask: impl FnOnce(&Daemon<'_>) -> T) -> T {
    ask(&Daemon::new(tree, &["systemctl".into()], limits::CHECK_TOOL))
}

fn daemon(daemon: &Daemon<'_>) -> Answer<Running> {
    if let Some((process, _)) = daemon.pid_file_owner() {
        return Answer::ok(format!("sshd runs, process {process}"), Running { process: Some(process) });
    }
    if !daemon.has_systemd() {
        return Answer::fail("no sshd runs", start(daemon.tree));
    }
    let active = |units| daemon.first_active(units).ok().flatten();
    if let Some(service) = active(&SERVICES) {
        let process = told("systemctl", &["show", "--property=MainPID", "--value", service]);
        let process = process.and_then(|text| text.trim().parse().ok()).filter(|process| *process > 0);
        return Answer::ok(format!("{service} is active"), Running { process });
    }
    if let Some(socket) = active(&SOCKETS) {
        return Answer::ok(format!("{socket} starts sshd when somebody connects"), Running { process: None });
    }
    match daemon.daemons_with_our_lines(&main(daemon.tree)).first() {
        // sshd was started by another unit or by hand, without a PID file.
        Some((process, _)) => {
            Answer::ok(format!("sshd runs, process {process}"), Running { process: Some(*process) })
        }
        None => Answer::fail("no sshd runs", Fix::command("systemctl start", [Word::Literal(unit(daemon))])),
    }
}

/// The fix that starts sshd without systemd. sshd requires an absolute path.
fn start(tree: &ConfigTree) -> Fix {
    match PATHS.into_iter().find(|place| tree.locate(Path::new(place)).is_file()) {
        Some(sshd) => Fix::command("mkdir -p -m 0755 /run/sshd", []).then(Fix::command(sshd, [])),
        None => Fix::advice("start sshd, by its whole path"),
    }
}

/// Whether a socket unit starts sshd at the first connection, and there was none yet.
pub(crate) fn waits(tree: &ConfigTree) -> bool {
    with_daemon(tree, |daemon| {
        let socket = || daemon.first_active(&SOCKETS).ok().flatten();
        daemon.pid_file_owner().is_none() && daemon.has_systemd() && socket().is_some()
    })
}

/// The unit is ssh on Debian and Ubuntu, sshd elsewhere.
fn unit(daemon: &Daemon<'_>) -> &'static str {
    let is = |path| daemon.tree.locate(Path::new(path)).exists();
    if is("/usr/lib/systemd/system/ssh.service") || is("/lib/systemd/system/ssh.service") {
        "ssh"
    } else {
        "sshd"
    }
}

fn overridden(daemon: &Daemon<'_>) -> Answer<()> {
    match daemon.overridden(&main(daemon.tree)) {
        None => Answer::ok("nothing on its command line overrides its configuration", ()),
        Some(reason) => Answer::fail(
            reason,
            Fix::advice(
                "remove AWS's package if it is there (see install.aws); else take -o AuthorizedKeysCommand, or -f, off \
                         sshd's command line, and restart it",
            ),
        ),
    }
}

/// Compares the configuration with the PID file, which sshd writes at each start and reload.
fn current(tree: &ConfigTree, version: OpensshVersion, running: Running) -> Answer<()> {
    let Some(process) = running.process else {
        return Answer::ok("the next sshd to be started reads its configuration then", ());
    };
    let started = fs::metadata(tree.locate(Path::new(PID_FILE))).and_then(|file| file.modified());
    let Ok(started) = started else {
        return Answer::skip(format!("there is no {PID_FILE} to tell when sshd read its configuration"));
    };
    let config = match Config::read(tree, &main(tree), version) {
        Ok(config) => config,
        Err(error) => {
            return Answer::skip(format!("its configuration cannot be read: {}", WithCauses(&error)));
        }
    };
    // Removing a file changes the directory.
    let paths = config.files().map(File::path).chain([Path::new(DROP_INS)]);
    let changes: Vec<_> = paths.filter_map(|path| Some((path, changed(&tree.locate(path))?))).collect();
    with_daemon(tree, |daemon| {
        let Some((path, _)) = changes.iter().find(|(_, changed)| *changed > started) else {
            return others(daemon, process, changes.iter().map(|(_, changed)| *changed).max());
        };
        let fix = match daemon.has_systemd().then(|| daemon.reload_command(process)) {
            Some(ReloadCommand::Unit(unit)) => Fix::command("systemctl reload", [Word::Value(&unit)]),
            Some(ReloadCommand::OwnUnit) => Fix::command("systemctl reload", [Word::Literal(unit(daemon))]),
            Some(ReloadCommand::Signal) | None => signal(process),
        };
        Answer::warn(format!("{} was changed after sshd read it", path.display()), fix, ())
    })
}

/// Checks the other sshds that read our lines, because any of them can accept a login.
fn others(daemon: &Daemon<'_>, own: u32, changed: Option<SystemTime>) -> Answer<()> {
    let read = daemon.daemons_with_our_lines(&main(daemon.tree)).into_iter();
    let behind =
        |(process, read): &(u32, Option<SystemTime>)| *process != own && *read < changed && read.is_some();
    let behind: Vec<u32> = read.filter(behind).map(|(process, _)| process).collect();
    let Some(first) = behind.first() else {
        return Answer::ok("sshd has read its configuration as it is now", ());
    };
    let fixes = behind.iter().map(|process| match daemon.reload_command(*process) {
        ReloadCommand::Unit(unit) => Fix::command("systemctl reload", [Word::Value(&unit)]),
        ReloadCommand::OwnUnit | ReloadCommand::Signal => signal(*process),
    });
    let fix = fixes.reduce(Fix::then).unwrap_or_else(|| Fix::advice("reload each sshd"));
    let more = behind.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let said = format!(
        "another sshd, process {first}{more}, was started before the configuration was changed, and may not have read it"
    );
    Answer::warn(said, fix, ())
}

/// The fix that reloads an sshd without its unit.
fn signal(process: u32) -> Fix {
    Fix::command("kill -HUP", [Word::Value(&process.to_string())])
}

/// The time of the last change of a file, its owner and mode included.
fn changed(path: &Path) -> Option<SystemTime> {
    let file = fs::metadata(path).ok()?;
    let (seconds, rest) = (u64::try_from(file.ctime()).ok()?, u32::try_from(file.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, rest))
}
