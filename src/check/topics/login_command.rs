//! Runs the program of sshd's line as sshd runs it: its arguments, its user, sshd's environment, mount namespace and
//! resource limits.
//!
//! The fingerprint is that of no key. So the run requests the user's active keys as a login does, but provides none,
//! and logs no key as provided. What only a run with a pushed key needs is checked by `keys.signatures` and
//! `signer.command_user`. The chained command runs beside it, because sshd waits for its end; its output is not used.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;

use crate::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::rehearsal::server::enter;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::settings::main;
use crate::exit_status::ExitStatus;
use crate::limits;
use crate::process::{self, Output, run_as};
use crate::safe_path;
use crate::sshd::config_tree::ConfigTree;
use crate::sshd::daemon::Daemon;
use crate::sshd::managed_lines;
use crate::tool::is_root;

use super::sshd::{SshdFindings, is_eic_keys};
use crate::check::tokens::expand_command;

/// Runs the program, if sshd trusts its path, and `metadata.command_user` found that the user can run it and reach the
/// metadata service.
pub(crate) async fn run(
    runner: &Runner,
    target: &Target<'_>,
    sshd: &SshdFindings,
    account: &Finding<Account>,
    trusted: &Finding<()>,
    reachable: &Finding<()>,
) {
    let needs = (&sshd.command, &sshd.user, account, trusted, reachable);
    runner
        .check(CheckId::LoginCommand, needs, async |(_, user, account, (), ())| {
            let (Some((_, version)), Some(settings)) = (sshd.program.get(), sshd.settings.get()) else {
                return Answer::skip("sshd's settings are not known");
            };
            let line = settings.dump.command.as_deref().unwrap_or_default();
            let words =
                managed_lines::words(version, line).into_iter().map(|word| expand_command(&word, account));
            let mut words: Vec<_> = words.collect();
            let mut chained = Vec::new();
            if let Some(end) = words.iter().position(|word| word == "--") {
                chained = words.split_off(end).split_off(1);
            }
            if words.len() == 1 {
                // sshd adds the user's name if there are no arguments.
                words.push(account.name.clone().into());
            }
            let (user, root) = (user.clone(), target.root.to_owned());
            blocking(move || run_line(words, chained, &user, &root)).await
        })
        .await;
}

fn run_line(line: Vec<OsString>, chained: Vec<OsString>, user: &Account, root: &Path) -> Answer<()> {
    if !is_root() {
        return Answer::skip("only root can run it as another user");
    }
    let show = |line: &[OsString]| {
        line.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    };
    let (shown, next) = (show(&line), show(&chained));
    let tree = ConfigTree::new(root);
    let systemctl = ["systemctl".into()];
    let daemon = Daemon::new(&tree, &systemctl, limits::CHECK_TOOL).serving(&main(&tree));
    let mut remarks = Vec::new();
    let mut words = daemon.map(|(process, _)| enter(process, &mut remarks)).unwrap_or_default();
    let entered = !words.is_empty();
    if entered {
        words.extend(user.credentials().prefix());
    }
    words.extend(["env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"].map(OsString::from));
    let home = user.home.display();
    words.extend(
        [format!("USER={}", user.name), format!("LOGNAME={}", user.name), format!("HOME={home}")]
            .map(OsString::from),
    );
    let run = |line: Vec<OsString>| {
        let words = [words.clone(), line].concat();
        if entered {
            process::run(&words, &[], limits::LOGIN_COMMAND)
        } else {
            run_as(&user.credentials(), &words, limits::LOGIN_COMMAND)
        }
    };
    let wrapped = line.first().is_some_and(|program| !is_eic_keys(Path::new(program)));
    // A run starts only a command that only root can change, as sshd does. sshd.command reports another one.
    let chained = chained
        .first()
        .is_some_and(|program| safe_path::program(root, Path::new(program)).is_ok())
        .then_some(chained);
    let (ran, behind) = thread::scope(|scope| {
        let behind = chained.map(|chained| scope.spawn(|| run(chained)));
        (run(line), behind.and_then(|behind| behind.join().ok()))
    });
    let name = &user.name;
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let fix = Fix::advice("find out why it takes so long; sshd waits for it at each login");
            return Answer::warn(
                format!("as {name}, {shown} does not end within {} s", limits::LOGIN_COMMAND.as_secs_f64()),
                fix,
                (),
            );
        }
        Err(error) => {
            let fix = Fix::advice(format!("find out why {name} cannot run it"));
            return Answer::fail(format!("as {name}, {shown} cannot be run: {error}"), fix);
        }
    };
    let fail = |how: String, fix: &str| {
        let note = format!("as {name}, {shown} {how}{}", said(&ran));
        let answer = if wrapped {
            // It may do so because no key has that fingerprint.
            let fix = "run that script by hand as this user, for a key that is pushed: sshd ignores the keys of a command that fails";
            Answer::warn(note, Fix::advice(fix), ())
        } else {
            Answer::fail(note, Fix::advice(fix))
        };
        answer.detail(remarks.iter().cloned())
    };
    match (ran.status.code().map(u8::try_from), ran.status.signal()) {
        (Some(Ok(0)), _) => chained_answer(name, &next, behind)
            .unwrap_or_else(|| Answer::ok(format!("as {name}, {shown} succeeds"), ()))
            .detail(remarks),
        (Some(Ok(126 | 127)), _) => fail(
            "cannot be run".to_owned(),
            "let this user run the program: check every directory above it, and the \
                 settings of sshd's unit (systemctl cat)",
        ),
        (Some(Ok(status)), _) => {
            let known = ExitStatus::of(status).filter(|_| !wrapped);
            let meaning = known.map_or("not a status of eic-keys", ExitStatus::meaning);
            fail(
                format!("ends with status {status}: {meaning}"),
                "run it by hand as this user, on a terminal: it explains each step",
            )
        }
        (_, Some(signal)) => fail(
            format!("is killed by signal {signal}"),
            "find out what kills it: a system call filter of sshd's unit, a limit, the audit log",
        ),
        _ => fail("ended without a status".to_owned(), "run it by hand as this user"),
    }
}

/// What to say of the chained command, if it did not succeed.
fn chained_answer(name: &str, shown: &str, ran: Option<io::Result<Output>>) -> Option<Answer<()>> {
    match ran? {
        Err(error) if error.kind() == ErrorKind::TimedOut => Some(Answer::warn(
            format!(
                "as {name}, the chained command does not end within {} s: {shown}; sshd waits for it at each login, and closes the connection after LoginGraceTime",
                limits::LOGIN_COMMAND.as_secs_f64()
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

/// What a program wrote to stderr, for the end of a sentence.
fn said(ran: &Output) -> String {
    if ran.stderr.is_empty() { String::new() } else { format!(": {}", ran.error_text()) }
}
