//! Runs the AuthorizedKeysCommand as sshd runs it: its arguments, its user, sshd's environment, mount namespace and
//! resource limits.
//!
//! The run has no system log, because the log must name only keys that sshd got: in a mount namespace of its own, another file is in
//! the place of the log's socket. There, while a valid key is pushed for the user, it is for that key, and must print it. Otherwise the
//! fingerprint is that of no key: the run requests the user's active keys as a login does, but provides none. The chained command runs
//! beside it, because sshd waits for its end; its output is not used.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::account::{Account, is_root};
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::serving_context::ServingContext;
use crate::check::settings::Settings;
use crate::config_tree::ConfigTree;
use crate::exit_status::ExitStatus;
use crate::limits;
use crate::process::{Credentials, Output, TrustedCommand};
use crate::safe_path::{self, Program};
use crate::sshd::managed_lines;

use super::keys::ValidKey;
use super::shell::{self, Caller, CannotRun};
use super::sshd::{NOT_KNOWN, SshdFindings, USE_CHAIN, is_eic_keys, leads_here};
use crate::check::tokens::{Offered, expand_command};
use crate::seconds::Seconds;

/// The other checks that it depends on: sshd trusts the program's path, and `metadata.command_user` found that the user can run it and
/// reach the metadata service.
pub(crate) struct Needs<'a> {
    pub(crate) account: &'a Finding<Account>,
    pub(crate) trusted: &'a Finding<Program>,
    pub(crate) reachable: &'a Finding<()>,
}

/// Runs the program. `keys`: those that it would print.
pub(crate) async fn run(
    runner: &Runner,
    target: &CheckTarget<'_>,
    sshd: &SshdFindings,
    needs: &Needs<'_>,
    keys: Option<&Vec<ValidKey>>,
) {
    let needs = (&sshd.command, &sshd.user, needs.account, needs.trusted, needs.reachable);
    runner
        .check_in_thread(CheckId::LoginCommand, needs, |(_, user, account, program, ())| {
            let now = (target.clock)().as_secs();
            let lasts = |key: &&ValidKey| key.expiry > now.saturating_add(limits::LOGIN_COMMAND_KEY_LEFT);
            let key = keys.into_iter().flatten().filter(lasts).max_by_key(|key| key.expiry).cloned();
            let sshd = sshd.program.get().cloned().zip(sshd.settings.get().cloned());
            let (program, login) = (program.clone(), account.clone());
            let (user, root) = (user.clone(), target.root.to_owned());
            move || match sshd {
                Some((sshd, settings)) => {
                    let command = settings.dump.command.as_deref().unwrap_or_default();
                    let words = managed_lines::words(&sshd.version, command);
                    let configured = ConfiguredCommand { program, words, login, key };
                    run_configured(&configured, &user, &root, &settings)
                }
                None => Answer::skip("sshd's settings are not known"),
            }
        })
        .await;
}

/// The AuthorizedKeysCommand of sshd's configuration.
struct ConfiguredCommand {
    program: Program,
    /// The program and its arguments, with sshd's tokens.
    words: Vec<Vec<u8>>,
    /// The user who logs in.
    login: Account,
    /// The key that the run is for, if any is pushed.
    key: Option<ValidKey>,
}

impl ConfiguredCommand {
    /// The program and its arguments for the key, and the chained command.
    fn expanded(&self, key: Option<&ValidKey>) -> (Vec<OsString>, Vec<OsString>) {
        let offered = key.map_or(Offered::NONE, ValidKey::offered);
        let mut words: Vec<_> =
            self.words.iter().map(|word| expand_command(word, &self.login, offered)).collect();
        let mut chained = Vec::new();
        if let Some(end) = words.iter().position(|word| word == "--") {
            chained = words.split_off(end).split_off(1);
        }
        if words.len() == 1 {
            // sshd adds the user's name if there are no arguments.
            words.push(self.login.name.clone().into());
        }
        (words, chained)
    }
}

/// How to run a program as sshd runs it: in its mount namespace, with its resource limits and environment, as the user.
struct SshdContext {
    serving: ServingContext,
    user: Credentials,
    environment: TrustedCommand,
    /// Whether a program does not find the system log.
    is_unlogged: bool,
}

/// A script that runs a program, in a mount namespace of its own, without the system log.
const WITHOUT_LOG: &str = "{ [ ! -e /dev/log ] || mount --bind /dev/null /dev/log; } && exec \"$0\" \"$@\"";

impl SshdContext {
    /// Without the log, if that is possible.
    fn new(user: &Account, root: &Path) -> Self {
        let (name, home) = (&user.name, user.home.display());
        let environment = TrustedCommand::new("env")
            .with(["-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"])
            .with([format!("USER={name}"), format!("LOGNAME={name}"), format!("HOME={home}")]);
        let serving = ServingContext::find(&ConfigTree::new(root));
        // Mounting can be forbidden, in a container for example.
        let probe = serving.command(&without_log(&TrustedCommand::new("true")));
        let is_unlogged = probe.run(limits::CHECK_TOOL).is_ok_and(|ran| ran.status.success());
        Self { serving, user: user.credentials(), environment, is_unlogged }
    }

    fn run(&self, command: &TrustedCommand) -> io::Result<Output> {
        let command = self.environment.clone().running(command).as_user(&self.user);
        let command = if self.is_unlogged { without_log(&command) } else { command };
        self.serving.command(&command).run(limits::LOGIN_COMMAND_TIME)
    }
}

/// The command that runs another one without the system log.
fn without_log(command: &TrustedCommand) -> TrustedCommand {
    TrustedCommand::new("unshare").with(["--mount", "/bin/sh", "-c", WITHOUT_LOG]).running(command)
}

fn run_configured(
    configured: &ConfiguredCommand,
    user: &Account,
    root: &Path,
    settings: &Settings,
) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can run it as another user");
    }
    let show = |words: &[OsString]| {
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    };
    let context = SshdContext::new(user, root);
    let key = configured.key.as_ref().filter(|_| context.is_unlogged);
    let program = configured.program.clone();
    let path = program.path().to_owned();
    let (words, chained) = configured.expanded(key);
    let (shown, next) = (show(&words), show(&chained));
    let is_wrapped = !is_eic_keys(program.path());
    if !is_wrapped {
        if let Some(answer) = other_program(&program, &context) {
            return answer;
        }
    }
    let command = TrustedCommand::new(program).with(words.into_iter().skip(1));
    // A run starts only a command that only root can change, as sshd does. sshd.command reports another one.
    let chained = chained.split_first().and_then(|(program, arguments)| {
        let program = safe_path::program(root, Path::new(program)).ok()?;
        Some(TrustedCommand::new(program).with(arguments))
    });
    let start = Instant::now();
    let (ran, behind) = thread::scope(|scope| {
        let behind = chained.as_ref().map(|chained| scope.spawn(|| context.run(chained)));
        (context.run(&command), behind.and_then(|behind| behind.join().ok()))
    });
    let late = too_late(settings, start.elapsed(), &shown, &next);
    let run = ConfiguredRun { user, program: &path, root, shown: &shown, is_wrapped, key };
    let answer = match ran {
        Err(error) => late.unwrap_or_else(|| run.could_not_run(&error)),
        Ok(ran) => run
            .failure(&ran)
            .or(late)
            .or_else(|| chained_answer(&user.name, &next, behind))
            .unwrap_or_else(|| run.success()),
    };
    answer.detail(context.serving.lacking)
}

/// The answer if the run, with the chained command, took longer than a login may.
fn too_late(settings: &Settings, took: Duration, shown: &str, chained: &str) -> Option<Answer<()>> {
    let grace = settings.one("logingracetime").parse().map(Duration::from_secs).ok()?;
    // A client first asks whether sshd accepts the key, as a rule: sshd runs the command twice.
    if grace.is_zero() || took.saturating_mul(2) < grace {
        return None;
    }
    let also =
        if chained.is_empty() { String::new() } else { format!(", with the chained command {chained}") };
    let often = if took < grace { " at each of two runs" } else { "" };
    let note = format!(
        "{shown}{also} takes {} s{often}: sshd closes the connection after LoginGraceTime {} s",
        Seconds(took),
        grace.as_secs()
    );
    let change = "find out why it takes so long, or set LoginGraceTime 120";
    Some(if took < grace {
        Answer::warn(note, settings.fix("logingracetime", change), ())
    } else {
        settings.refuses("logingracetime", &note, change)
    })
}

/// What the status of a script says.
pub(super) const OF_SCRIPT: &str = "that is of the script, or of a program that it runs";

/// A run of the AuthorizedKeysCommand.
struct ConfiguredRun<'a> {
    /// The user it runs as.
    user: &'a Account,
    program: &'a Path,
    root: &'a Path,
    shown: &'a str,
    /// Whether the program is another one than eic-keys.
    is_wrapped: bool,
    /// The key that it must print.
    key: Option<&'a ValidKey>,
}

impl ConfiguredRun<'_> {
    fn could_not_run(&self, error: &io::Error) -> Answer<()> {
        let (name, shown) = (&self.user.name, self.shown);
        if error.kind() == ErrorKind::TimedOut {
            let limit = Seconds(limits::LOGIN_COMMAND_TIME);
            let fix = Fix::advice("find out why it takes so long; sshd waits for it at each login");
            return Answer::warn(format!("as {name}, {shown} does not end within {limit} s"), fix, ());
        }
        let fix = Fix::advice(format!("find out why {name} cannot run it"));
        Answer::fail(format!("as {name}, {shown} cannot be run: {error}"), fix)
    }

    fn success(&self) -> Answer<()> {
        let does = match self.key {
            Some(_) => "prints the pushed key",
            None if self.is_wrapped => {
                let note = format!(
                    "as {}, {} succeeds, but for a pushed key {NOT_KNOWN}",
                    self.user.name, self.shown
                );
                return Answer::warn(
                    note,
                    Fix::advice(format!("push a key, and check again while it is valid; or {USE_CHAIN}")),
                    (),
                );
            }
            None => "succeeds",
        };
        Answer::ok(format!("as {}, {} {does}", self.user.name, self.shown), ())
    }

    /// What is wrong with a run that ended, if anything.
    fn failure(&self, ran: &Output) -> Option<Answer<()>> {
        // The tool that runs it here, which sshd does not need.
        if ran.error_text().starts_with("env: 'env': ") {
            return Some(Answer::skip(format!("not tried: {} cannot run env", self.user.name)));
        }
        // That runs nothing where sshd runs eic-keys.
        if ran.error_text().starts_with("nsenter: failed to execute ") {
            let note =
                format!("as {}, {} cannot be run in sshd's mount namespace", self.user.name, self.shown);
            let fix = Fix::advice(format!(
                "see {}: a setting of sshd's unit keeps its processes from executing programs",
                CheckId::ConfinementUnit
            ));
            return Some(Answer::fail(note, fix));
        }
        let (how, fix) = match (ran.status.code().map(u8::try_from), ran.status.signal()) {
            (Some(Ok(0)), _) if self.key.is_some_and(|key| !prints(ran, key)) => (
                "does not print the key that is pushed: sshd does not get it".to_owned(),
                "run it by hand as this user, on a terminal: eic-keys explains each step; if it prints the key there, sshd's unit hides a file from it: \
                 systemctl cat ssh sshd",
            ),
            (Some(Ok(0)), _) => return None,
            (Some(Ok(126 | 127)), _) => {
                // env(1) says that the script does not exist.
                let reason = shell::cannot_run(self.user, self.program, self.root, Caller::Sshd);
                let of_script = |reason: &CannotRun| {
                    matches!(reason, CannotRun::NotAProgram | CannotRun::NoInterpreter { .. })
                };
                if let Some(reason) = reason.filter(of_script) {
                    let fix = shell::repair(self.program, &reason).unwrap_or_else(|| {
                        Fix::advice("correct the first line of that script: #!/bin/sh, for example")
                    });
                    let note = format!("as {}, {} cannot be run: {reason}", self.user.name, self.shown);
                    return Some(Answer::fail(note, fix));
                }
                (
                    "cannot be run".to_owned(),
                    "let this user run the program: check every directory above it, and the \
                     settings of sshd's unit (systemctl cat)",
                )
            }
            (Some(Ok(status)), _) => {
                let own = || ExitStatus::of(status).map_or("not a status of eic-keys", ExitStatus::meaning);
                let (meaning, fix) = if self.is_wrapped {
                    (OF_SCRIPT, "run that script by hand as this user, and see which of its commands fails")
                } else {
                    (own(), "run it by hand as this user, on a terminal: it explains each step")
                };
                (format!("ends with status {status}: {meaning}"), fix)
            }
            (_, Some(signal)) => (
                format!("is killed by signal {signal}"),
                "find out what kills it: a system call filter of sshd's unit, a limit, the audit log",
            ),
            _ => ("ended without a status".to_owned(), "run it by hand as this user"),
        };
        let note = format!("as {}, {} {how}{}", self.user.name, self.shown, said(ran));
        Some(if self.is_wrapped && self.key.is_none() {
            // It may do so because no key has that fingerprint.
            let fix = "run that script by hand as this user, for a key that is pushed: sshd ignores the keys of a command that fails";
            Answer::warn(note, Fix::advice(fix), ())
        } else {
            Answer::fail(note, Fix::advice(fix))
        })
    }
}

/// Whether a key is among the printed ones.
fn prints(ran: &Output, key: &ValidKey) -> bool {
    let text = String::from_utf8_lossy(&ran.stdout);
    text.lines().any(|line| line.split_whitespace().any(|word| word == key.base64))
}

impl ValidKey {
    fn offered(&self) -> Offered<'_> {
        Offered { fingerprint: &self.fingerprint, key_type: &self.key_type, base64: &self.base64 }
    }
}

/// The result if the program is not eic-keys. Another file than this program can be anything, and an empty one even
/// succeeds where a shell runs it.
fn other_program(program: &Program, context: &SshdContext) -> Option<Answer<()>> {
    if leads_here(program.path()) {
        return None;
    }
    let ran = context.run(&TrustedCommand::new(program.clone()).with(["--version"])).ok()?;
    (ran.status.success() && !ran.stdout.starts_with(b"eic-keys ")).then(|| {
        Answer::fail(
            format!("{} is not eic-keys: --version does not print its name", program.path().display()),
            Fix::advice("install eic-keys again: install.package has the command if it is of a package"),
        )
    })
}

/// What to say of the chained command, if it did not succeed.
fn chained_answer(name: &str, shown: &str, ran: Option<io::Result<Output>>) -> Option<Answer<()>> {
    match ran? {
        Err(error) if error.kind() == ErrorKind::TimedOut => Some(Answer::warn(
            format!(
                "as {name}, the chained command does not end within {} s: {shown}; sshd waits for it at each login, and closes the connection after LoginGraceTime",
                Seconds(limits::LOGIN_COMMAND_TIME)
            ),
            Fix::advice("see why it takes so long: for example a directory server that does not answer"),
            (),
        )),
        Ok(ran) if matches!(ran.status.code(), None | Some(126 | 127)) => Some(Answer::warn(
            format!("as {name}, the chained command cannot run: {shown}: {}{}", ran.status, said(&ran)),
            Fix::advice(format!(
                "let {name} run that command; if it is no longer needed, remove the lines that set it, and run eic-keys --enable"
            )),
            (),
        )),
        Ok(ran) if !ran.status.success() && is_denied(&ran) => Some(Answer::warn(
            format!(
                "as {name}, the chained command is refused access, and provides no keys: {shown}: {}{}",
                ran.status,
                said(&ran)
            ),
            Fix::advice(format!(
                "let {name} read what that command reads, or set AuthorizedKeysCommandUser to the user that can; if it is no longer needed, \
                 remove the lines that set it, and run eic-keys --enable"
            )),
            (),
        )),
        // Such a command can fail for a user or a key that it does not know.
        Ok(ran) if !ran.status.success() => Some(Answer::ok(
            format!(
                "as {name}, the chained command ends with {}, so that it provides no keys: {shown}{}",
                ran.status,
                said(&ran)
            ),
            (),
        )),
        _ => None,
    }
}

/// Whether a program says that it lacks a right, as one that has to run as root.
fn is_denied(ran: &Output) -> bool {
    let text = String::from_utf8_lossy(&ran.stderr);
    ["ermission denied", "not permitted", "must be root"].iter().any(|words| text.contains(words))
}

/// What a program wrote to stderr, for the end of a sentence.
fn said(ran: &Output) -> String {
    if ran.stderr.is_empty() { String::new() } else { format!(": {}", ran.error_text()) }
}
