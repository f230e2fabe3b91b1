//! Checks the running sshd: its command line, and whether it has read the current configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::next_start::{self, StartOptions};
use super::recent::allows_now;
use super::sshd::SshdFindings;
use crate::account::Account;
use crate::check::check_id::CheckId;
use crate::check::failed_unit::{FailedUnit, UnitUse, start_failed, unstartable};
use crate::check::fix::CommandWord;
use crate::check::fix::Fix;
use crate::check::last_attempt::{LastAttempt, last_attempt};
use crate::check::log_tail::Log;
use crate::check::report::{CHANGED_SINCE, Mark, Status};
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::running_sshd::{
    SshdState, changed_files, last_read, reload_fix, serving, signal_fix, socket_and_unit, unit, with_service,
};
use crate::check::settings::Settings;
use crate::check::sockets;
use crate::check::starting_unit::{SOCKET_START, waits_for};
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;
use crate::lists;
use crate::procfs::Process;
use crate::sshd::command_line::{other_config, sets_command};
use crate::sshd::config::Config;
use crate::sshd::config_file::ConfigFile;
use crate::sshd::last_read::LastRead;
use crate::sshd::query::{PATHS, Sshd, default_main_file};
use crate::sshd::reload::ReloadCommand;
use crate::sshd::service::{Listener, SERVICES, SshdService};
use crate::sshd::unit::{UNITS, UnitLine, property, settings_in, unit_files};
use crate::sshd::version::OpensshVersion;
use crate::tool::stdout_of;

const DROP_INS: &str = "/etc/ssh/sshd_config.d";

/// Checks that an sshd runs.
pub(crate) async fn running(
    runner: &Runner,
    target: &CheckTarget<'_>,
    settings: &Finding<Settings>,
) -> Finding<SshdState> {
    let (root, settings) = (target.root.to_owned(), settings.get().cloned());
    let rejected = runner.status(CheckId::SshdConfig) == Some(Status::Fail);
    runner
        .check_in_thread(CheckId::RunningDaemon, (), |()| {
            move || {
                let files = settings.as_ref().map_or_else(Vec::new, files_of);
                let startable = match &settings {
                    _ if rejected => Err(format!("fix {} first", CheckId::SshdConfig)),
                    Some(settings) => startable(settings, &root),
                    None => Ok(()),
                };
                with_service(&ConfigTree::new(&root), |asked| state(asked, startable, &files))
            }
        })
        .await
}

/// The files that sshd reads when it is started.
fn files_of(settings: &Settings) -> Vec<PathBuf> {
    let config = settings.source.config.iter().flat_map(Config::files).map(ConfigFile::path);
    let others = [DROP_INS, "/etc/default/ssh", "/etc/sysconfig/sshd"].map(Path::new);
    config.chain(others).map(Path::to_owned).collect()
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
    target: &CheckTarget<'_>,
    sshd: &SshdFindings,
    running: &Finding<SshdState>,
) {
    let tree = ConfigTree::new(target.root);
    let settings = sshd.settings.get();
    let asked = runner.status(CheckId::SshdCommand) != Some(Status::Skip);
    // A user that is missing can be on the command line, too, as with the override of AWS's package.
    let is_set_on_command_line = sshd.command.get().is_some()
        && runner.status(CheckId::SshdCommandUser) != Some(Status::Fail)
        && settings.is_some_and(Settings::command_is_on_command_line);
    runner
        .check_in_thread(CheckId::RunningOverride, running, |_| {
            move || with_service(&tree, |service| overrides(service, is_set_on_command_line, asked))
        })
        .await;
}

/// Checks that the running sshd has read its configuration. Runs after the checks of the settings: a reload must not
/// be advised if logins work now and would not work after it.
pub(crate) async fn current(
    runner: &Runner,
    target: &CheckTarget<'_>,
    sshd: &SshdFindings,
    account: &Finding<Account>,
    running: &Finding<SshdState>,
    log: &Finding<Log>,
) {
    let tree = ConfigTree::new(target.root);
    let wrong = runner.forbids_reload().or_else(|| runner.breaks_later(|_| true));
    let refused = refused(target, sshd, account, log);
    runner
        .check_in_thread(CheckId::RunningCurrent, (&sshd.program, running), |(program, running)| {
            let refused = refused.clone();
            let (tree, version, running) = (tree.clone(), program.version.clone(), *running);
            let (settings, account) = (sshd.settings.get().cloned(), account.get().cloned());
            let root = target.root.to_owned();
            move || {
                let main = settings.as_ref().map(|settings| settings.source.main.clone());
                let main = main.unwrap_or_else(|| default_main_file(&tree));
                let options = running.process.zip(settings).and_then(|(process, settings)| {
                    next_start::change(&tree, &settings, account.as_ref(), &root, process)
                });
                match options {
                    Some(change) => is_started_otherwise(change, wrong),
                    None => is_current(&tree, &main, version, running, wrong)
                        .if_ok(|| contradicted(&tree, running, refused.as_ref()?, wrong)),
                }
            }
        })
        .await;
}

/// A login that sshd refused.
#[derive(Clone, Debug)]
struct Refusal {
    time: SystemTime,
    /// When and why, for a message.
    note: String,
}

/// The user's last login, if sshd refused it by a setting that its files do not have. Who is in a group, the files do not tell.
fn refused(
    target: &CheckTarget<'_>,
    sshd: &SshdFindings,
    account: &Finding<Account>,
    log: &Finding<Log>,
) -> Option<Refusal> {
    let (log, now) = (log.get()?, (target.clock)().as_secs());
    let LastAttempt::Refused(refused) = last_attempt(&log.lines, &account.get()?.name, now) else {
        return None;
    };
    let is_of_group = refused.known.setting.is_some_and(|setting| setting.ends_with("groups"));
    (!is_of_group && allows_now(sshd.settings.get()?, account.get(), &refused)).then_some(())?;
    Some(Refusal { time: refused.time(now)?, note: format!("{}{}", refused.note, log.caveat()) })
}

/// The result if sshd refused the user by a setting that its files do not have, and did so after it read them, by their times.
fn contradicted(
    tree: &ConfigTree,
    running: SshdState,
    refusal: &Refusal,
    wrong: Option<CheckId>,
) -> Option<Answer<()>> {
    let process = running.process?;
    with_service(tree, |service| {
        let LastRead::At(read) = last_read(service, process)? else { return None };
        // Another sshd can have logged it.
        if refusal.time <= read || !service.is_only_one(&default_main_file(tree)) {
            return None;
        }
        let fix = wrong.map_or_else(|| reload_fix(service, process), Fix::before_restart);
        let note =
            format!("sshd has not read its current configuration, which allows the user: {}", refusal.note);
        Some(Answer::warn(note, fix, ()).marked(Mark::OlderConfiguration))
    })
}

/// `startable`: why sshd would not start, and what to do first. `files`: those that it reads.
fn state(service: &SshdService<'_>, startable: Result<(), String>, files: &[PathBuf]) -> Answer<SshdState> {
    let unit = unit(service);
    let runs = |process: u32| runs(service, unit, process, files);
    let main = default_main_file(service.tree);
    // One that sees another main file serves this system, too.
    let named = || service.pid_file_owner().filter(|owner| other_config(&owner.line, &main).is_none());
    if let Some(Listener { pid: process, .. }) = service.serving(&main).or_else(named) {
        return runs(process);
    }
    if !service.has_systemd() {
        return stopped(service.tree, STOPPED, startable, start(service.tree));
    }
    let active = |units| service.first_active(units).ok().flatten();
    if let Some(name) = active(&SERVICES) {
        let process = stdout_of("systemctl", &["show", "--property=MainPID", "--value", name]);
        let process = process.ok().and_then(|text| text.trim().parse().ok()).filter(|process| *process > 0);
        return match process {
            Some(process) => runs(process),
            // It may have ended since, as one that systemd starts again and again does.
            None => FailedUnit::find(service.tree, unit, files).map_or_else(
                || Answer::ok(format!("{name} is active"), SshdState { process, waiting: None }),
                |failed| failed.answer(),
            ),
        };
    }
    if let Some((socket, started)) = socket_and_unit(service) {
        return of_socket(service, socket, started, files);
    }
    if let Some(process) = service.daemons_with_our_lines(&main).first() {
        // sshd was started by another unit or by hand, without a PID file.
        return runs(*process);
    }
    let start = if has_failed(unit) {
        start_failed(unit)
    } else {
        Fix::command("systemctl start", [CommandWord::Literal(unit)])
    };
    if let Some(unmask) = masked(service.tree, unit) {
        let note = format!("sshd is stopped, and its unit {unit} is masked");
        return stopped(service.tree, &note, startable, unmask.then(start));
    }
    let failed = FailedUnit::find(service.tree, unit, files);
    let waits = || waits_for(service.tree, unit, Duration::ZERO);
    if let Some(fault) = (!failed.as_ref().is_some_and(FailedUnit::restarts)).then(waits).flatten() {
        return fault.after(STOPPED).fail();
    }
    if let Some(answer) = unmet(service.tree, unit) {
        return answer;
    }
    if let Some(fault) = unstartable(service.tree, unit, UnitUse::Stopped) {
        return fault.after(STOPPED).fail();
    }
    match failed {
        // With another user, systemd changes the owner of /run/sshd, and sshd -t refuses that.
        Some(failed) if failed.has_user() || startable.is_ok() && !failed.is_over(files) => failed.answer(),
        _ => stopped(service.tree, STOPPED, startable, start),
    }
}

/// The result for an sshd that runs now.
fn runs(service: &SshdService<'_>, unit: &'static str, process: u32, files: &[PathBuf]) -> Answer<SshdState> {
    let running = SshdState { process: Some(process), waiting: None };
    let seen = Process::read(&service.tree.locate(Path::new(&format!("/proc/{process}"))));
    if seen.is_some_and(|seen| seen.is_stopped) {
        let process = process.to_string();
        return Answer::fail(
            format!("sshd, process {process}, is stopped by a signal: no client gets an answer"),
            Fix::command("kill -CONT", [CommandWord::Value(&process)]),
        );
    }
    if service.has_systemd() {
        let failed = FailedUnit::find(service.tree, unit, files);
        if let Some(failed) = failed.as_ref().filter(|failed| failed.ends(process)) {
            return failed.answer();
        }
        if let Some(fault) = unstartable(service.tree, unit, UnitUse::Runs) {
            return fault.warn(running).breaks_at_restart("");
        }
        let is_of_unit = service.is_of_own_unit(process);
        if let Some(failed) = failed.filter(|failed| is_of_unit && failed.has_left(process)) {
            return failed.answer_of_leftover(process, running);
        }
        let is_beside = || matches!(service.reload_command(process), ReloadCommand::Signal);
        if (is_of_unit || is_beside()) && has_failed(unit) {
            let how = if is_of_unit {
                format!("it is left over from an earlier start of its unit {unit}, and the last start failed")
            } else {
                format!("it is not part of its unit {unit}, whose last start failed")
            };
            let note = format!(
                "sshd runs, process {process}, but {how}: as a rule because process {process} still listens"
            );
            let end = Fix::command("kill", [CommandWord::Value(&process.to_string())]);
            let start = Fix::command("systemctl restart", [CommandWord::Literal(unit)]);
            return Answer::warn(note, end.then(start), running);
        }
    }
    let note = format!("sshd runs, process {process}");
    if service.has_systemd() && needs_reload(unit) {
        let note =
            format!("{note}; systemd has not read the files of its unit {unit} since they were changed");
        let fix = Fix::command("systemctl daemon-reload", []);
        return Answer::ok_with_fix(note, fix, running);
    }
    Answer::ok(note, running)
}

/// Whether files of a unit were changed after systemd read them.
fn needs_reload(unit: &str) -> bool {
    let shown = stdout_of("systemctl", &["show", "--property=NeedDaemonReload", "--value", unit]);
    shown.is_ok_and(|shown| shown.trim() == "yes")
}

/// Whether the last start of a unit failed.
fn has_failed(unit: &str) -> bool {
    let shown =
        stdout_of("systemctl", &["show", "--property=ActiveState,SubState", unit]).unwrap_or_default();
    property(&shown, "ActiveState") == Some("failed") || property(&shown, "SubState") == Some("auto-restart")
}

/// The result if a condition of the unit keeps systemd from starting sshd: systemctl start does nothing then, and succeeds.
fn unmet(tree: &ConfigTree, unit: &'static str) -> Option<Answer<SshdState>> {
    let properties =
        "--property=ConditionResult,ConditionTimestampMonotonic,AssertResult,AssertTimestampMonotonic";
    let shown = stdout_of("systemctl", &["show", properties, unit]).ok()?;
    let has = |line: String| shown.lines().any(|one| one == line);
    // Before its first start, a unit has these values, too.
    let is_unmet =
        |name: &str| has(format!("{name}Result=no")) && !has(format!("{name}TimestampMonotonic=0"));
    let name = ["Condition", "Assert"].into_iter().find(|name| is_unmet(name))?;
    let start = Fix::command("systemctl start", [CommandWord::Literal(unit)]);
    if tree.locate(Path::new(NOT_TO_BE_RUN)).exists() {
        let note = format!("sshd is stopped: its unit {unit} is not started while {NOT_TO_BE_RUN} exists");
        return Some(Answer::fail(
            note,
            Fix::command("rm", [CommandWord::Literal(NOT_TO_BE_RUN)]).then(start),
        ));
    }
    let files = unit_files(tree, unit);
    let mut lines = files.iter().flat_map(|file| settings_in(tree, file, "[Unit]"));
    let (line, find) = match lines.find(|line| is_unmet_path(tree, line, name)) {
        Some(line) => (
            format!("{} ({})", line.text.trim_end(), line.place()),
            "make it true, or remove that line and run systemctl daemon-reload".to_owned(),
        ),
        None => (
            format!("a {name}...= setting of it"),
            format!("see with systemctl status {unit} which one it is, and make it true or remove it"),
        ),
    };
    Some(Answer::fail(
        format!("sshd is stopped: its unit {unit} was not started, because {line} is not met"),
        start.after(&find),
    ))
}

/// Whether a setting of a unit asks for a path that does not exist, or for the opposite.
fn is_unmet_path(tree: &ConfigTree, line: &UnitLine, kind: &str) -> bool {
    let Some((name, value)) = line.setting() else { return false };
    let path = value.strip_prefix('!').unwrap_or(value);
    name.strip_prefix(kind) == Some("PathExists")
        && path.starts_with('/')
        && !path.contains('%')
        && tree.locate(Path::new(path)).exists() == value.starts_with('!')
}

/// With this file, Debian's unit does not start sshd.
const NOT_TO_BE_RUN: &str = "/etc/ssh/sshd_not_to_be_run";

/// The result if a socket unit listens, and starts a unit for a client.
fn of_socket(
    service: &SshdService<'_>,
    socket: &'static str,
    started: &'static str,
    files: &[PathBuf],
) -> Answer<SshdState> {
    let unit = unit(service);
    let start = Fix::command("systemctl start", [CommandWord::Literal(unit)]);
    let running = SshdState { process: None, waiting: Some(started) };
    // With Accept=yes, another unit serves each connection.
    if started.ends_with('@') {
        if let Some(reason) = unusable_template(service.tree, started) {
            let note = format!("{socket} has Accept=yes, and cannot start sshd: {reason}");
            // systemctl cat shows where it is set.
            let stop = Fix::command("systemctl stop", [CommandWord::Literal(socket)]);
            return Answer::fail(note, stop.then(start));
        }
    } else if let Some(unmask) = masked(service.tree, unit) {
        // After a connection, the socket unit has failed, too, and only the service brings sshd back.
        let note = format!("{socket} listens, but cannot start sshd: its unit {unit} is masked");
        return Answer::fail(note, unmask.then(start));
    }
    if let Some(fault) = unstartable(service.tree, started, UnitUse::Waits) {
        return fault.after(&format!("{socket} listens, but cannot start sshd")).fail();
    }
    if !started.ends_with('@') {
        if let Some(fault) = waits_for(service.tree, unit, SOCKET_START) {
            return fault.after(&format!("{socket} listens, but sshd does not start")).fail();
        }
        if let Some(failed) = FailedUnit::find(service.tree, unit, files) {
            return failed.answer_of_socket(socket, running);
        }
    }
    Answer::ok(format!("{socket} starts sshd when a client connects"), running)
}

/// Why the template of a socket unit with `Accept=yes` cannot serve a connection. `template`: its name, without `.service`.
fn unusable_template(tree: &ConfigTree, template: &str) -> Option<String> {
    if masked(tree, template).is_some() {
        return Some(format!("{template}.service is masked"));
    }
    let files = UNITS.iter().map(|directory| PathBuf::from(format!("{directory}/{template}.service")));
    let Some(text) = files.into_iter().find_map(|file| tree.read(&file).ok()) else {
        return Some(format!("{template}.service does not exist"));
    };
    let creates = String::from_utf8_lossy(&text).contains("RuntimeDirectory");
    let directory = Path::new("/run/sshd");
    // Debian's sshd needs this directory, which the service creates.
    let needed = tree.locate(Path::new("/etc/debian_version")).exists();
    (needed && !creates && !tree.locate(directory).exists())
        .then(|| format!("{template}.service does not create {}, which sshd needs", directory.display()))
}

const STOPPED: &str = "sshd is stopped";

fn stopped(tree: &ConfigTree, note: &str, startable: Result<(), String>, start: Fix) -> Answer<SshdState> {
    let lacks_program = || Sshd::find(tree).is_none().then(|| format!("fix {} first", CheckId::SshdVersion));
    match startable.err().or_else(lacks_program) {
        None => Answer::fail(note, start),
        Some(first) => Answer::fail(format!("{note}, and would not start: {first}"), start.after(&first)),
    }
}

/// How to unmask a unit, if it is masked: its first file is linked to /dev/null, or empty, so that it cannot be started.
fn masked(tree: &ConfigTree, unit: &str) -> Option<Fix> {
    let places = ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"];
    let (file, found) = places.into_iter().find_map(|directory| {
        let file = format!("{directory}/{unit}.service");
        let found = fs::symlink_metadata(tree.locate(Path::new(&file))).ok()?;
        Some((file, found))
    })?;
    let target = fs::read_link(tree.locate(Path::new(&file))).ok();
    let (is_link, is_empty) = (target == Some("/dev/null".into()), found.is_file() && found.len() == 0);
    let unmask = match file.get(..5) {
        Some("/etc/") if is_link => "systemctl unmask",
        Some("/run/") if is_link => "systemctl unmask --runtime",
        _ if is_link || is_empty => {
            return Some(Fix::advice(format!(
                "remove {file}, which masks the unit, then: systemctl daemon-reload"
            )));
        }
        _ => return None,
    };
    Some(Fix::command(unmask, [CommandWord::Value(unit)]))
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

/// `is_set_on_command_line`: the command on the command line runs eic-keys. `asked`: whether sshd's settings are known.
fn overrides(service: &SshdService<'_>, is_set_on_command_line: bool, asked: bool) -> Answer<()> {
    let default = default_main_file(service.tree);
    let read = serving(service.tree).map(|serving| serving.main);
    let main = read.as_ref().unwrap_or(&default);
    let file = main.display();
    match service.overridden(main) {
        None if *main == default => match daemon_without_our_command(service, &default) {
            Some(answer) => answer,
            None => Answer::ok("nothing on sshd's command line overrides its files", ()),
        },
        // sshd.command is about the lines of that file.
        None if asked => {
            Answer::ok(format!("sshd runs with -f {file}: its settings are those of this file"), ())
        }
        None => Answer::skip(format!("sshd runs with -f {file}, and its settings are not known")),
        Some(_) if is_set_on_command_line => {
            Answer::ok("the command line of sshd sets AuthorizedKeysCommand to eic-keys", ())
        }
        // The unit was changed after sshd was started.
        Some(reason) if service.serving(&default).is_some_and(|sshd| !overrides_file(&sshd.line, main)) => {
            let fix = "remove that option before sshd is restarted (systemctl cat shows the unit)";
            Answer::warn(reason, Fix::advice(fix), ()).breaks_at_restart("")
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

/// The result if another sshd serves other clients without pushed keys.
fn daemon_without_our_command(service: &SshdService<'_>, main: &Path) -> Option<Answer<()>> {
    let serving = service.serving(main).map(|sshd| sshd.pid);
    let others = service.without_our_command(main, serving);
    let (process, file) = others.first()?;
    let root = service.tree.locate(Path::new("/"));
    let listening = sockets::listening(&root, *process);
    let own = serving.map(|process| sockets::listening(&root, process)).unwrap_or_default();
    let is_usual = |port: u16| port == 22 || own.iter().any(|address| address.port() == port);
    let is_apart = !listening.is_empty() && !listening.iter().any(|address| is_usual(address.port()));
    let ports = lists::sorted_unique(listening.iter().map(|address| address.port().to_string()));
    let ports = if ports.is_empty() { String::new() } else { format!(" on port {}", ports.join(", ")) };
    let file = file.display();
    let note = format!("another sshd, process {process} with -f {file}{ports}, takes no pushed keys");
    // As one for administrators.
    if is_apart {
        return Some(Answer::ok(note, ()));
    }
    Some(Answer::warn(
        note,
        Fix::advice(format!(
            "if clients use that one, add AuthorizedKeysCommand and AuthorizedKeysCommandUser to {file} by hand, and reload it"
        )),
        (),
    ))
}

/// The result if sshd is started with other options next time.
fn is_started_otherwise(change: StartOptions, wrong: Option<CheckId>) -> Answer<()> {
    let StartOptions { file, unit, refusal } = change;
    let file = file.map_or_else(|| format!("sshd's unit {unit}"), |file| file.display().to_string());
    match (refusal, wrong) {
        (Some(reason), _) => Answer::warn(
            reason,
            Fix::advice(format!(
                "change {file} before sshd is restarted (systemctl status {unit} lists the files of its unit)"
            )),
            (),
        )
        .breaks_at_restart(&format!(" ({file} was changed after sshd was started)")),
        (None, wrong) => {
            let note =
                format!("{file} was changed after sshd was started: sshd still runs with other options");
            let restart = Fix::command("systemctl daemon-reload", [])
                .then(Fix::command("systemctl restart", [CommandWord::Literal(unit)]));
            Answer::warn(note, wrong.map_or(restart, Fix::before_restart), ())
        }
    }
}

/// Compares the configuration with the time when sshd last read it. `wrong`: a check that says that the configuration
/// refuses logins.
fn is_current(
    tree: &ConfigTree,
    main: &Path,
    version: OpensshVersion,
    running: SshdState,
    wrong: Option<CheckId>,
) -> Answer<()> {
    let Some(process) = running.process else {
        return Answer::ok("sshd reads its configuration when it is started", ());
    };
    let config = match Config::read(tree, main, version) {
        Ok(config) => config,
        // sshd.config has the error, unless only root can read a file.
        Err(_) if wrong == Some(CheckId::SshdConfig) => {
            return Answer::ok("sshd runs with the configuration that it read when it was started", ());
        }
        Err(error) => {
            return Answer::skip(format!("its configuration cannot be read: {}", WithCauses(&error)));
        }
    };
    with_service(tree, |service| {
        let Some(files) = changed_files(service, process, &config, &[Path::new(DROP_INS)]) else {
            return Answer::skip("the time when sshd last read its configuration is not known");
        };
        let Some(path) = files.first() else {
            return outdated_daemons(service, process, &config);
        };
        let fix = wrong.map_or_else(|| reload_fix(service, process), Fix::before_restart);
        Answer::warn(format!("{} {CHANGED_SINCE}", path.display()), fix, ()).marked(Mark::OlderConfiguration)
    })
}

/// Checks the other sshds that read our lines, because any of them can accept a login.
fn outdated_daemons(service: &SshdService<'_>, own: u32, config: &Config) -> Answer<()> {
    // Removing a file changes the directory.
    let changed = |process: &u32| changed_files(service, *process, config, &[Path::new(DROP_INS)]);
    let is_old = |process: &u32| *process != own && changed(process).is_some_and(|files| !files.is_empty());
    let read = service.daemons_with_our_lines(&default_main_file(service.tree)).into_iter();
    let old: Vec<u32> = read.filter(is_old).collect();
    let Some(first) = old.first() else {
        return Answer::ok("sshd has read its current configuration", ());
    };
    let fixes = old.iter().map(|process| match service.reload_command(*process) {
        ReloadCommand::Unit(unit) => Fix::command("systemctl reload", [CommandWord::Value(&unit)]),
        ReloadCommand::OwnUnit | ReloadCommand::Signal => signal_fix(*process),
    });
    let fix = fixes.reduce(Fix::then).unwrap_or_else(|| Fix::advice("reload each sshd"));
    let more = old.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let said = format!("another sshd, process {first}{more}, may not have read the current configuration");
    Answer::warn(said, fix, ())
}
