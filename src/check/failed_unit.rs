//! Why systemd cannot start sshd: the state of its unit, the last lines of its journal, and the files that change the unit.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::fault::Fault;
use super::fix::{CommandWord, Fix};
use super::runner::Answer;
use super::running_sshd::{changed_at, place_of_option, remove_setting, shown_name};
use crate::config_tree::ConfigTree;
use crate::files;
use crate::limits;
use crate::procfs::Process;
use crate::seconds::decimal;
use crate::sshd::command_line::has_option;
use crate::sshd::unit::{StartLine, UnitLine, property, settings_of};
use crate::tool::stdout_of;

/// A service that failed, or that systemd starts again and again.
#[derive(Debug)]
pub(crate) struct FailedUnit {
    /// Its name, without `.service`.
    unit: &'static str,
    restarts: Restarts,
    /// Whether it was started too often, so that systemd does not start it, and did not fail otherwise.
    hit_limit: bool,
    /// Where the option is set that ended it, if one did.
    options: Option<String>,
    /// Its process, while it runs.
    process: Option<u32>,
    /// The journal of its last start, oldest first.
    lines: Vec<String>,
    /// The settings that the administrator's files make.
    settings: Vec<UnitLine>,
    /// Whether its file replaces the package's.
    replaces: bool,
}

/// Whether systemd starts a service again and again, so that it runs for a moment at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restarts {
    No,
    /// Its last start is not complete, or failed.
    Incomplete,
    /// Its last start succeeded, and what ended it can have been corrected.
    Active,
}

/// Lines to print, and the length of each.
const MOST_LINES: usize = 10;
const MOST_CHARACTERS: usize = 200;

/// A service that was started again and runs for longer than this is not one that ends as soon as it is started.
const SHORT_RUN: Duration = Duration::from_secs(2);

/// Settings to print.
const MOST_SETTINGS: usize = 4;

impl FailedUnit {
    /// The unit, if its last start failed and nothing that it reads was changed afterwards. `files`: the files of sshd's configuration.
    pub(crate) fn find(tree: &ConfigTree, unit: &'static str, files: &[PathBuf]) -> Option<Self> {
        let properties = "--property=MainPID,ActiveState,SubState,Result,NRestarts,FragmentPath,DropInPaths,ExecMainStartTimestampMonotonic,StateChangeTimestampMonotonic";
        let shown = stdout_of("systemctl", &["show", properties, unit]).ok()?;
        let property = |name: &str| property(&shown, name).unwrap_or_default();
        let time = |name| property(name).parse().ok().map(Duration::from_micros).and_then(time_after_boot);
        let changed_state = time("StateChangeTimestampMonotonic");
        let started_again = !matches!(property("NRestarts"), "" | "0");
        let restarts = match property("ActiveState") {
            "activating" | "deactivating" if property("SubState") == "auto-restart" || started_again => {
                Restarts::Incomplete
            }
            "active" if started_again => {
                // A reload changes the state of a unit, but not its process.
                let age = time("ExecMainStartTimestampMonotonic").and_then(|time| time.elapsed().ok());
                if age.is_some_and(|age| age < SHORT_RUN) { Restarts::Active } else { Restarts::No }
            }
            _ => Restarts::No,
        };
        if property("ActiveState") != "failed" && restarts == Restarts::No {
            return None;
        }
        let of_unit = property("DropInPaths").split_whitespace().chain([property("FragmentPath")]);
        let of_unit: Vec<PathBuf> = of_unit.filter(|path| path.starts_with('/')).map(PathBuf::from).collect();
        let is_newer =
            |path: &PathBuf| changed_state.is_some() && changed_at(&tree.locate(path)) > changed_state;
        let hit_limit = property("Result") == "start-limit-hit";
        if restarts == Restarts::No && !hit_limit && of_unit.iter().chain(files).any(is_newer) {
            return None;
        }
        let packaged =
            ["/usr/lib", "/lib"].map(|place| PathBuf::from(format!("{place}/systemd/system/{unit}.service")));
        let replaces = !packaged.contains(&PathBuf::from(property("FragmentPath")));
        let packaged: Vec<_> = packaged.iter().flat_map(|path| settings_of(tree, path)).collect();
        let mut settings: Vec<_> = of_unit.iter().flat_map(|path| settings_of(tree, path)).collect();
        // A unit in /etc is a copy of the package's, as a rule.
        settings.retain(|line| {
            line.setting().is_some_and(|(_, value)| !value.is_empty())
                && !packaged.iter().any(|other| other.text == line.text)
        });
        let replaces = replaces && !packaged.is_empty();
        let process = property("MainPID").parse().ok().filter(|process| *process > 0);
        let lines = journal(unit);
        let options = cause(&lines).and_then(|line| wrong_option(line));
        let options = options.map(|letter| place_of_option(tree, letter));
        Some(Self { unit, restarts, hit_limit, options, process, lines, settings, replaces })
    }

    /// Whether systemd starts it again and again.
    pub(crate) fn restarts(&self) -> bool {
        self.restarts != Restarts::No
    }

    /// Whether this process is one that systemd started again, and that ends like those before it. It can have been started after the
    /// state of the unit was read. Waits for it: what ended the others can be corrected.
    pub(crate) fn ends(&self, process: u32) -> bool {
        self.restarts()
            && match self.process {
                // It is another sshd than the unit's.
                Some(main) if main != process && age(main).is_some() => age(process).is_none(),
                // What systemd runs after sshd can fail, and take long.
                Some(main) if main == process && self.restarts == Restarts::Incomplete => true,
                _ => ends_soon(process),
            }
    }

    /// Whether sshd refused to start because of one of these files, which it accepts now. Since then, systemd has only said that it was
    /// started too often.
    pub(crate) fn is_over(&self, accepted: &[PathBuf]) -> bool {
        let refuses = |line: &str, file: &PathBuf| {
            let rest = file.to_str().and_then(|file| line.strip_prefix(file));
            rest.is_some_and(|rest| rest.starts_with(" line ") || rest.starts_with(": terminating, "))
        };
        cause(&self.lines).is_some_and(|line| accepted.iter().any(|file| refuses(line, file)))
    }

    /// Whether a process of the unit is another one than systemd started last.
    pub(crate) fn has_left(&self, process: u32) -> bool {
        self.process != Some(process)
    }

    /// Whether one of these settings names a user.
    pub(crate) fn has_user(&self) -> bool {
        self.settings.iter().any(|line| line.text.starts_with("User="))
    }

    /// The result for sshd, which does not run.
    pub(crate) fn answer<T>(&self) -> Answer<T> {
        self.explained(&self.state(), "").fail().detail(self.last_lines())
    }

    /// The result for an sshd that a failed start has left. It listens, so that the next one cannot.
    pub(crate) fn answer_of_leftover<T>(&self, process: u32, value: T) -> Answer<T> {
        let state = format!(
            "sshd runs, process {process}, but it is left over from a start of its unit {} that failed, and the unit cannot start while it \
             listens",
            self.unit
        );
        self.explained(&state, &format!("kill {process}; ")).warn(value).detail(self.last_lines())
    }

    /// The result for a socket unit, which starts sshd again for the next client: what failed then may be over, unless it fails again
    /// and again.
    pub(crate) fn answer_of_socket<T>(&self, socket: &str, value: T) -> Answer<T> {
        if self.restarts() {
            return self.answer();
        }
        let before = format!("{socket} listens, but its last start of sshd failed");
        self.explained(&self.state(), "").after(&before).warn(value).detail(self.last_lines())
    }

    /// Whether it ran, and the kernel or another program killed it.
    fn was_killed(&self) -> bool {
        let has = |is: &dyn Fn(&str) -> bool| self.lines.iter().any(|line| is(line));
        !self.restarts()
            && has(&|line| line.starts_with("Started "))
            && has(&|line| line.ends_with("Main process exited, code=killed, status=9/KILL"))
            && !self.settings.iter().any(|line| line.text.starts_with("Memory"))
    }

    fn state(&self) -> String {
        let unit = self.unit;
        if self.restarts() {
            format!("sshd does not keep running: systemd starts its unit {unit} again and again")
        } else {
            format!("sshd is stopped: its unit {unit} failed")
        }
    }

    fn last_lines(&self) -> Vec<String> {
        let last = self.lines.len().saturating_sub(MOST_LINES);
        self.lines.iter().skip(last).cloned().collect()
    }

    /// `state`: what has become of it. `first`: commands before the others, each with a semicolon.
    fn explained(&self, state: &str, first: &str) -> Fault {
        let unit = self.unit;
        if self.hit_limit {
            return Fault::new(
                format!(
                    "sshd is stopped: systemd does not start its unit {unit}, because it was started too often (StartLimitBurst=)"
                ),
                start_failed(unit),
            );
        }
        if self.was_killed() {
            let note = format!(
                "{state}: the kernel, for lack of memory, or another program killed its process (journalctl -k shows the former)"
            );
            return Fault::new(note, Fix::command("systemctl restart", [CommandWord::Literal(unit)]));
        }
        let cause = cause(&self.lines).map(String::as_str).unwrap_or_default();
        let is_late = cause.contains("start operation timed out");
        let note = match cause {
            "" => state.to_owned(),
            _ if is_late => format!(
                "{state}: {cause} (systemd was not told that sshd is ready: Type= has to fit, and a script has to run sshd with exec)"
            ),
            cause => format!("{state}: {cause}"),
        };
        let again = format!(
            "then: {first}systemctl daemon-reload; systemctl reset-failed {unit}; systemctl restart {unit}"
        );
        if let Some(place) = &self.options {
            return Fault::with_advice(note, format!("correct the options of sshd ({place}), {again}"));
        }
        let is_command = |line: &UnitLine| line.text.starts_with("ExecStart=");
        let setting = |line: &UnitLine| bounded(line.text.trim_end());
        let unusable = unusable_path(&self.settings, cause);
        let blamed = match unusable {
            Some((line, _)) => vec![line],
            None => blamed(&self.settings, &self.lines, is_late),
        };
        let again = if blamed.iter().any(|line| is_command(line)) {
            format!("with the empty ExecStart= before it, or correct it, {again}")
        } else {
            again
        };
        let fix = match blamed.as_slice() {
            _ if cause.contains("Missing privilege separation directory: /run/sshd") => format!(
                "add RuntimeDirectory=sshd to the section [Service] of sshd's unit (systemctl edit {unit}), then: systemctl restart {unit}"
            ),
            [] => format!("remove the cause that the journal names (journalctl --unit {unit}), {again}"),
            [line] => {
                let (line, place) = (setting(line), line.place());
                match unusable {
                    Some((_, path)) if line.contains("Paths=") => {
                        format!(
                            "correct {path} in {line} ({place}), or write -{path} if it need not exist, {again}"
                        )
                    }
                    _ => format!("remove {line} from sshd's unit ({place}), {again}"),
                }
            }
            many => {
                let shown = many.iter().take(MOST_SETTINGS);
                let shown =
                    shown.map(|line| format!("{} ({})", setting(line), line.place())).collect::<Vec<_>>();
                let more = many.len().saturating_sub(shown.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!(
                    "remove the setting with which sshd cannot start from its unit: {}{more}; {again}",
                    shown.join(", ")
                )
            }
        };
        let replaced = "; the unit is a copy of the package's (systemd-delta shows the differences): without it, the package's counts";
        Fault::with_advice(note, if self.replaces { fix + replaced } else { fix })
    }
}

/// The fix that starts a unit that failed, and that can have been started too often.
pub(crate) fn start_failed(unit: &'static str) -> Fix {
    let start = Fix::command("systemctl start", [CommandWord::Literal(unit)]);
    Fix::command("systemctl reset-failed", [CommandWord::Literal(unit)]).then(start)
}

/// What the unit of sshd does, for [`unstartable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitUse {
    Runs,
    Stopped,
    /// Its socket unit waits for a client.
    Waits,
}

/// Why systemd would not start a unit that it has not tried to start, and what to do: its files have an error, a file that they name is
/// missing or, if it does not run, another unit that it needs does not exist or has failed.
pub(crate) fn unstartable(tree: &ConfigTree, unit: &'static str, now: UnitUse) -> Option<Fault> {
    let properties = "--property=LoadState,Requires,Requisite,BindsTo,EnvironmentFiles,RefuseManualStart,StopWhenUnneeded,WantedBy,RequiredBy";
    let name = shown_name(unit);
    let shown = stdout_of("systemctl", &["show", properties, &name]).ok()?;
    let again = match now {
        UnitUse::Waits => "systemctl daemon-reload".to_owned(),
        _ => format!("systemctl daemon-reload; systemctl restart {unit}"),
    };
    if matches!(property(&shown, "LoadState"), Some("bad-setting" | "error")) {
        let words = ["--boot", "--lines=60", "--output=cat", "--no-pager", "--quiet", "--unit", &name];
        let journal = stdout_of("journalctl", &words).unwrap_or_default();
        let reason = journal.lines().rfind(|line| line.contains("Refusing"));
        let reason = reason.map(|line| format!(": {}", bounded(line.trim()))).unwrap_or_default();
        return Some(Fault::with_advice(
            format!("systemd cannot load its unit {unit}{reason}"),
            format!(
                "correct the files of the unit (systemctl status {name} lists them; a second ExecStart= needs an empty one before it), then: \
                 {again}"
            ),
        ));
    }
    let has = |name: &str| property(&shown, name).is_some_and(|value| !value.is_empty());
    let set = |name: &str| property(&shown, name) == Some("yes");
    let refusing = if set("RefuseManualStart") {
        Some("RefuseManualStart=yes")
    } else if set("StopWhenUnneeded") && !has("WantedBy") && !has("RequiredBy") {
        Some("StopWhenUnneeded=yes, and no unit needs it")
    } else {
        None
    };
    if let Some(setting) = refusing.filter(|_| now == UnitUse::Stopped) {
        return Some(Fault::with_advice(
            format!("its unit {unit} has {setting}"),
            format!("remove that line (systemctl status {unit} lists its files), then: {again}"),
        ));
    }
    // sshd ends at once with them, or serves one connection.
    let line = (!unit.ends_with('@')).then(|| StartLine::of_unit(tree, unit)).flatten();
    let ending =
        |letter: &char| line.as_ref().is_some_and(|line| has_option(&line.line, &letter.to_string()));
    if let Some(letter) = "tTGViR".chars().find(ending) {
        return Some(Fault::with_advice(
            format!("its unit {unit} starts sshd with -{letter}, with which it does not wait for clients"),
            format!("remove -{letter} ({}), then: {again}", place_of_option(tree, letter)),
        ));
    }
    // Another unit can create what is below /run.
    let missing = shown.lines().find_map(|line| {
        let file = line.strip_prefix("EnvironmentFiles=")?.strip_suffix(" (ignore_errors=no)")?;
        let is_plain = file.starts_with('/') && !file.starts_with("/run/") && !file.contains(['*', '?', '[']);
        (is_plain && tree.locate(Path::new(file)).try_exists().is_ok_and(|exists| !exists)).then_some(file)
    });
    if let Some(file) = missing {
        return Some(Fault::with_advice(
            format!("its unit {unit} needs {file} (EnvironmentFile=), which does not exist"),
            format!("create it, or {}", remove_setting(tree, unit, "EnvironmentFile", file)),
        ));
    }
    let needed = ["Requires", "Requisite", "BindsTo"].into_iter().filter_map(|name| property(&shown, name));
    let needed: Vec<_> = needed.flat_map(str::split_whitespace).collect();
    if now == UnitUse::Runs || needed.is_empty() {
        return None;
    }
    let requisite = |id: &str| {
        property(&shown, "Requisite").unwrap_or_default().split_whitespace().any(|name| name == id)
    };
    let states = stdout_of(
        "systemctl",
        &[["show", "--property=Id,LoadState,ActiveState"].as_slice(), &needed].concat(),
    )
    .ok()?;
    states.split("\n\n").find_map(|one| {
        let state = match (property(one, "LoadState")?, property(one, "ActiveState")?) {
            ("not-found", _) => "does not exist",
            ("masked", _) if now == UnitUse::Stopped => "is masked",
            // A start waits for a device in vain.
            (_, "inactive") if now == UnitUse::Stopped && property(one, "Id")?.ends_with(".device") => "is not there",
            // It may not fail again when a client connects.
            (_, "failed") if now == UnitUse::Stopped => "has failed",
            // Another one is started with it.
            (_, "inactive") if now == UnitUse::Stopped && requisite(property(one, "Id")?) => {
                "is not active (Requisite=)"
            }
            _ => return None,
        };
        let id = bounded(property(one, "Id")?);
        Some(Fault::with_advice(
            format!("its unit {unit} needs {id}, which {state}"),
            format!(
                "repair {id} (systemctl status {id}), or remove it from the unit (systemctl status {name} lists its files), then: \
                 {again}"
            ),
        ))
    })
}

/// The time so long after the start of the system.
pub(crate) fn time_after_boot(time: Duration) -> Option<SystemTime> {
    // The uptime is in hundredths of a second.
    let ago = uptime()?.saturating_sub(time);
    SystemTime::now().checked_sub(ago)
}

/// How long a process runs.
fn age(process: u32) -> Option<Duration> {
    let started = Process::read(Path::new(&format!("/proc/{process}")))?.since_boot();
    Some(uptime()?.saturating_sub(started))
}

/// Whether a process ends before it has run for [`SHORT_RUN`].
fn ends_soon(process: u32) -> bool {
    loop {
        let Some(age) = age(process) else { return true };
        let left = SHORT_RUN.saturating_sub(age);
        if left.is_zero() {
            return false;
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}

fn uptime() -> Option<Duration> {
    let uptime = files::read_text(Path::new("/proc/uptime"), limits::PROC_FILE).ok()?;
    decimal(uptime.split_whitespace().next()?)
}

/// The lines of the unit's last start, or of the one before if the last one has not failed yet.
fn journal(unit: &str) -> Vec<String> {
    let service = format!("--unit={unit}.service");
    let words = ["--boot", "--lines=60", "--output=cat", "--no-pager", "--quiet", &service];
    let text = stdout_of("journalctl", &words).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(bounded).collect();
    let start = |lines: &[String]| lines.iter().rposition(|line| line.starts_with("Starting ")).unwrap_or(0);
    let (before, last) = lines.split_at(start(&lines));
    let before = before.get(start(before)..).unwrap_or_default();
    let failed = if cause(last).is_none() && cause(before).is_some() { before } else { last };
    failed.to_vec()
}

pub(super) fn bounded(line: &str) -> String {
    line.chars().take(MOST_CHARACTERS).collect()
}

/// The option that a line of sshd complains about, as getopt(3) does, or of its log file.
fn wrong_option(line: &str) -> Option<char> {
    let (_, option) = match line.split_once("option requires an argument -- ") {
        None if line.contains("Couldn't open logfile") => return Some('E'),
        // sshd's name for its options -o.
        None if line.contains("command-line line 0: ") => return Some('o'),
        None => line.split_once(" option -- ")?,
        Some(found) => found,
    };
    option.trim_start_matches('\'').chars().next()
}

/// The setting with a path that systemd cannot use, by its message, and that path.
fn unusable_path<'a>(settings: &'a [UnitLine], cause: &str) -> Option<(&'a UnitLine, &'a str)> {
    let (_, message) = ["Failed to set up mount namespacing: ", "Failed at step EXEC spawning "]
        .iter()
        .find_map(|text| cause.split_once(text))?;
    let used = message.split_once(": ").map_or(message, |(path, _)| path);
    settings.iter().find_map(|line| {
        let words = line.setting()?.1.split([' ', ':']);
        let mut paths =
            words.map(|word| word.trim_start_matches(['-', '+', '!', '@', '"']).trim_end_matches('"'));
        // It can have a directory of systemd before it.
        paths
            .find(|path| path.len() > 1 && path.starts_with('/') && used.ends_with(path))
            .map(|path| (line, path))
    })
}

/// What systemd was about to do when it failed, and what the names of the settings for that contain.
const STEPS: &str = "NAMESPACE Path Root Private Protect FileSystem Mount Director
EXEC Exec Root
CHDIR WorkingDirectory
USER User
GROUP Group
STDIN Standard
STDOUT Standard
STDERR Standard";

/// How the names of settings begin that cannot keep a unit from starting.
const LATER: &str = "Restart TimeoutStop Kill SendSIG ExecReload ExecStop SuccessExitStatus OOMPolicy";

/// The settings with which sshd cannot start, as far as systemd says what it could not do. `is_late`: the start took too long.
fn blamed<'a>(settings: &'a [UnitLine], lines: &[String], is_late: bool) -> Vec<&'a UnitLine> {
    let with = |counts: &dyn Fn(&str) -> bool| -> Vec<_> {
        settings.iter().filter(|line| counts(line.text.split('=').next().unwrap_or_default())).collect()
    };
    let begins = |list: &str, name: &str| list.split(' ').any(|begin| name.starts_with(begin));
    // "Failed at step NAMESPACE spawning ...", or "status=226/NAMESPACE".
    let names = lines.iter().find_map(|line| {
        let exit = || line.split_once("status=2")?.1.split_once('/');
        let (_, step) = line.split_once("Failed at step ").or_else(exit)?;
        let step = step.split(' ').next()?;
        STEPS.lines().find_map(|row| row.strip_prefix(step)?.strip_prefix(' '))
    });
    let of_step = names.map(|names| with(&|name| names.split(' ').any(|part| name.contains(part))));
    if let Some(of_step) = of_step.filter(|found| !found.is_empty()) {
        return of_step;
    }
    let waits = is_late && with(&|name| begins("Exec Type PIDFile Notify", name)).is_empty();
    with(&|name| !begins(LATER, name) && (waits || !name.starts_with("TimeoutStart")))
}

/// The line that names the cause: sshd's own last one, or else how it ended.
fn cause(lines: &[String]) -> Option<&String> {
    // Lines of systemd about the unit, and lines of sshd that follow them.
    let acts = |line: &String| {
        [
            "Starting ",
            "Started ",
            "Stopping ",
            "Stopped ",
            "Failed to start ",
            "Server listening on ",
            // systemd stops it, if it does not say that it is ready or if it ran before.
            "Received signal 15",
        ]
        .iter()
        .any(|begin| line.starts_with(begin))
    };
    let of_unit = |line: &String| line.split_once(".service: ").map(|(_, text)| text.to_owned());
    let own = || lines.iter().rfind(|line| !acts(line) && of_unit(line).is_none());
    // It could not prepare the process, or run the program.
    let failed = |line: &&String| {
        of_unit(line).is_some_and(|text| text.starts_with("Failed ") && !text.starts_with("Failed with"))
    };
    let ended = |line: &&String| {
        of_unit(line).is_some_and(|text| text.contains("code=") || text.contains("timed out"))
    };
    // sshd prints its usage after this line.
    let option = lines.iter().find(|line| wrong_option(line).is_some());
    option.or_else(own).or_else(|| lines.iter().find(failed)).or_else(|| lines.iter().rfind(ended))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{FailedUnit, Restarts, age, blamed, cause, unusable_path, wrong_option};
    use crate::config_tree::ConfigTree;
    use crate::sshd::unit::{UnitLine, settings_of};

    #[test]
    fn the_line_that_names_the_cause() {
        let lines = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        for (journal, expected) in [
            (
                "Starting ssh.service - OpenBSD Secure Shell server...|socket: Address family not supported by protocol|\
                 ssh.service: Main process exited, code=exited, status=255/EXCEPTION|ssh.service: Failed with result 'exit-code'.",
                "socket: Address family not supported by protocol",
            ),
            (
                "Starting ssh.service|Server listening on 0.0.0.0 port 22.|\
                 ssh.service: Main process exited, code=killed, status=25/XFSZ|ssh.service: Failed with result 'signal'.|\
                 Failed to start ssh.service.",
                "ssh.service: Main process exited, code=killed, status=25/XFSZ",
            ),
            (
                "ssh.service: Failed to set up mount namespacing: /x: No such file|ssh.service: Failed at step NAMESPACE spawning \
                 /usr/sbin/sshd|ssh.service: Control process exited, code=exited, status=226/NAMESPACE",
                "ssh.service: Failed to set up mount namespacing: /x: No such file",
            ),
            (
                "Starting ssh.service|Server listening on 0.0.0.0 port 22.|ssh.service: start operation timed out. Terminating.|\
                 ssh.service: Failed with result 'timeout'.",
                "ssh.service: start operation timed out. Terminating.",
            ),
        ] {
            assert_eq!(cause(&lines(journal)).map(String::as_str), Some(expected));
        }
        assert_eq!(cause(&lines("Starting ssh.service")), None);
    }

    fn settings(lines: &str) -> Vec<UnitLine> {
        let file = Path::new("/x.conf");
        let text = format!("[Service]\n{}\n", lines.replace('|', "\n"));
        settings_of(&ConfigTree::new(Path::new("/")).with(file, Some(text.into_bytes())), file)
    }

    #[test]
    fn the_settings_that_can_be_the_cause() {
        const TIMED_OUT: &str = "ssh.service: start operation timed out. Terminating.";
        for (lines, journal, expected) in [
            ("Type=forking|TimeoutStartSec=3|Restart=no", TIMED_OUT, "Type=forking"),
            ("TimeoutStartSec=1|Restart=no|TimeoutStopSec=5", TIMED_OUT, "TimeoutStartSec=1"),
            ("PrivateTmp=yes|TimeoutStartSec=1", TIMED_OUT, "PrivateTmp=yes|TimeoutStartSec=1"),
            (
                "DynamicUser=yes|TimeoutStartSec=9|RestartSec=1",
                "sshd: no hostkeys available",
                "DynamicUser=yes",
            ),
            (
                "ExecStartPre=/usr/sbin/sshd -t|WorkingDirectory=/opt/ssh|KillMode=mixed",
                "ssh.service: Failed at step CHDIR spawning /usr/sbin/sshd: No such file or directory",
                "WorkingDirectory=/opt/ssh",
            ),
            (
                "Environment=A=b|StandardOutput=append:/none/x",
                "ssh.service: Control process exited, code=exited, status=209/STDOUT",
                "StandardOutput=append:/none/x",
            ),
            (
                "LimitNOFILE=64|RootDirectory=/srv/sshroot",
                "ssh.service: Failed at step NAMESPACE spawning /usr/sbin/sshd: No such file or directory",
                "RootDirectory=/srv/sshroot",
            ),
            // None that is known for this step, and none at all.
            (
                "LimitNOFILE=3|Restart=no",
                "ssh.service: Failed at step LIMITS spawning /usr/sbin/sshd",
                "LimitNOFILE=3",
            ),
            ("Restart=no|ExecReload=/bin/true", "socket: Address family not supported by protocol", ""),
        ] {
            let settings = settings(lines);
            let found = blamed(&settings, &[journal.to_owned()], journal == TIMED_OUT);
            let found: Vec<_> = found.into_iter().map(|line| line.text.as_str()).collect();
            assert_eq!(found.join("|"), expected, "{lines}: {journal}");
        }
    }

    #[test]
    fn the_path_that_systemd_cannot_use() {
        let lines = "ReadOnlyPaths=/etc /usr|InaccessiblePaths=/etc/ssl/private -/root/.aws|ExecStart=-/usr/local/sbin/sshd -D";
        let settings = settings(lines);
        for (path, expected) in [
            ("/root/.aws", Some("/root/.aws")),
            ("/run/systemd/unit-root/root/.aws", Some("/root/.aws")),
            ("/root", None),
            ("/dev/shm", None),
        ] {
            let cause =
                format!("ssh.service: Failed to set up mount namespacing: {path}: No such file or directory");
            let found =
                unusable_path(&settings, &cause).map(|(line, path)| (line.text.split('=').next(), path));
            assert_eq!(found, expected.map(|path| (Some("InaccessiblePaths"), path)), "{path}");
        }
        let cause =
            "ssh.service: Failed at step EXEC spawning /usr/local/sbin/sshd: No such file or directory";
        assert_eq!(unusable_path(&settings, cause).map(|(_, path)| path), Some("/usr/local/sbin/sshd"));
        assert!(unusable_path(&settings, "/usr/local/sbin/sshd: not found").is_none());
    }

    #[test]
    fn an_option_that_sshd_does_not_take() {
        for (line, expected) in [
            ("/usr/sbin/sshd: option requires an argument -- 'o'", Some('o')),
            ("sshd: option requires an argument -- o", Some('o')),
            ("sshd: invalid option -- 'Z'", Some('Z')),
            ("unknown option -- x", Some('x')),
            ("Couldn't open logfile /var/log/ssh/sshd.log: No such file or directory", Some('E')),
            ("/etc/ssh/sshd_config: line 3: Bad configuration option: No", None),
        ] {
            assert_eq!(wrong_option(line), expected, "{line}");
            let usage = format!("Starting ssh.service|{line}|OpenSSH_9.2|usage: sshd [-46DdeiqTt]");
            let lines = usage.split('|').map(str::to_owned).collect::<Vec<_>>();
            let named = expected.map_or("usage: sshd [-46DdeiqTt]", |_| line);
            assert_eq!(cause(&lines).map(String::as_str), Some(named));
        }
    }

    fn unit(process: Option<u32>, restarts: Restarts) -> FailedUnit {
        FailedUnit {
            unit: "ssh",
            restarts,
            hit_limit: false,
            options: None,
            process,
            lines: Vec::new(),
            settings: Vec::new(),
            replaces: false,
        }
    }

    #[test]
    fn how_long_a_process_runs() {
        assert!(age(std::process::id()).is_some());
        assert_eq!(age(u32::MAX), None, "a process that does not exist");
    }

    /// What ended the others can have been corrected while systemd started it again and again.
    #[test]
    #[allow(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "a test may panic, and starts a program"
    )]
    fn a_process_that_was_started_again_and_stays() {
        let sleep = |seconds| std::process::Command::new("sleep").arg(seconds).spawn().unwrap();
        let mut stays = sleep("60");
        assert!(!unit(Some(stays.id()), Restarts::Active).ends(stays.id()));
        assert!(unit(Some(stays.id()), Restarts::Incomplete).ends(stays.id()));
        stays.kill().unwrap();
        stays.wait().unwrap();
        let mut ends = sleep("0.5");
        let process = ends.id();
        // It is a zombie until somebody waits for it.
        let wait = std::thread::spawn(move || ends.wait());
        assert!(unit(Some(process), Restarts::Active).ends(process));
        wait.join().unwrap().unwrap();
    }

    /// systemd can start the next one between the search for a process and the question for the state of its unit.
    #[test]
    fn a_process_that_was_seen_before() {
        let own = std::process::id();
        assert!(unit(Some(own), Restarts::Active).ends(u32::MAX), "it has ended, and the next one runs");
        assert!(!unit(Some(own), Restarts::Active).ends(1), "another sshd");
        assert!(unit(None, Restarts::Active).ends(u32::MAX));
        assert!(!unit(Some(own), Restarts::No).ends(own), "it is not started again and again");
    }
}
