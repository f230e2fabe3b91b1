//! Checks recent events in the log.

use crate::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::log::{self, Line, Log, ago};
use crate::check::login_log::{Logins, RECENT, logins};
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::ec2::UserName;
use crate::exit_status::ExitStatus;
use crate::log_lines;
use crate::sshd::plan::OWN_USER;
use crate::system_log::unescaped;
use crate::tool::is_root;

/// Number of log lines to show.
const SHOWN: usize = 5;

/// Runs the checks on the log.
pub(crate) async fn recent(
    runner: &Runner,
    target: &Target<'_>,
    name: &Finding<UserName>,
    command_user: &Finding<Account>,
) {
    let (root, user) = (target.root.to_owned(), command_user.get().map(|account| account.uid));
    let now = (target.clock)().as_secs();
    let log = runner
        .check(CheckId::RecentSshd, (), async |()| {
            blocking(move || {
                if !is_root() {
                    return Answer::skip("only root can read the log");
                }
                // AuthorizedKeysCommandUser can have been changed since. No other program runs as our own user.
                let own = Account::find(OWN_USER).ok().flatten().map(|account| account.uid);
                let users: Vec<_> = user.into_iter().chain(own).collect();
                match log::authpriv(&root, &users, now) {
                    Some(log) => failures(log, now, log::of_any_user),
                    None => Answer::skip(
                        "there is no log to read: neither a journal nor /var/log/auth.log or secure",
                    ),
                }
            })
            .await
        })
        .await;
    runner.check(CheckId::RecentLogin, (&log, name), async |(log, name)| login(log, name, now)).await;
    runner.check(CheckId::RecentSyslog, (&log, name), async |(log, name)| ours(log, name, now)).await;
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

fn given(line: &Line) -> bool {
    line.by_eic_keys() && line.message.starts_with(log_lines::PROVIDED)
}

fn error(line: &Line) -> bool {
    line.by_sshd() && ERRORS.iter().any(|words| line.message.starts_with(words))
}

/// The last of `lines` for a report, newest first.
fn shown<'a>(lines: impl IntoIterator<Item = &'a Line>, now: u64) -> Vec<String> {
    lines.into_iter().take(SHOWN).map(|line| line.shown(now)).collect()
}

/// Whether root's sshd accepted the key that a line of eic-keys as any user names, in the process that it names.
fn accepted(line: &Line, of_any_user: &[Line]) -> bool {
    let key = |ours: &Line| {
        let (key, process) =
            ours.message.strip_prefix(log_lines::PROVIDED_FOR)?.rsplit_once(log_lines::TO_PROCESS)?;
        (process == line.pid).then(|| key.split(' ').next().unwrap_or_default().to_owned())
    };
    let has = |key: String| key.starts_with("SHA256:") && line.message.ends_with(&format!(" {key}"));
    line.by_sshd()
        && line.message.starts_with("Accepted publickey for ")
        && of_any_user.iter().filter(|ours| ours.by_eic_keys()).filter_map(key).any(has)
}

/// sshd's errors about its command since the command last printed a key. `others` reads the lines of eic-keys as any
/// user: it may have run as another one.
fn failures(log: Log, now: u64, others: impl FnOnce() -> Vec<Line>) -> Answer<Log> {
    let mut errors = Vec::new();
    for line in &log.lines {
        if given(line) {
            errors.clear();
        } else if error(line) {
            errors.push(line);
        }
    }
    if !errors.is_empty() && log.hearsay.is_none() {
        let others = others();
        // By their order: the times are in seconds.
        let last = log.lines.iter().rposition(|line| accepted(line, &others));
        let after = last.and_then(|last| log.lines.get(last..)).unwrap_or(&log.lines);
        errors.retain(|error| after.iter().any(|line| std::ptr::eq(line, *error)));
    }
    let Some(last) = errors.last() else {
        let note = format!("sshd logged no error about its AuthorizedKeysCommand{}", log.reservation());
        return Answer::ok(note, log);
    };
    let (count, doubt) = (times(errors.len()), log.reservation());
    let note = if let Some(status) = status(&last.message) {
        let meaning = meaning(status);
        format!("AuthorizedKeysCommand failed {count}, last with status {status}: {meaning}{doubt}")
    } else {
        format!("sshd logged an error {count}{doubt}, the last: {}", unescaped(&last.message))
    };
    let detail = shown(errors.iter().rev().copied(), now);
    Answer::warn(
        note,
        Fix::advice("check recent.syslog and the failed checks above; this warning ends with the next login that gets a key"),
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

fn meaning(status: u8) -> &'static str {
    match (ExitStatus::of(status), status) {
        (Some(status), _) => status.meaning(),
        (None, 126 | 127) => "the command, or the chained command after --, could not be run",
        (None, _) => {
            "not a status of eic-keys: it is from the chained command after --, or from another command"
        }
    }
}

/// What sshd and PAM logged about the user in the last hour. A login clears what was before it.
fn login(log: &Log, name: &UserName, now: u64) -> Answer<()> {
    let (user, doubt) = (name.to_string(), log.reservation());
    match logins(&log.lines, &user, now) {
        Logins::None => {
            Answer::ok(format!("sshd logged no attempt of {user} to log in in the last hour{doubt}"), ())
        }
        Logins::LoggedIn(age) => Answer::ok(format!("{user} logged in {}{doubt}", ago(age)), ()),
        Logins::Ended(age) => Answer::ok(
            format!("the last attempt of {user}, {}, ended without a key that sshd accepts{doubt}", ago(age)),
            (),
        ),
        Logins::Refused(refused) => {
            let advice = format!("{}; this warning ends with the next login of {user}", refused.advice);
            Answer::warn(format!("{}{doubt}", refused.note), Fix::advice(advice), ())
                .detail(shown(refused.lines, now))
        }
    }
}

/// What eic-keys logged about the user, or about every user.
fn ours(log: &Log, name: &UserName, now: u64) -> Answer<()> {
    let (user, doubt) = (name.to_string(), log.reservation());
    let refusal = |line: &Line| {
        let of_user = |begin| {
            line.message
                .strip_prefix(begin)
                .and_then(|rest| rest.strip_prefix(user.as_str()))
                .is_some_and(|rest| rest.starts_with(": "))
        };
        let of_all = [log_lines::NOT_EC2, log_lines::WRONG_COMMAND_LINE, log_lines::CHAINED];
        of_user(log_lines::NO_KEY)
            || of_user(log_lines::REFUSED)
            || of_all.iter().any(|begin| line.message.starts_with(begin))
    };
    let mut lines: Vec<_> =
        log.lines.iter().filter(|line| line.by_eic_keys() && (refusal(line) || given(line))).collect();
    lines.reverse();
    let Some(last) = lines.first() else {
        return Answer::ok(format!("eic-keys logged nothing about {user}{doubt}"), ());
    };
    let note = format!("the last message of eic-keys{doubt}: {}", last.message);
    let detail = shown(lines.iter().copied(), now);
    if refusal(last) && last.age(now, RECENT).is_some() {
        let advice = if last.message.starts_with(log_lines::CHAINED) {
            "run the command after -- of sshd's line by hand as its user, and repair it: see login.command; this warning ends with the next key that eic-keys provides after that"
        } else {
            "fix the reason, push a key again, and log in within 60 s; this warning ends with the next key that eic-keys provides"
        };
        return Answer::warn(note, Fix::advice(advice), ()).detail(detail);
    }
    Answer::ok(note, ()).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::{Line, error, given, status};

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
        for (program, message, is_error, is_given) in [
            ("sshd", "error: AuthorizedKeysCommand /x alice failed, status 2", true, false),
            ("sshd", "AuthorizedKeysCommand /x alice failed, status 2", true, false),
            ("sshd-session", "error: Unsafe AuthorizedKeysCommand \"/x\": no", true, false),
            ("sshd-session", "error: Could not stat AuthorizedKeysCommand \"/x\": no", true, false),
            ("sshd", "error: AuthorizedKeysCommandUser \"x\" not found: Success", true, false),
            ("sshd", "Invalid user error: AuthorizedKeysCommand /x failed, status 2", false, false),
            ("evil", "error: AuthorizedKeysCommand /x alice failed, status 2", false, false),
            ("eic-keys", "Providing ssh key from EC2 Instance Connect with", false, true),
            ("sshd", "Providing ssh key from EC2 Instance Connect with", false, false),
            ("sshd", "", false, false),
        ] {
            let (program, message) = (program.to_owned(), message.to_owned());
            let line = Line { time: None, program, pid: String::new(), message };
            assert_eq!((error(&line), given(&line)), (is_error, is_given), "{line:?}");
        }
    }
}
