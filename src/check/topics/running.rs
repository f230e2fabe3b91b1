//! Checks the running sshd: its command line, and whether it has read the current configuration.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::next_start::{self, Change};
use super::sshd::SshdFindings;
use crate::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::fix::Word;
use crate::check::report::{LATER, Status};
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::serving::{Running, before_restart, changed, reload, signal, unit, with_daemon};
use crate::check::settings::{Settings, main};
use crate::check::sockets;
use crate::error_text::WithCauses;
use crate::sshd::config::File;
use crate::sshd::config_tree::ConfigTree;
use crate::sshd::daemon::{Daemon, SERVICES, SOCKETS, other_config, sets_command};
use crate::sshd::effective::Config;
use crate::sshd::lexer::OpensshVersion;
use crate::sshd::query::PATHS;
use crate::sshd::reload::ReloadCommand;
use crate::tool::stdout_of;

const DROP_INS: &str = "/etc/ssh/sshd_config.d";

/// Checks that an sshd runs.
pub(crate) async fn running(
    runner: &Runner,
    target: &Target<'_>,
    settings: &Finding<Settings>,
) -> Finding<Running> {
    let (root, settings) = (target.root.to_owned(), settings.get().cloned());
    let rejected = runner.status(CheckId::SshdConfig) == Some(Status::Fail);
    runner
        .check(CheckId::RunningDaemon, (), async |()| {
            blocking(move || {
                let startable = match &settings {
                    _ if rejected => Err(format!("fix {} first", CheckId::SshdConfig)),
                    Some(settings) => startable(settings, &root),
                    None => Ok(()),
                };
                with_daemon(&ConfigTree::new(&root), |asked| daemon(asked, startable))
            })
            .await
        })
        .await
}

/// Whether sshd could listen. `Err` says what to do.
fn startable(settings: &Settings, root: &Path) -> Result<(), String> {
    sockets::bindable(settings)?;
    let taken = sockets::taken(root);
    let mut ports = settings.all("port").filter_map(|port| port.parse().ok());
    match ports.find(|port| taken.contains(port)) {
        Some(port) => Err(format!("stop the other program that listens on port {port} (ss -tlnp shows it)")),
        None => Ok(()),
    }
}

/// Checks the command line of sshd.
pub(crate) async fn overridden(
    runner: &Runner,
    target: &Target<'_>,
    sshd: &SshdFindings,
    running: &Finding<Running>,
) {
    let tree = ConfigTree::new(target.root);
    let settings = sshd.settings.get();
    // A user that is missing can be on the command line, too, as with the override of AWS's package.
    let is_set_on_command_line = sshd.command.get().is_some()
        && runner.status(CheckId::SshdCommandUser) != Some(Status::Fail)
        && settings.is_some_and(Settings::command_is_on_command_line);
    runner
        .check(CheckId::RunningOverride, running, async |_| {
            blocking(move || with_daemon(&tree, |daemon| overrides(daemon, is_set_on_command_line))).await
        })
        .await;
}

/// Checks that the running sshd has read its configuration. Runs after the checks of the settings: a reload must not
/// be advised if logins work now and would not work after it.
pub(crate) async fn current(
    runner: &Runner,
    target: &Target<'_>,
    sshd: &SshdFindings,
    account: &Finding<Account>,
    running: &Finding<Running>,
) {
    let tree = ConfigTree::new(target.root);
    let ids = [
        CheckId::SshdConfig,
        CheckId::SshdPubkey,
        CheckId::SshdMethods,
        CheckId::SshdAccess,
        CheckId::SshdAlgorithms,
        CheckId::SshdRevoked,
        CheckId::SshdSession,
        CheckId::SshdMatch,
    ];
    let wrong = ids.into_iter().find(|id| matches!(runner.status(*id), Some(Status::Fail | Status::Warn)));
    // Of the other checks of settings, a warning can be about what sshd has had for long.
    let others = [
        CheckId::SshdCommand,
        CheckId::SshdCommandUser,
        CheckId::SshdExchanges,
        CheckId::SshdTries,
        CheckId::SshdLimits,
    ];
    let wrong = wrong
        .or_else(|| runner.breaks_later(|_| true))
        .or_else(|| others.into_iter().find(|id| runner.status(*id) == Some(Status::Fail)));
    runner
        .check(CheckId::RunningCurrent, (&sshd.program, running), async |((_, version), running)| {
            let (tree, version, running) = (tree.clone(), version.clone(), *running);
            let (settings, account) = (sshd.settings.get().cloned(), account.get().cloned());
            let root = target.root.to_owned();
            blocking(move || {
                let options = running.process.zip(settings).and_then(|(process, settings)| {
                    next_start::change(&tree, &settings, account.as_ref(), &root, process)
                });
                match options {
                    Some(change) => is_started_otherwise(change, wrong),
                    None => is_current(&tree, version, running, wrong),
                }
            })
            .await
        })
        .await;
}

/// `startable`: why sshd would not start, and what to do first.
fn daemon(daemon: &Daemon<'_>, startable: Result<(), String>) -> Answer<Running> {
    if let Some((process, _)) = daemon.pid_file_owner() {
        return Answer::ok(format!("sshd runs, process {process}"), Running { process: Some(process) });
    }
    if !daemon.has_systemd() {
        return stopped(startable, start(daemon.tree));
    }
    let active = |units| daemon.first_active(units).ok().flatten();
    if let Some(service) = active(&SERVICES) {
        let process = stdout_of("systemctl", &["show", "--property=MainPID", "--value", service]);
        let process = process.and_then(|text| text.trim().parse().ok()).filter(|process| *process > 0);
        return Answer::ok(format!("{service} is active"), Running { process });
    }
    if let Some(socket) = active(&SOCKETS) {
        return Answer::ok(format!("{socket} starts sshd when a client connects"), Running { process: None });
    }
    if let Some((process, _)) = daemon.daemons_with_our_lines(&main(daemon.tree)).first() {
        // sshd was started by another unit or by hand, without a PID file.
        return Answer::ok(format!("sshd runs, process {process}"), Running { process: Some(*process) });
    }
    let unit = unit(daemon);
    let start = Fix::command("systemctl start", [Word::Literal(unit)]);
    if is_masked(daemon.tree, unit) {
        let unmask = Fix::command("systemctl unmask", [Word::Literal(unit)]);
        let note = format!("sshd is stopped, and its unit {unit} is masked");
        return Answer::fail(note, unmask.then(start));
    }
    stopped(startable, start)
}

fn stopped(startable: Result<(), String>, start: Fix) -> Answer<Running> {
    match startable {
        Ok(()) => Answer::fail("sshd is stopped", start),
        Err(first) => Answer::fail(
            format!("sshd is stopped, and would not start: {first}"),
            Fix::advice(format!("{first}, then: {}", start.text())),
        ),
    }
}

/// Whether a unit is linked to /dev/null, so that it cannot be started.
fn is_masked(tree: &ConfigTree, unit: &str) -> bool {
    ["/etc/systemd/system", "/run/systemd/system"].iter().any(|directory| {
        let link = fs::read_link(tree.locate(Path::new(&format!("{directory}/{unit}.service"))));
        link.is_ok_and(|target| target == Path::new("/dev/null"))
    })
}

/// The fix that starts sshd without systemd. sshd requires an absolute path.
fn start(tree: &ConfigTree) -> Fix {
    match PATHS.into_iter().find(|place| tree.locate(Path::new(place)).is_file()) {
        Some(sshd) => Fix::command("mkdir -p -m 0755 /run/sshd", []).then(Fix::command(sshd, [])),
        None => Fix::advice("start sshd by its absolute path"),
    }
}

/// Whether a command line has options that override the file.
fn overrides_file(line: &str, main: &Path) -> bool {
    sets_command(line) || other_config(line, main).is_some()
}

/// `is_set_on_command_line`: the command on the command line runs eic-keys.
fn overrides(daemon: &Daemon<'_>, is_set_on_command_line: bool) -> Answer<()> {
    let main = &main(daemon.tree);
    match daemon.overridden(main) {
        None => Answer::ok("nothing on sshd's command line overrides its files", ()),
        Some(_) if is_set_on_command_line => {
            Answer::ok("the command line of sshd sets AuthorizedKeysCommand to eic-keys", ())
        }
        // The unit was changed after sshd was started.
        Some(reason) if daemon.serving(main).is_some_and(|(_, line)| !overrides_file(&line, main)) => {
            Answer::warn(
                format!("{LATER}: {reason}"),
                Fix::advice("remove that option before sshd is restarted (systemctl cat shows the unit)"),
                (),
            )
        }
        Some(reason) => Answer::fail(
            reason,
            Fix::advice(
                "remove AWS's package if it is installed (see install.aws); otherwise remove -o AuthorizedKeysCommand, or \
                 -f, from sshd's command line, and restart sshd",
            ),
        ),
    }
}

/// The result if sshd is started with other options next time.
fn is_started_otherwise(change: Change, wrong: Option<CheckId>) -> Answer<()> {
    let file = change.file.display();
    match (change.refusal, wrong) {
        (Some(reason), _) => Answer::warn(
            format!("{LATER} ({file} was changed after sshd was started): {reason}"),
            Fix::advice(format!(
                "change {file} before sshd is restarted; sshd's unit {} uses it",
                change.unit
            )),
            (),
        ),
        (None, wrong) => {
            let note = format!("{file} was changed after sshd was started, which has other options");
            let restart = Fix::command("systemctl daemon-reload", [])
                .then(Fix::command("systemctl restart", [Word::Literal(change.unit)]));
            Answer::warn(note, wrong.map_or(restart, before_restart), ())
        }
    }
}

/// Compares the configuration with the time when sshd last read it. `wrong`: a check that says that the configuration
/// refuses logins.
fn is_current(
    tree: &ConfigTree,
    version: OpensshVersion,
    running: Running,
    wrong: Option<CheckId>,
) -> Answer<()> {
    let Some(process) = running.process else {
        return Answer::ok("sshd reads its configuration when it is started", ());
    };
    let Some(read) = with_daemon(tree, |daemon| daemon.read_at(process)) else {
        return Answer::skip("the time when sshd read its configuration is not known");
    };
    let config = match Config::read(tree, &main(tree), version) {
        Ok(config) => config,
        // sshd.config has the error, unless only root can read a file.
        Err(_) if wrong == Some(CheckId::SshdConfig) => {
            return Answer::ok("sshd runs with the configuration that it read when it was started", ());
        }
        Err(error) => {
            return Answer::skip(format!("its configuration cannot be read: {}", WithCauses(&error)));
        }
    };
    // Removing a file changes the directory.
    let paths = config.files().map(File::path).chain([Path::new(DROP_INS)]);
    let changes: Vec<_> = paths.filter_map(|path| Some((path, changed(&tree.locate(path))?))).collect();
    with_daemon(tree, |daemon| {
        let Some((path, _)) = changes.iter().find(|(_, changed)| *changed > read) else {
            return others(daemon, process, changes.iter().map(|(_, changed)| *changed).max());
        };
        let fix = wrong.map_or_else(|| reload(daemon, process), before_restart);
        Answer::warn(format!("{} was changed after sshd read it", path.display()), fix, ())
    })
}

/// Checks the other sshds that read our lines, because any of them can accept a login.
fn others(daemon: &Daemon<'_>, own: u32, changed: Option<SystemTime>) -> Answer<()> {
    let read = daemon.daemons_with_our_lines(&main(daemon.tree)).into_iter();
    let is_old =
        |(process, read): &(u32, Option<SystemTime>)| *process != own && *read < changed && read.is_some();
    let old: Vec<u32> = read.filter(is_old).map(|(process, _)| process).collect();
    let Some(first) = old.first() else {
        return Answer::ok("sshd has read its current configuration", ());
    };
    let fixes = old.iter().map(|process| match daemon.reload_command(*process) {
        ReloadCommand::Unit(unit) => Fix::command("systemctl reload", [Word::Value(&unit)]),
        ReloadCommand::OwnUnit | ReloadCommand::Signal => signal(*process),
    });
    let fix = fixes.reduce(Fix::then).unwrap_or_else(|| Fix::advice("reload each sshd"));
    let more = old.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let said = format!("another sshd, process {first}{more}, may not have read the current configuration");
    Answer::warn(said, fix, ())
}
