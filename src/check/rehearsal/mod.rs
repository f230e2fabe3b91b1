//! `--rehearse`: a login as USER with a key of its own, to try what the other checks cannot tell: PAM, limits, the
//! shell, forced commands, start files.
//!
//! Everything is real except the push: the running daemon's program, options and configuration, the system's ssh, and
//! a session of USER. The key exists for seconds, in a directory of root's. The sshd serves the one connection that
//! it is given, and listens on no port (see `connection`).
//!
//! - `directory`: its files. `server`: its sshd. `login`: one login. `terminal`: what is typed in it. `processes`: finds what it started.
//! - `pam_log`: what PAM's modules logged. `messages`: why a login failed.

mod connection;
mod directory;
mod login;
mod messages;
mod pam_log;
mod processes;
mod server;
mod terminal;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::check_id::CheckId;
use super::fault::Fault;
use super::fix::{CommandWord, Fix};
use super::loginuid::{READ_ONLY_PROC, has_read_only_proc};
use super::pam_stack::SshdStacks;
use super::report::Mark;
use super::request::{CheckRequest, CheckTarget};
use super::runner::{Answer, Finding, Runner};
use super::running_sshd::{create_directory_fix, serving};
use super::settings::Settings;
use super::sshd_program::SshdProgram;
use crate::account::Account;
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;
use crate::files;
use crate::limits;
use crate::log_lines;
use crate::path_walk::UnsafePath;
use crate::process::TrustedCommand;
use crate::safe_path::{self, Program};
use crate::sshd::unit::property;
use crate::sshd::version::OpensshVersion;
use crate::syslog::{Severity, Syslog};
use crate::system_log::accepted::ACCEPTED_KEY;
use crate::tool::stdout_of;
use directory::Directory;
use login::{LoginEnd, LoginKind, LoginOutcome, Programs};
use messages::LoginMessages;
use pam_log::PamMessages;
use server::RehearsalSshd;

/// What a rehearsal needs to know.
#[derive(Clone, Debug)]
struct RehearsalPlan {
    account: Account,
    tree: ConfigTree,
    version: OpensshVersion,
    /// The options of ssh-keygen for a type of key that sshd accepts.
    key: Vec<String>,
    /// `ForceCommand`, if set.
    forced: Option<String>,
    /// `ChrootDirectory`, if set.
    chroot: Option<String>,
    permit_tty: bool,
    /// The check that says that some clients are refused.
    refuses_some: Option<CheckId>,
    /// sshd.session, if it says that sessions of some clients are refused.
    refuses_sessions_of_some: Option<CheckId>,
    /// Whether sshd has a host key.
    has_host_keys: bool,
    /// Whether `AuthenticationMethods` needs more than a key.
    needs_more: bool,
    differences: Vec<String>,
    today: u64,
    deadline: Instant,
}

impl RehearsalPlan {
    fn new(
        target: &CheckTarget<'_>,
        version: &OpensshVersion,
        settings: &Settings,
        account: &Account,
        deadline: Instant,
    ) -> Self {
        let set = |keyword: &str| Some(settings.one(keyword).to_owned()).filter(|value| !value.is_empty());
        let accepted = settings.accepted_algorithms();
        let ed25519 = accepted.is_empty() || accepted.contains(&"ssh-ed25519");
        let methods = settings.items("authenticationmethods", ' ');
        let mut differences = Vec::new();
        let needs_more = !methods.iter().all(|method| ["any", "publickey"].contains(method));
        if needs_more {
            differences.push(format!("AuthenticationMethods {}", methods.join(" ")));
        }
        Self {
            account: account.clone(),
            tree: ConfigTree::new(target.root),
            version: version.clone(),
            key: if ed25519 {
                ["-t", "ed25519"].map(str::to_owned).to_vec()
            } else {
                // A larger key takes a small instance many seconds.
                let bits = settings
                    .one("requiredrsasize")
                    .parse::<u32>()
                    .unwrap_or_default()
                    .max(*limits::RSA_BITS.start());
                ["-t", "rsa", "-b", &bits.to_string()].map(str::to_owned).to_vec()
            },
            forced: set("forcecommand").filter(|command| command != "none"),
            chroot: set("chrootdirectory").filter(|directory| !["none", "/"].contains(&directory.as_str())),
            permit_tty: !settings.is("permittty", "no"),
            refuses_some: None,
            refuses_sessions_of_some: None,
            has_host_keys: settings.source.has_host_keys,
            needs_more,
            differences,
            today: target.today(),
            deadline,
        }
    }

    /// Whether `ForceCommand` is sshd's own sftp server.
    fn sftp_only(&self) -> bool {
        self.forced.as_deref().and_then(|command| command.split_whitespace().next()) == Some("internal-sftp")
    }
}

/// What internal-sftp says to a client that asks for something else.
const SFTP_ONLY: &str = "This service allows sftp connections only";

/// A rehearsal that was begun. Its directory is removed when it is dropped.
#[derive(Debug)]
struct Rehearsal {
    plan: RehearsalPlan,
    directory: Directory,
    programs: Programs,
    /// What the command prints, and no start file does.
    word: String,
    /// The command of sshd for one connection.
    command: TrustedCommand,
}

/// The answer for a login. Its value is a rehearsal with which another login can be tried: one type for all, so that their code exists
/// once.
type LoginAnswer = Answer<Option<Arc<Rehearsal>>>;

/// Runs no rehearsal.
pub(crate) async fn skip(runner: &Runner, request: &CheckRequest) {
    let answer = || {
        if request.rehearse {
            Answer::skip("the other checks took too long")
        } else {
            Answer::skip("--rehearse was not given").marked(Mark::NotRequested)
        }
    };
    let rehearsal: Finding<()> = runner.check(CheckId::LoginRehearsal, (), async |()| answer()).await;
    runner.check(CheckId::LoginTerminal, &rehearsal, async |()| Answer::ok("", ())).await;
}

/// Runs the rehearsal, if it was requested.
pub(crate) async fn rehearse(
    runner: &Runner,
    request: &CheckRequest,
    target: &CheckTarget<'_>,
    program: &Finding<SshdProgram>,
    settings: &Finding<Settings>,
    account: &Finding<Account>,
) {
    if !request.rehearse {
        return skip(runner, request).await;
    }
    let deadline = Instant::now().checked_add(limits::REHEARSAL_LOGINS).unwrap_or_else(Instant::now);
    // Its sshd has the configuration on disk, and is given its connection and the options of the running sshd.
    let later = runner.breaks_later(|id| id.group() == "sshd" && id != CheckId::SshdPort);
    let (is_older, refuses_some) = (runner.runs_older_configuration(), runner.refuses_some_clients());
    let rehearsal = runner
        .check_in_thread(
            CheckId::LoginRehearsal,
            (program, settings, account),
            |(program, settings, account)| {
                let (has_directory, rejected) = (settings.source.has_directory, settings.source.rejected);
                let mut plan = RehearsalPlan::new(target, &program.version, settings, account, deadline);
                plan.refuses_some = refuses_some;
                plan.refuses_sessions_of_some =
                    Some(CheckId::SshdSession).filter(|id| runner.refuses_some_clients_by(*id));
                if is_older {
                    plan.differences.push(
                        "the configuration with which sshd runs, which is older than that on disk".to_owned(),
                    );
                }
                let root = target.root.to_owned();
                // These decide the session, and no other check says that sshd runs with older values of them.
                let changed = ["forcecommand", "chrootdirectory"]
                    .iter()
                    .find_map(|keyword| settings.changed_file(keyword));
                let changed = changed.map(Path::to_owned);
                move || match rejected {
                    _ if !has_directory => Answer::skip_with_fix(
                        "sshd has not been started yet, and has no directory /run/sshd",
                        create_directory_fix(),
                    ),
                    Some(reason) => Answer::skip(reason),
                    None => command(plan, &root)
                        .warn_until_restart(later, None)
                        .warn_if_changed(changed.as_deref(), None),
                }
            },
        )
        .await;
    runner
        .check_in_thread(CheckId::LoginTerminal, &rehearsal, |rehearsal| {
            let rehearsal = rehearsal.clone();
            move || match rehearsal {
                Some(rehearsal) => terminal(&rehearsal),
                None => Answer::skip("the rehearsal could not be run"),
            }
        })
        .await;
}

/// The result if a login could not be tried, for this reason.
fn not_tried(reason: &str, fix: Fix) -> LoginAnswer {
    let note = format!("the login was not tried: {reason}");
    Answer::warn(note, fix, None).marked(Mark::NotTried(reason.to_owned()))
}

/// Logs in and runs a command. The value is `None` if the login could not be tried.
fn command(plan: RehearsalPlan, root: &Path) -> LoginAnswer {
    let rehearsal = match begin(plan) {
        Ok(rehearsal) => rehearsal,
        Err(fault) => return not_tried(&fault.note, fault.fix),
    };
    let user = &rehearsal.plan.account.name;
    let syslog = Syslog::open(root);
    syslog.send(Severity::Notice, &log_lines::rehearsal(user));
    let (outcome, pam) = match rehearsal.log_in(LoginKind::Command(&rehearsal.word)) {
        Ok(results) => results,
        Err(error) => {
            let fix = Fix::advice(not_connected(&error));
            return not_tried(&error.to_string(), fix);
        }
    };
    match outcome.ending {
        LoginEnd::Status(0) if !printed_or_truncated(&outcome, &rehearsal.word) => {
            command_not_run(rehearsal, &outcome)
        }
        LoginEnd::Status(0) | LoginEnd::Answers | LoginEnd::Silent => {
            let differences = &rehearsal.plan.differences;
            let differences = if differences.is_empty() {
                String::new()
            } else {
                format!("; unlike a real login: {}", differences.join("; "))
            };
            let note = format!("a login as {user} from 127.0.0.1 succeeds{differences}");
            Answer::ok(note, Some(Arc::new(rehearsal)))
        }
        // sftp works, as the setting says.
        LoginEnd::Status(_) if rehearsal.plan.sftp_only() && outcome.output.contains(SFTP_ONLY) => {
            let fix = Fix::advice(
                "see sshd.session: ForceCommand is internal-sftp, which runs no shell and no command",
            );
            let note = format!("a login as {user} from 127.0.0.1 succeeds, for sftp only");
            Answer::warn(note, fix, Some(Arc::new(rehearsal)))
        }
        LoginEnd::Status(status) => failed(&rehearsal, &outcome, &pam, &format!("ends with status {status}")),
        LoginEnd::TimedOut if printed(&outcome, &rehearsal.word) => {
            let running = match outcome.running.as_slice() {
                [] => String::new(),
                names => format!("; running: {}", names.join(", ")),
            };
            let note = format!(
                "a login as {user} from 127.0.0.1 runs a command, but its session does not end within {} s: a program keeps \
                 its output open{running}",
                limits::REHEARSAL_LOGINS.as_secs()
            );
            let fix = format!(
                "find the line that leaves a program in the background, and redirect its output: >/dev/null 2>&1 &; start files: {}",
                start_files(user)
            );
            Answer::warn(note, Fix::advice(fix), None)
        }
        LoginEnd::TimedOut => failed(&rehearsal, &outcome, &pam, "does not end"),
    }
}

/// Whether the session ran `echo WORD`: not if it only says which command the client asked for.
fn printed_or_truncated(outcome: &LoginOutcome, word: &str) -> bool {
    let is_truncated = outcome.output.len() >= limits::REHEARSAL_OUTPUT;
    is_truncated || printed(outcome, word)
}

fn printed(outcome: &LoginOutcome, word: &str) -> bool {
    outcome.output.replace(&format!("echo {word}"), "").contains(word)
}

/// The answer for a session that ends well, but does not run the command.
fn command_not_run(rehearsal: Rehearsal, outcome: &LoginOutcome) -> LoginAnswer {
    let RehearsalPlan { account, forced, tree, .. } = &rehearsal.plan;
    let user = &account.name;
    let instead = match forced {
        Some(forced) => {
            format!("no command that a client asks for is run: ForceCommand {forced} is run instead")
        }
        None => "the output of a command does not come back: the session ends with status 0".to_owned(),
    };
    let words = messages::last_words(&outcome.output, &tree.locate(Path::new("/")));
    let words = words.map_or_else(|| "; it prints nothing".to_owned(), |line| format!("; it prints: {line}"));
    let note = format!("a login as {user} from 127.0.0.1 succeeds, but {instead}{words}");
    let fix = match forced {
        Some(_) => FORCED.to_owned(),
        None if is_script(&rehearsal.plan) => {
            format!(
                "the login shell {} is a script that does not run what follows -c: set another one: usermod --shell",
                account.shell.display()
            )
        }
        None => format!(
            "find the start file that ends each command (a line such as: [ -z \"$PS1\" ] && exit; in .bashrc it has to return) or redirects its output (exec >FILE): {}",
            start_files(user)
        ),
    };
    Answer::warn(note, Fix::advice(fix), Some(Arc::new(rehearsal)))
}

/// What to do if `ForceCommand` does not run what a client asks for.
const FORCED: &str = "if clients are to get a shell or run commands, remove ForceCommand, or let its program run $SSH_ORIGINAL_COMMAND";

/// Whether the login shell is a script.
fn is_script(plan: &RehearsalPlan) -> bool {
    files::read_beginning(&plan.tree.locate(&plan.account.shell), 2).is_ok_and(|start| start == b"#!")
}

fn start_files(user: &str) -> String {
    format!(
        "those of {user} (.profile, .bash_profile, .bashrc, .ssh/rc and the like), /etc/profile, /etc/profile.d, /etc/bash.bashrc, \
         /etc/ssh/sshrc"
    )
}

/// Logs in on a terminal.
fn terminal(rehearsal: &Rehearsal) -> LoginAnswer {
    let user = &rehearsal.plan.account.name;
    if let Some(forced) = &rehearsal.plan.forced {
        return Answer::ok(format!("ForceCommand runs {forced} instead of the shell of {user}"), None);
    }
    if !rehearsal.plan.permit_tty {
        let fix = Fix::advice("set PermitTTY yes if the user needs a shell on a terminal");
        return Answer::warn(format!("PermitTTY is no: {user} gets no terminal"), fix, None);
    }
    let (outcome, pam) = match rehearsal.log_in(LoginKind::Terminal) {
        Ok(results) => results,
        Err(error) => {
            let fix = Fix::advice(not_connected(&error));
            return not_tried(&error.to_string(), fix);
        }
    };
    match outcome.ending {
        LoginEnd::Answers => Answer::ok(format!("the shell of {user} answers on a terminal"), None),
        LoginEnd::Status(_) if terminal_refusal(&outcome.output).is_some() => {
            let line = terminal_refusal(&outcome.output).unwrap_or_default();
            let note = format!(
                "the session of {user} starts a program for which the terminal of the rehearsal is too plain (TERM=dumb): {line}"
            );
            let fix =
                "log in on a terminal to test it: a rehearsal does not attach to a session of tmux or screen";
            Answer::warn(note, Fix::advice(fix), None)
        }
        LoginEnd::Silent => {
            let note = format!(
                "the shell of {user} prints nothing on a terminal: it answers neither empty lines nor the end of its input"
            );
            let fix = format!(
                "log in on a terminal: if nothing appears, find the start file that redirects all output (a line such as: exec >FILE): {}",
                start_files(user)
            );
            Answer::warn(note, Fix::advice(fix), None)
        }
        LoginEnd::Status(status) if question(&outcome.output, status).is_some() => {
            let line = question(&outcome.output, status).unwrap_or_default();
            let note = format!(
                "the session of {user} ends because the rehearsal answers a question with an empty line: {line}"
            );
            Answer::warn(note, Fix::advice("log in on a terminal, and answer it"), None)
        }
        LoginEnd::Status(status) => {
            failed(rehearsal, &outcome, &pam, &format!("ends by itself on a terminal, with status {status}"))
        }
        LoginEnd::TimedOut => failed(rehearsal, &outcome, &pam, "does not answer on a terminal"),
    }
}

/// What the session asks at its end, or before it says why it ends: the answer is empty.
fn question(output: &str, status: i32) -> Option<&str> {
    let last = output.trim_end_matches(['\r', '\n']).lines().last()?;
    if last.ends_with([' ', ':', '?']) {
        return Some(last.trim());
    }
    // A shell prints its prompt again.
    let asks =
        |line: &&str| (line.ends_with(": ") || line.ends_with("? ")) && output.matches(line).count() == 1;
    output.lines().rfind(asks).filter(|_| !was_broken(status)).map(str::trim)
}

/// The line by which a program, such as tmux or screen, refuses a terminal without a cursor. With a better terminal, the
/// rehearsal could type into a session that the user left there.
fn terminal_refusal(output: &str) -> Option<&str> {
    const REFUSALS: [&str; 6] = [
        "open terminal failed: ",
        "terminal does not support ",
        "Clear screen capability required",
        "missing or unsuitable terminal",
        "Error opening terminal: dumb",
        "Terminal type 'dumb'",
    ];
    let mut lines = output.lines().map(str::trim);
    lines.find(|line| REFUSALS.iter().any(|refusal| line.contains(refusal)))
}

/// The answer for a login that failed. `how` is how its session ended.
fn failed(rehearsal: &Rehearsal, outcome: &LoginOutcome, pam: &PamMessages, how: &str) -> LoginAnswer {
    // Few settings of a session depend on the client.
    let refuses_some = if accepted(&outcome.log) {
        rehearsal.plan.refuses_sessions_of_some
    } else {
        rehearsal.plan.refuses_some
    };
    why_failed(rehearsal, outcome, pam, how).warn_if_some_are_refused(refuses_some)
}

fn why_failed(rehearsal: &Rehearsal, outcome: &LoginOutcome, pam: &PamMessages, how: &str) -> LoginAnswer {
    let user = &rehearsal.plan.account.name;
    let root = rehearsal.plan.tree.locate(Path::new("/"));
    let (sshd, output, today) = (outcome.log.as_slice(), outcome.output.as_str(), rehearsal.plan.today);
    let forced = rehearsal.plan.forced.as_deref();
    let messages = LoginMessages { user, sshd, pam, output, forced, today, root: &root };
    let last = messages.last();
    if let Some(fault) = sshd.iter().find_map(|line| not_started(line)) {
        return not_tried(&fault.note, fault.fix).detail(last);
    }
    if let Some(answer) = refused_by_loginuid(rehearsal, pam) {
        return answer.detail(last);
    }
    let starts = || outcome.log.iter().any(|line| line.contains("Starting session: "));
    // Its last words are those of its end, which the rehearsal caused.
    if matches!(outcome.ending, LoginEnd::TimedOut)
        && messages.key_accepted()
        && !starts()
        && !outcome.commands.is_empty()
    {
        let note = format!(
            "sshd accepts the key of a login as {user}, but no session starts within {} s; running: {}",
            limits::REHEARSAL_LOGINS.as_secs(),
            outcome.commands.join(", ")
        );
        return Answer::fail(note, Fix::advice(HANGS)).detail(last);
    }
    if let Some(fault) = messages.explain() {
        return fault.after(&format!("a login as {user} fails")).fail().detail(last);
    }
    // sshd itself waits: a module asks a service.
    if matches!(outcome.ending, LoginEnd::TimedOut) && accepted(&outcome.log) && !starts() {
        let note = format!(
            "sshd and PAM accept the key of a login as {user}, but no session starts within {} s",
            limits::REHEARSAL_LOGINS.as_secs()
        );
        let manager = format!("user@{}.service", rehearsal.plan.account.uid);
        let shown = stdout_of("systemctl", &["show", "--property=ActiveState", &manager]).unwrap_or_default();
        if property(&shown, "ActiveState") == Some("activating") {
            let fix = format!("find out why it does not start: systemctl status {manager}");
            let note = format!("{note}: pam_systemd waits for {manager}, which is starting");
            return Answer::fail(note, Fix::advice(fix)).detail(last);
        }
        return Answer::fail(note, Fix::advice(WAITS)).detail(last);
    }
    if !accepted(&outcome.log) {
        let said = messages.last_of_ssh().map(|line| format!("; ssh says: {line}")).unwrap_or_default();
        let note = match outcome.ending {
            LoginEnd::TimedOut => {
                format!("sshd and PAM did not accept or refuse a login as {user} in time{said}")
            }
            _ => format!("sshd refuses a login as {user}{said}"),
        };
        let fix = Fix::advice(if messages.key_accepted() {
            "see the listed messages of sshd and PAM, and check the PAM modules of /etc/pam.d/sshd"
        } else {
            "see the checks that fail or warn, and the listed messages of sshd: it did not accept the key, and PAM has no part in that"
        });
        return Answer::fail(note, fix).detail(last);
    }
    if !starts() {
        let note = format!("sshd and PAM accept the key of a login as {user}, but no session starts");
        let fix = "check the limits that pam_limits sets (/etc/security), the session lines of /etc/pam.d/sshd, and sshd's \
                   settings for sessions";
        return Answer::fail(note, Fix::advice(fix)).detail(last);
    }
    session_failed(rehearsal, outcome, &messages, how).detail(last)
}

/// Why the sshd of the rehearsal did not start, by a message. It says nothing about a login.
fn not_started(line: &str) -> Option<Fault> {
    // systemd removes the directory when sshd's unit ends, also if it starts it again and again.
    if line.contains("Missing privilege separation directory: /run/sshd") {
        let fix = format!("see {}", CheckId::RunningDaemon);
        return Some(Fault::with_advice("the directory /run/sshd was removed meanwhile", fix));
    }
    line.starts_with("nsenter: failed to execute ").then(|| {
        Fault::with_advice(
            "no program can be executed in sshd's mount namespace",
            format!("see {}", CheckId::ConfinementUnit),
        )
    })
}

/// The answer if a session was opened, and failed.
fn session_failed(
    rehearsal: &Rehearsal,
    outcome: &LoginOutcome,
    messages: &LoginMessages<'_>,
    how: &str,
) -> LoginAnswer {
    let user = &rehearsal.plan.account.name;
    let waits = match outcome.running.as_slice() {
        [] => String::new(),
        names => format!("; running: {}", names.join(", ")),
    };
    let note = format!("sshd and PAM accept a login as {user}, but its session {how}{waits}");
    let shell_fails = messages.shell_error();
    let words = messages::last_words(messages.output, messages.root);
    let note = match (shell_fails, words) {
        (Some(line), _) => format!("{note}: {line}"),
        (None, Some(line)) => format!("{note}; its last words: {line}"),
        (None, None) => note,
    };
    let fix = match &rehearsal.plan.forced {
        _ if shell_fails.is_some() && rehearsal.plan.chroot.is_some() => {
            let directory = rehearsal.plan.chroot.as_deref().unwrap_or_default();
            format!(
                "install that program and its libraries (ldd) in ChrootDirectory {directory}, or remove ChrootDirectory"
            )
        }
        None if shell_fails.is_some() => {
            "the login shell cannot be run: repair it, or set another one: usermod --shell".to_owned()
        }
        Some(forced) => format!("ForceCommand is {forced}: fix that program, or remove the line"),
        None if matches!(outcome.ending, LoginEnd::Status(status) if was_broken(status)) => BROKEN.to_owned(),
        None if is_script(&rehearsal.plan) => format!(
            "the login shell {} is a script, which causes it: repair it, or set another one: usermod --shell",
            rehearsal.plan.account.shell.display()
        ),
        None => format!("find the start file that causes it: {}", start_files(user)),
    };
    Answer::fail(note, Fix::advice(fix))
}

/// The answer if `pam_loginuid` refused the session.
fn refused_by_loginuid(rehearsal: &Rehearsal, pam: &PamMessages) -> Option<LoginAnswer> {
    let user = &rehearsal.plan.account.name;
    let root = rehearsal.plan.tree.locate(Path::new("/"));
    if !pam.lines.iter().any(|line| line.starts_with("pam_loginuid(")) {
        return None;
    }
    let process = serving(&rehearsal.plan.tree).map(|serving| serving.process);
    if process.is_some_and(|process| has_read_only_proc(&root, process)) {
        let note = format!(
            "PAM opens no session for {user}: /proc is read-only for sshd, and pam_loginuid writes to it"
        );
        return Some(Answer::fail(note, Fix::advice(READ_ONLY_PROC)));
    }
    // A kernel with `loginuid-immutable` (audit) lets only a process outside of any login set it, such as the daemon.
    let words = "systemd-run --quiet --wait --pipe /usr/bin/eic-keys --check";
    let fix = Fix::command(words, [CommandWord::Value(user), CommandWord::Literal("--rehearse")]);
    let reason = "pam_loginuid refuses a login that starts from root's session";
    Some(not_tried(reason, fix))
}

fn accepted(log: &[String]) -> bool {
    log.iter().any(|line| line.contains(ACCEPTED_KEY))
}

/// What to do if a module of PAM waits.
const WAITS: &str = "find out for what a session line of /etc/pam.d/sshd waits: pam_systemd waits 25 s for systemd-logind and dbus (systemctl \
                     status systemd-logind dbus), other modules for a server or a file system";

/// What to do if a program that PAM runs does not end.
const HANGS: &str = "find out why that program does not end: an account or session line of /etc/pam.d/sshd runs it, such as those of \
                     pam_exec, and of pam_motd, which runs /etc/update-motd.d";

/// What to do if ssh ends with 255: no status of a session, as a rule.
const BROKEN: &str = "check the limits that pam_limits sets (cpu, as, nproc and the like: /etc/security/limits.conf and limits.d), and \
                      what killed the process: journalctl -k; or find a start file that ends with status 255";

/// Whether the connection broke, or a signal killed the session: ssh then has a status of its own.
const fn was_broken(status: i32) -> bool {
    status == 255
}

/// What to do if the login could not be tried.
fn not_connected(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            "accept connections from 127.0.0.1 on the interface lo in the firewall: nft list ruleset, or iptables-save, shows \
             its rules"
        }
        io::ErrorKind::AddrNotAvailable => {
            "give the interface lo that address: ip link set lo up; ip address replace 127.0.0.1/8 dev lo"
        }
        _ => "check that root can run ssh and sshd",
    }
}

/// What to do if the file system of the rehearsal's directory is full.
const FULL: &str = "free space or inodes in /run: df /run and df -i /run show what is used";

/// An error of a file or a program that a rehearsal needs.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn not_prepared(error: io::Error) -> Fault {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    // The mode of / or /run.
    let open = matches!(cause, Some(UnsafePath::Writable(_)));
    let fix = if full {
        FULL
    } else if open {
        "let only root write to / and /run (mode 0755)"
    } else {
        "check that root can write to /run"
    };
    Fault::with_advice(WithCauses(&error).to_string(), fix)
}

/// Prepares the key and the sshd.
fn begin(mut plan: RehearsalPlan) -> Result<Rehearsal, Fault> {
    let client = "install OpenSSH's client: apt-get install openssh-client, or dnf install openssh-clients";
    let (ssh, keygen) = (installed("ssh", client)?, installed("ssh-keygen", client)?);
    let timeout = installed("timeout", "install coreutils")?;
    let setsid = installed("setsid", "install util-linux")?;
    let server = RehearsalSshd::find(&plan.tree, plan.version.clone()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::with_advice("there is no sshd", "install OpenSSH's server"),
        _ => Fault::with_advice(
            format!("root must not run the program of sshd: {error}"),
            "find out what started that sshd: sshd and the directories above it must be root's, and no other user may write to them",
        ),
    })?;
    plan.differences.extend(server.differences.iter().cloned());
    plan.differences.extend(server.blocks_by_address(&plan.tree));
    let directory = Directory::create().map_err(not_prepared)?.ok_or_else(|| {
        Fault::with_advice("another rehearsal is running", "wait for it to end, then check again")
    })?;
    let keygen = TrustedCommand::new(keygen)
        .with(["-q", "-N", "", "-C", "eic-keys --rehearse"])
        .with(&plan.key)
        .with(["-f".into(), directory.private_key().into_os_string()]);
    let made = keygen.run(limits::CHECK_TIME).map_err(not_prepared)?;
    if !made.status.success() {
        let said = made.error_text();
        let full = ["No space left", "quota exceeded"].iter().any(|words| said.contains(words));
        let fix = if full { FULL } else { "run ssh-keygen by hand: it cannot create a key" };
        return Err(Fault::with_advice(format!("ssh-keygen: {said}"), fix));
    }
    let public = fs::read(directory.path("key.pub")).map_err(not_prepared)?;
    // sshd reads it as USER.
    directory.write("authorized_keys", &public, 0o644).map_err(not_prepared)?;
    let programs = Programs { ssh, timeout, setsid };
    let command = server.prepare(&directory, plan.needs_more).map_err(not_prepared)?;
    // sshd needs a host key, and ssh does not check it.
    let command = if plan.has_host_keys {
        command
    } else {
        command.with(["-h".into(), directory.private_key().into_os_string()])
    };
    // Random, since the end of the key is. A comment follows it.
    let public = String::from_utf8_lossy(&public).into_owned();
    let key = public.split(' ').nth(1).unwrap_or_default();
    let end: String = key.chars().rev().filter(char::is_ascii_alphanumeric).take(16).collect();
    let word = format!("eic-keys-{end}");
    Ok(Rehearsal { plan, directory, programs, word, command })
}

/// A program of the system, or of a build from source.
fn installed(name: &str, fix: &str) -> Result<Program, Fault> {
    let paths = ["/usr/bin", "/bin", "/usr/local/bin"].map(|place| Path::new(place).join(name));
    let path = paths.iter().find(|path| path.is_file());
    let path = path.ok_or_else(|| Fault::with_advice(format!("there is no {name}"), fix))?;
    safe_path::program(Path::new("/"), path).map_err(|error| {
        let fix = format!(
            "have root own {} and the directories above it, and no other user write to them",
            path.display()
        );
        Fault::with_advice(format!("root must not run {}: {error}", path.display()), &fix)
    })
}

impl Rehearsal {
    /// Logs in. Also returns what PAM's modules logged, if the login failed.
    fn log_in(&self, login: LoginKind<'_>) -> io::Result<(LoginOutcome, PamMessages)> {
        let log = pam_log::PamLog::begin(self.plan.tree.locate(Path::new("/")).as_path());
        let user = &self.plan.account.name;
        let outcome =
            login::log_in(&self.programs, &self.directory, &self.command, user, login, self.plan.deadline)?;
        let well = matches!(outcome.ending, LoginEnd::Status(0) | LoginEnd::Answers);
        let mut words = if well { PamMessages::default() } else { log.of_process(outcome.sshd) };
        // With more methods than the key, a module for passwords can refuse.
        if !self.plan.needs_more {
            let stacks = SshdStacks::read(&self.plan.tree.locate(Path::new("/")));
            words.lines.retain(|line| stacks.can_refuse(line));
        }
        Ok((outcome, words))
    }
}
