//! Checks recent events in the log.

use crate::check::account::Account;
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::log;
use crate::check::log::Log;
use crate::check::request::Target;
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::tool::is_root;
use crate::ec2::UserName;
use crate::exit_status::ExitStatus;
use crate::sshd::plan::OWN_USER;

/// Number of eic-keys log lines to show.
const SHOWN: usize = 5;

/// Runs the checks on the log.
pub(crate) async fn recent(
    runner: &Runner,
    target: &Target<'_>,
    name: &Finding<UserName>,
    command_user: &Finding<Account>,
) {
    let (root, user) = (target.root.to_owned(), command_user.get().map(|account| account.uid));
    let text = runner
        .check(CheckId::RecentSshd, (), async |()| {
            blocking(move || {
                if !is_root() {
                    return Answer::skip("only root can read the log");
                }
                let own = || Account::find(OWN_USER).ok().flatten().map(|account| account.uid);
                let users: Vec<_> = user.or_else(own).into_iter().collect();
                match log::authpriv(&root, &users) {
                    Some(log) => failures(log),
                    None => Answer::skip(
                        "there is no log to read: neither a journal nor /var/log/auth.log or secure",
                    ),
                }
            })
            .await
        })
        .await;
    runner.check(CheckId::RecentSyslog, (&text, name), async |(log, name)| ours(log, name)).await;
}

/// How sshd's messages about its AuthorizedKeysCommand begin. A user name from a login attempt can contain these
/// words, but does not begin a message.
const COMPLAINTS: [&str; 3] = [
    "error: AuthorizedKeysCommand",
    "error: Unsafe AuthorizedKeysCommand",
    "error: exited_cleanly: AuthorizedKeysCommand",
];

/// The program and the message of a line, with any timestamp format.
fn parts(line: &str) -> Option<(&str, &str)> {
    let (head, message) = line.split_once("]: ")?;
    Some((head.rsplit(' ').next()?.split('[').next()?, message))
}

fn given(line: &str) -> bool {
    parts(line)
        .is_some_and(|(program, message)| program == "eic-keys" && message.starts_with("Providing ssh key"))
}

fn complaint(line: &str) -> bool {
    parts(line).is_some_and(|(program, message)| {
        program.starts_with("sshd") && COMPLAINTS.iter().any(|words| message.starts_with(words))
    })
}

/// sshd's errors about its command since the command last printed a key.
fn failures(log: Log) -> Answer<Log> {
    let mut complaints = Vec::new();
    for line in log.text.lines() {
        if given(line) {
            complaints.clear();
        } else if complaint(line) {
            complaints.push(line.to_owned());
        }
    }
    let Some(last) = complaints.last() else {
        let note = format!("sshd did not complain about its AuthorizedKeysCommand{}", log.reservation());
        return Answer::ok(note, log);
    };
    let note = match status(last) {
        Some(status) => format!(
            "AuthorizedKeysCommand failed {}, last with status {status}: {}{}",
            times(complaints.len()),
            meaning(status),
            log.reservation()
        ),
        None => {
            format!("sshd complained {}{}, the last: {last}", times(complaints.len()), log.reservation())
        }
    };
    let detail = complaints.iter().rev().take(SHOWN).rev().cloned().collect::<Vec<_>>();
    Answer::warn(note, Fix::advice("fix what fails above; the next login that gets its key clears this"), log)
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
        (None, 126 | 127) => "it, or the command behind --, could not be run",
        (None, _) => "not a status of eic-keys itself, but of the command behind -- or of another command",
    }
}

fn ours(log: &Log, name: &UserName) -> Answer<()> {
    let user = name.to_string();
    let of_user = |message: &str| message.split([' ', ':', ',']).any(|word| word == user);
    let ours = |line: &&str| {
        parts(line)
            .is_some_and(|(program, message)| program == "eic-keys" && (of_user(message) || given(line)))
    };
    let lines: Vec<_> = log.text.lines().filter(ours).map(str::to_owned).collect();
    let shown = lines.iter().rev().take(SHOWN).rev().cloned().collect::<Vec<_>>();
    match lines.last() {
        None => Answer::ok(format!("eic-keys logged nothing about {user}{}", log.reservation()), ()),
        Some(last) => {
            let said = parts(last).map_or(last.as_str(), |(_, message)| message);
            Answer::ok(format!("eic-keys said last{}: {said}", log.reservation()), ()).detail(shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{complaint, given, status};

    #[test]
    fn a_status_is_read() {
        let line = "error: AuthorizedKeysCommand /usr/bin/eic-keys alice SHA256:x failed, status 3";
        assert_eq!(status(line), Some(3));
        assert_eq!(status("AuthorizedKeysCommand failed, status 999"), None);
        assert_eq!(status("AuthorizedKeysCommand"), None);
    }

    #[test]
    fn what_a_line_is() {
        for (line, is_complaint, is_given) in [
            (
                "Nov 20 08:00:00 h sshd[7]: error: AuthorizedKeysCommand /x alice failed, status 2",
                true,
                false,
            ),
            (
                "2026-11-20T08:00:00+0000 h sshd-session[7]: error: Unsafe AuthorizedKeysCommand \"/x\": no",
                true,
                false,
            ),
            (
                "Nov 20 08:00:00 h sshd[7]: Invalid user error: AuthorizedKeysCommand /x failed, status 2",
                false,
                false,
            ),
            (
                "Nov 20 08:00:00 h evil[7]: error: AuthorizedKeysCommand /x alice failed, status 2",
                false,
                false,
            ),
            ("Nov 20 08:00:00 h eic-keys[8]: Providing ssh key from EC2 Instance Connect with", false, true),
            ("Nov 20 08:00:00 h sshd[8]: Invalid user eic-keys[1]: Providing ssh key", false, false),
            ("", false, false),
        ] {
            assert_eq!((complaint(line), given(line)), (is_complaint, is_given), "{line}");
        }
    }
}
