//! Checks recent events in the log.

use std::path::Path;

use crate::account::{Account, is_root};
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::last_attempt::{LastAttempt, RefusedAttempts, last_attempt};
use crate::check::log_tail::{self, Log, LogLine, RECENT, ago};
use crate::check::pam_stack::SshdStacks;
use crate::check::request::CheckTarget;
use crate::check::runner::{Answer, Finding, Runner};
use crate::check::settings::Settings;
use crate::check::tokens::Offered;
use crate::check::topics::login_command::OF_SCRIPT;
use crate::check::topics::sshd::{SshdFindings, is_eic_keys};
use crate::check::topics::sshd_login::allows;
use crate::ec2::UserName;
use crate::exit_status::ExitStatus;
use crate::log_lines::OwnLine;
use crate::sshd::command_line::SshdOption;
use crate::sshd::config::PUBKEY_ACCEPTED_ALGORITHMS;
use crate::sshd::options::OWN_USER;
use crate::sshd::query::{DEFAULT_LOGIN_GRACE_TIME, level_without_logins};
use crate::system_log::accepted::accepted_key;
use crate::system_log::{NO_LOG, unescaped};

/// Number of log lines to show.
const SHOWN: usize = 5;

/// Runs the checks on the log.
pub(crate) async fn recent(
    runner: &Runner,
    target: &CheckTarget<'_>,
    name: &Finding<UserName>,
    sshd: &SshdFindings,
    account: &Finding<Account>,
) -> Finding<Log> {
    let (root, user) = (target.root.to_owned(), sshd.user.get().map(|account| account.uid));
    let now = (target.clock)().as_secs();
    let log = runner
        .check_in_thread(CheckId::RecentSshd, (), |()| {
            move || {
                if !is_root() {
                    return Answer::skip("only root can read the log");
                }
                // AuthorizedKeysCommandUser can have been changed since. No other program runs as our own user.
                let own = Account::find(OWN_USER).ok().flatten().map(|account| account.uid);
                let users: Vec<_> = user.into_iter().chain(own).collect();
                match log_tail::read(&root, &users, now) {
                    Some(mut log) => {
                        let stacks = SshdStacks::read(&root);
                        log.lines.retain(|line| !line.by_sshd() || stacks.can_refuse(&line.message));
                        command_errors(log, now, log_tail::of_any_user)
                    }
                    None => Answer::skip(NO_LOG),
                }
            }
        })
        .await;
    runner
        .check_in_thread(CheckId::RecentLogin, (&log, name), |(log, name)| {
            let (log, name, root) = (log.clone(), name.clone(), target.root.to_owned());
            let (settings, account) = (sshd.settings.get().cloned(), account.get().cloned());
            move || {
                let settings = settings.as_ref();
                let reload = |refused: &RefusedAttempts<'_>| {
                    let settings =
                        settings.filter(|settings| allows_now(settings, account.as_ref(), refused))?;
                    let reload = &settings.source.reload;
                    Some(format!("the files of sshd allow it now, so have sshd read them: {reload}"))
                };
                login(&log, &name, now, &root, reload).unwrap_or_else(|| without_lines(&log, &name, settings))
            }
        })
        .await;
    let is_valid = sshd.command.get().is_some();
    runner
        .check(CheckId::RecentSyslog, (&log, name), async |(log, name)| {
            last_own_message(log, name, is_valid, now)
        })
        .await;
    log
}

/// Whether sshd's files allow what it refused by a setting, by its log.
pub(super) fn allows_now(
    settings: &Settings,
    account: Option<&Account>,
    refused: &RefusedAttempts<'_>,
) -> bool {
    // Blocks can refuse some clients.
    let Some(setting) = refused.known.setting.filter(|_| settings.client_blocks().is_empty()) else {
        return false;
    };
    if setting == PUBKEY_ACCEPTED_ALGORITHMS {
        return refused.key_type().is_some_and(|name| settings.accepted_algorithms().contains(&name));
    }
    account.is_some_and(|account| allows(settings, account))
}

/// How sshd's messages about its AuthorizedKeysCommand begin. A user name from a login attempt can contain these
/// words, but does not begin a message.
const ERRORS: [&str; 5] = [
    "AuthorizedKeysCommand ",
    "error: AuthorizedKeysCommand",
    "error: Unsafe AuthorizedKeysCommand",
    "error: Could not stat AuthorizedKeysCommand",
    "error: exited_cleanly: AuthorizedKeysCommand",
];

/// What a line of eic-keys says.
fn own(line: &LogLine) -> Option<OwnLine<'_>> {
    if line.by_eic_keys() { OwnLine::read(&line.message) } else { None }
}

fn provides_key(line: &LogLine) -> bool {
    matches!(own(line), Some(OwnLine::Provided(_)))
}

fn error(line: &LogLine) -> bool {
    line.by_sshd() && ERRORS.iter().any(|words| line.message.starts_with(words))
}

/// The last of `lines` for a report, newest first.
fn shown(lines: &[&LogLine], now: u64) -> Vec<String> {
    lines.iter().take(SHOWN).map(|line| line.shown(now)).collect()
}

/// Whether root's sshd accepted the key that a line of eic-keys as any user names, in the process that it names.
fn accepted(line: &LogLine, of_any_user: &[LogLine]) -> bool {
    let Some((_, accepted)) = accepted_key(&line.message).filter(|_| line.by_sshd()) else { return false };
    of_any_user.iter().any(|ours| match own(ours) {
        Some(OwnLine::ProvidedFor { fingerprint, sshd, .. }) => {
            fingerprint == accepted && sshd.to_string() == line.pid
        }
        _ => false,
    })
}

/// sshd's errors about its command since the command last printed a key. `others` reads the lines of eic-keys as any
/// user: it may have run as another one.
fn command_errors(log: Log, now: u64, others: impl FnOnce() -> Vec<LogLine>) -> Answer<Log> {
    let mut errors = Vec::new();
    for line in &log.lines {
        if provides_key(line) {
            errors.clear();
        } else if error(line) {
            errors.push(line);
        }
    }
    if !errors.is_empty() && log.unverified_source.is_none() {
        let others = others();
        // By their order: the times are in seconds.
        let last = log.lines.iter().rposition(|line| accepted(line, &others));
        let after = last.and_then(|last| log.lines.get(last..)).unwrap_or(&log.lines);
        errors.retain(|error| after.iter().any(|line| std::ptr::eq(line, *error)));
    }
    let Some(last) = errors.last() else {
        let note = format!("sshd logged no error about its AuthorizedKeysCommand{}", log.caveat());
        return Answer::ok(note, log);
    };
    let (count, doubt) = (times(errors.len()), log.caveat());
    let note = if let Some(status) = status(&last.message) {
        let meaning = meaning(status, &last.message);
        format!("AuthorizedKeysCommand failed {count}, last with status {status}: {meaning}{doubt}")
    } else {
        format!("sshd logged an error {count}{doubt}, the last: {}", unescaped(&last.message))
    };
    errors.reverse();
    let detail = shown(&errors, now);
    Answer::warn(
        note,
        Fix::advice("see recent.syslog and the checks that fail; this warning ends with the next login that gets a key"),
        log,
    )
    .detail(detail)
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// N of "AuthorizedKeysCommand /usr/bin/eic-keys alice SHA256:... failed, status N".
fn status(line: &str) -> Option<u8> {
    let (_, status) = line.rsplit_once("failed, status ")?;
    status.trim_end().parse().ok()
}

/// `message`: what sshd says, with the command.
fn meaning(status: u8, message: &str) -> &'static str {
    let command = message.split("AuthorizedKeysCommand ").nth(1).unwrap_or_default();
    let program = command.split(' ').next().unwrap_or_default();
    let is_own = is_eic_keys(Path::new(program));
    match (ExitStatus::of(status), status) {
        (Some(status), _) if is_own => status.meaning(),
        (_, 126 | 127) => "the command, or the chained command after --, could not be run",
        _ if !is_own => OF_SCRIPT,
        _ => "not a status of eic-keys: it is from the chained command after --, or from another command",
    }
}

/// The result if the log has no line about the user's logins.
fn without_lines(log: &Log, name: &UserName, settings: Option<&Settings>) -> Answer<()> {
    let elsewhere = |what: String, fix: String| Answer::skip_with_fix(what, Fix::advice(fix));
    let options = settings.map(|settings| settings.source.daemon_options.as_slice()).unwrap_or_default();
    if let Some(SshdOption { value: file, .. }) = options.iter().find(|option| option.letter == 'E') {
        return elsewhere(
            format!("sshd logs to {file} (-E), and not to the system's log"),
            format!("see the end of {file}"),
        );
    }
    let value = |keyword| settings.map(|settings| settings.one(keyword).to_owned()).unwrap_or_default();
    // The journal has the lines of each facility.
    let facility = value("syslogfacility");
    if let Some(file) =
        log.unverified_source.as_ref().filter(|_| !matches!(facility.as_str(), "" | "AUTH" | "AUTHPRIV"))
    {
        return elsewhere(
            format!("sshd logs with SyslogFacility {facility}, and {file} may not have its lines"),
            format!("see in the configuration of the syslog daemon where it writes {facility}"),
        );
    }
    if let Some(level) = level_without_logins(&value("loglevel")) {
        return elsewhere(
            format!("sshd does not log a login that it refuses: LogLevel is {level}"),
            "set LogLevel INFO to see the reasons here".to_owned(),
        );
    }
    let doubt = log.caveat();
    Answer::ok(format!("sshd logged no attempt of {name} to log in in the last hour{doubt}"), ())
}

/// What sshd and PAM logged about the user in the last hour. A login clears what was before it. `None` if there is nothing.
/// `reload`: what to do instead, if sshd's files are right now.
fn login(
    log: &Log,
    name: &UserName,
    now: u64,
    root: &Path,
    reload: impl FnOnce(&RefusedAttempts<'_>) -> Option<String>,
) -> Option<Answer<()>> {
    let (user, doubt) = (name.to_string(), log.caveat());
    Some(match last_attempt(&log.lines, &user, now) {
        LastAttempt::None => return None,
        LastAttempt::LoggedIn(age) => Answer::ok(format!("{user} logged in {}{doubt}", ago(age)), ()),
        LastAttempt::Ended(age) => {
            let Some((line, words)) = not_pushed(log, &user, age, now) else {
                let ago = ago(age);
                let note = format!(
                    "the last attempt of {user}, {ago}, ended without a key that sshd accepts{doubt}"
                );
                return Some(Answer::ok(note, ()));
            };
            let note = format!("{}: no key that the client offered is pushed: {words}{doubt}", ago(age));
            let advice = format!(
                "push the public key of the key that ssh offers, and let it offer only that one: ssh -o IdentitiesOnly=yes -i KEY; this warning ends with the next login of {user}"
            );
            Answer::warn(note, Fix::advice(advice), ()).detail(shown(&[line], now))
        }
        LastAttempt::Refused(refused) => {
            let mut advice = Fix::advice(reload(&refused).unwrap_or_else(|| refused.advice.to_owned()));
            if refused.known.command.changes_account() {
                advice = advice.for_local_user(root, &user);
            }
            let advice = format!("{}; this warning ends with the next login of {user}", advice.text());
            // pam_nologin logs nothing.
            let nologin = ["etc/nologin", "run/nologin"].iter().any(|file| root.join(file).exists());
            let nologin = if nologin && refused.is_unexplained { "; see user.nologin" } else { "" };
            Answer::warn(format!("{}{nologin}{doubt}", refused.note), Fix::advice(advice), ())
                .detail(shown(&refused.lines, now))
        }
    })
}

/// The last line of eic-keys about a client that offered another key than the pushed one, if it is of the attempt that ended so long
/// ago and no key was provided after it, and its words about the keys.
fn not_pushed<'a>(log: &'a Log, user: &str, ended: u64, now: u64) -> Option<(&'a LogLine, &'a str)> {
    let words_for_user = |line: &'a LogLine| match own(line)? {
        // --check runs the AuthorizedKeysCommand for no key where it cannot do so without the log.
        OwnLine::NotPushed { offered, .. } if offered == Offered::NONE.fingerprint => None,
        OwnLine::NotPushed { user: other, words, .. } if other == user => Some((line, words)),
        _ => None,
    };
    let mut since_key = log.lines.iter().rev().take_while(|line| !provides_key(line));
    let last = since_key.find_map(words_for_user)?;
    let age = last.0.age(now, RECENT)?;
    (ended..=ended.saturating_add(DEFAULT_LOGIN_GRACE_TIME)).contains(&age).then_some(last)
}

/// What eic-keys logged about the user, or about every user. `is_valid`: the AuthorizedKeysCommand is valid now, so that a wrong command
/// line in the log was typed by hand or has been corrected.
fn last_own_message(log: &Log, name: &UserName, is_valid: bool, now: u64) -> Answer<()> {
    let (user, doubt) = (name.to_string(), log.caveat());
    // A key of the same run counts without those of the chained command.
    let has_key = |line: &LogLine| log.lines.iter().any(|other| provides_key(other) && other.pid == line.pid);
    let counts = |line: &&LogLine| match own(line) {
        Some(OwnLine::Failed { user: other } | OwnLine::Refused { user: other, .. }) => other == user,
        Some(OwnLine::WrongCommandLine) => !is_valid,
        Some(OwnLine::ChainedFailed) => !has_key(line),
        Some(OwnLine::NotEc2 | OwnLine::Provided(_)) => true,
        Some(OwnLine::ProvidedFor { .. } | OwnLine::NotPushed { .. }) | None => false,
    };
    let lines: Vec<_> = log.lines.iter().rev().filter(counts).collect();
    let Some(last) = lines.first() else {
        return Answer::ok(format!("eic-keys logged nothing about {user}{doubt}"), ());
    };
    let note = format!("the last message of eic-keys{doubt}: {}", last.message);
    let detail = shown(&lines, now);
    if !provides_key(last) && last.age(now, RECENT).is_some() {
        let advice = if matches!(own(last), Some(OwnLine::ChainedFailed)) {
            "run the command after -- of the AuthorizedKeysCommand by hand as its user, and repair it: see login.command; this warning ends with the next key that eic-keys provides after that"
        } else {
            "fix the reason, push a key again, and log in within 60 s; this warning ends with the next key that eic-keys provides"
        };
        return Answer::warn(note, Fix::advice(advice), ()).detail(detail);
    }
    Answer::ok(note, ()).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::{LogLine, error, provides_key, status};
    use crate::log_lines::PROVIDED;

    #[test]
    fn a_status_is_read() {
        let line = "AuthorizedKeysCommand /usr/bin/eic-keys alice SHA256:x failed, status 3";
        assert_eq!(status(line), Some(3));
        assert_eq!(status("AuthorizedKeysCommand failed, status 999"), None);
        assert_eq!(status("AuthorizedKeysCommand"), None);
    }

    /// The messages of OpenSSH 8.4, 9.2 and 10.0.
    #[test]
    fn what_a_line_is() {
        let given = format!("{PROVIDED} fingerprint: SHA256:l7S43MrBPCBjXSsRirNHeJ1ORrzDpsL5ffbwKfpkmdc");
        for (program, message, is_error, is_given) in [
            ("sshd", "error: AuthorizedKeysCommand /x alice failed, status 2", true, false),
            ("sshd", "AuthorizedKeysCommand /x alice failed, status 2", true, false),
            ("sshd-session", "error: Unsafe AuthorizedKeysCommand \"/x\": no", true, false),
            ("sshd-session", "error: Could not stat AuthorizedKeysCommand \"/x\": no", true, false),
            ("sshd", "error: AuthorizedKeysCommandUser \"x\" not found: Success", true, false),
            ("sshd", "Invalid user error: AuthorizedKeysCommand /x failed, status 2", false, false),
            ("evil", "error: AuthorizedKeysCommand /x alice failed, status 2", false, false),
            ("eic-keys", given.as_str(), false, true),
            ("eic-keys", PROVIDED, false, false),
            ("sshd", &given, false, false),
            ("sshd", "", false, false),
        ] {
            let (program, message) = (program.to_owned(), message.to_owned());
            let line = LogLine { time: None, program, pid: String::new(), message };
            assert_eq!((error(&line), provides_key(&line)), (is_error, is_given), "{line:?}");
        }
    }
}
