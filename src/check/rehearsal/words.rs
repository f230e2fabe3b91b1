//! Explains what sshd and PAM say about a login that failed.

use crate::check::fix::Fix;
use crate::check::fix::Word::Value;

use super::pam::Messages;

/// The messages about a login.
#[derive(Debug)]
pub(super) struct Words<'a> {
    pub(super) user: &'a str,
    /// sshd's messages.
    pub(super) sshd: &'a [String],
    /// Messages of PAM's modules, from the system log.
    pub(super) pam: &'a Messages,
    /// The output of the session and of ssh.
    pub(super) output: &'a str,
    /// Days since 1970-01-01.
    pub(super) today: u64,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Sshd,
    Pam,
    Output,
}

/// How to repair it.
#[derive(Clone, Copy, Debug)]
enum Repair {
    Sentence(&'static str),
    /// A command, with the user as last word.
    Command(&'static str),
    /// The password was last changed today.
    LastDay,
}

use Repair::{Command, LastDay, Sentence};
use Source::{Output, Pam, Sshd};

const CHROOT: &str = "ChrootDirectory and every directory above it must exist, belong to root, and be writable by root only \
                      (mode 0755 at most)";
/// A sentence, because the user's own start files can print these words.
const AGE: &str =
    "if the password has expired (chage --list), set the day of its last change: chage --lastday";
const LOGINS: &str =
    "raise maxlogins or maxsyslogins in /etc/security/limits.conf and limits.d, or end other sessions";
const EXPIRED: &str = "chage --expiredate -1";

/// Known messages: parts that a line contains in this order, and the fix. The first row that matches a line counts;
/// specific rows are first.
const KNOWN: &[(Source, &[&str], Repair)] = &[
    (Sshd, &["User ", " not allowed because shell "], Command("usermod --shell /bin/bash")),
    (Sshd, &["User ", " not allowed because account is locked"], Command("usermod --password *")),
    (
        Sshd,
        &["User ", " not allowed because "],
        Sentence("change AllowUsers, DenyUsers, AllowGroups or DenyGroups: see sshd.access"),
    ),
    (
        Sshd,
        &["ROOT LOGIN REFUSED"],
        Sentence("log in as another user, or set PermitRootLogin prohibit-password"),
    ),
    (Sshd, &["Account ", " has expired"], Command(EXPIRED)),
    (Sshd, &["bad ownership or modes for chroot directory"], Sentence(CHROOT)),
    (Sshd, &["chroot path does not begin at root"], Sentence(CHROOT)),
    (Sshd, &["chroot(\""], Sentence(CHROOT)),
    (
        Sshd,
        &["revoked keys file"],
        Sentence(
            "create the file that RevokedKeys names, or remove that line: without the file, sshd refuses every key",
        ),
    ),
    (
        Sshd,
        &["Could not get shadow information"],
        Sentence("add the user's line to /etc/shadow: pwconv(8) does so"),
    ),
    (Sshd, &["openpty:"], Sentence("mount devpts on /dev/pts: see mount(8) and pts(4)")),
    (Sshd, &["safely_chroot:"], Sentence(CHROOT)),
    (Sshd, &["no more sessions"], Sentence("set MaxSessions to 1 or more")),
    (
        Sshd,
        &["Could not open ", "authorized keys ", "Permission denied"],
        Sentence("let every user enter / and /run (mode 0755): the user cannot read any file there"),
    ),
    (
        Sshd,
        &["Resource temporarily unavailable"],
        Sentence(
            "raise the limit on the user's processes: nproc in /etc/security/limits.conf and limits.d, TasksMax of user.slice",
        ),
    ),
    (
        Pam,
        &["pam_access("],
        Sentence("allow the user in /etc/security/access.conf, or in the file that pam_access reads"),
    ),
    (Pam, &["pam_nologin("], Sentence("remove /etc/nologin or /run/nologin: see user.nologin")),
    (Pam, &["pam_time("], Sentence("allow the user at this time in /etc/security/time.conf")),
    (Pam, &["(sshd:account)", "account", " has expired (account expired)"], Command(EXPIRED)),
    (Pam, &["(sshd:account)", "expired"], LastDay),
    (Pam, &["pam_faillock("], Command("faillock --reset --user")),
    (Pam, &["pam_tally2("], Command("pam_tally2 --reset --user")),
    (Pam, &["pam_limits(", "oo many logins"], Sentence(LOGINS)),
    (Pam, &["pam_limits(", "o logins allowed"], Sentence(LOGINS)),
    (
        Pam,
        &["pam_listfile("],
        Sentence("change the list of users that pam_listfile reads: see /etc/pam.d/sshd"),
    ),
    (Pam, &["pam_succeed_if("], Sentence("change the condition of pam_succeed_if in /etc/pam.d/sshd")),
    (
        Pam,
        &["PAM unable to dlopen("],
        Sentence(
            "install the PAM module, or remove its line from /etc/pam.d/sshd and the files that it includes",
        ),
    ),
    (Output, &["assword", "expired"], Sentence(AGE)),
    (Output, &["Password change required"], Sentence(AGE)),
    (Output, &["oo many logins"], Sentence(LOGINS)),
    (
        Output,
        &["PTY allocation request failed"],
        Sentence("mount devpts on /dev/pts, and see PermitTTY in sshd's configuration"),
    ),
    (Pam, GENERIC, Sentence("change what this PAM module requires: see /etc/pam.d/sshd")),
    (
        Sshd,
        &["Access denied for user ", " by PAM account configuration"],
        Sentence(
            "see the account lines of /etc/pam.d/sshd; refusals without a message: pam_nologin, pam_time, pam_unix if \
             /etc/shadow has no line of the user",
        ),
    ),
    (
        Sshd,
        &["PAM: pam_open_session"],
        Sentence(
            "see the session lines of /etc/pam.d/sshd; a refusal without a message: pam_limits with maxlogins or \
             maxsyslogins",
        ),
    ),
    (
        Sshd,
        &["PAM: pam_setcred"],
        Sentence("see the auth lines of /etc/pam.d/sshd, and what its modules log (authpriv)"),
    ),
    (Sshd, &["fatal: PAM: "], Sentence("see /etc/pam.d/sshd, and what its modules log (authpriv)")),
];

/// Any message of a PAM module for sshd.
const GENERIC: &[&str] = &["(sshd:"];

/// The number of messages to show.
const SHOWN: usize = 8;

/// The number of lines of the session to show.
const SAID: usize = 3;

/// Messages of sshd about each login.
const USUAL: [&str; 15] = [
    "debug",
    "Connection from ",
    "Postponed publickey ",
    "Accepted key ",
    "Failed publickey ",
    "User child is on pid ",
    "Starting session: ",
    "Close session: ",
    "Transferred: ",
    "Closing connection ",
    "Received disconnect ",
    "Disconnected from ",
    "Accepted publickey for ",
    // In a Match block, sshd takes `none` for a path that it does not run.
    "AuthorizedKeysCommand path is not absolute",
    "syslogin_perform_logout: ",
];

impl Words<'_> {
    /// The message that explains the failure, and the fix. `None` if no message is known.
    pub(super) fn explain(&self) -> Option<(String, Fix)> {
        let output: Vec<String> = self.output.lines().map(|line| line.trim().to_owned()).collect();
        KNOWN.iter().find_map(|(from, parts, repair)| {
            let lines = match from {
                Sshd => self.sshd,
                Pam => &self.pam.lines,
                Output => &output,
            };
            if *from == Pam && !matches!(repair, LastDay) && !self.pam_refused() {
                return None;
            }
            // The last message is the reason.
            let line = lines.iter().rev().find(|line| contains(line, parts))?;
            let (words, fix) = (plain(line), self.fix(*repair));
            Some((
                match from {
                    Sshd => format!("sshd says: {words}"),
                    Pam => format!("PAM refuses the login: {words}{}", self.reservation()),
                    Output => format!("the session says: {words}"),
                },
                fix,
            ))
        })
    }

    /// The caveat about PAM's messages.
    fn reservation(&self) -> String {
        match &self.pam.file {
            None => String::new(),
            Some(file) => {
                format!(" (by {}, where any local user can have such lines written)", file.display())
            }
        }
    }

    /// Whether PAM can have refused the login: sshd says so, or there was no session. Modules also log what is no
    /// refusal.
    fn pam_refused(&self) -> bool {
        let words =
            ["by PAM account configuration", "PAM: pam_open_session", "PAM: pam_setcred", "fatal: PAM: "];
        let says = |text: &str| self.sshd.iter().any(|line| line.contains(text));
        words.into_iter().any(says) || !says("Starting session: ")
    }

    fn fix(&self, repair: Repair) -> Fix {
        match repair {
            Sentence(text) => Fix::advice(text),
            Command(words) => Fix::command(words, [Value(self.user)]),
            LastDay => Fix::command("chage --lastday", [Value(&self.today.to_string()), Value(self.user)]),
        }
    }

    /// The last messages of sshd and PAM, and the last words of the session.
    pub(super) fn last(&self) -> Vec<String> {
        let unusual = |line: &&String| {
            !line.is_empty()
                && !USUAL.iter().any(|words| line.starts_with(words) || plain(line).starts_with(words))
        };
        let mut lines: Vec<String> =
            self.sshd.iter().filter(unusual).map(|line| format!("sshd: {}", plain(line))).collect();
        lines.extend(self.pam.lines.iter().map(|line| format!("log: {line}")));
        let said: Vec<_> = self.output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = said.get(said.len().saturating_sub(SAID)..).unwrap_or_default();
        lines.extend(said.iter().map(|line| format!("session: {line}")));
        lines.drain(..lines.len().saturating_sub(SHOWN));
        lines
    }
}

/// Whether a line contains all parts in this order.
fn contains(line: &str, parts: &[&str]) -> bool {
    let mut rest = Some(line);
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

/// A message of sshd without what its log adds.
fn plain(line: &str) -> &str {
    let line = line.strip_suffix(" [preauth]").unwrap_or(line);
    ["debug1: ", "error: ", "fatal: "].iter().find_map(|prefix| line.strip_prefix(prefix)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::{Messages, Words};

    /// The note and the fix for messages of sshd, PAM and the session.
    fn explained(sshd: &str, pam: &str, output: &str) -> Option<(String, String)> {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (sshd, pam) = (lines(sshd), Messages { lines: lines(pam), file: None });
        let words = Words { user: "alice", sshd: &sshd, pam: &pam, output, today: 20000 };
        words.explain().map(|(note, fix)| (note, fix.text().to_owned()))
    }

    #[test]
    fn known_messages() {
        for (sshd, pam, output, note, fix) in [
            (
                "debug1: x\nUser alice not allowed because shell /bin/zsh does not exist\n",
                "",
                "",
                "sshd says: User alice not allowed because shell /bin/zsh does not exist",
                "usermod --shell /bin/bash alice",
            ),
            (
                "fatal: bad ownership or modes for chroot directory component \"/srv\" [postauth]",
                "",
                "",
                "sshd says: bad ownership or modes for chroot directory component",
                "ChrootDirectory and every directory above it",
            ),
            (
                "fatal: Access denied for user alice by PAM account configuration [preauth]",
                "pam_access(sshd:account): access denied for user `alice' from `127.0.0.1'",
                "",
                "PAM refuses the login: pam_access(sshd:account): access denied",
                "access.conf",
            ),
            (
                "fatal: Access denied for user alice by PAM account configuration [preauth]",
                "",
                "",
                "sshd says: Access denied for user alice by PAM account configuration",
                "account lines of /etc/pam.d/sshd",
            ),
            (
                "fatal: Access denied for user alice by PAM account configuration [preauth]",
                "pam_unix(sshd:account): account alice has expired (account expired)",
                "",
                "PAM refuses the login: ",
                "chage --expiredate -1 alice",
            ),
            (
                "",
                "pam_unix(sshd:account): expired password for user alice (root enforced)",
                "",
                "PAM refuses the login: ",
                "chage --lastday 20000 alice",
            ),
            (
                "",
                "",
                "WARNING: Your password has expired.\n",
                "the session says: WARNING: Your password has expired.",
                "chage --list",
            ),
        ] {
            let explained = explained(sshd, pam, output).unwrap_or_default();
            assert!(explained.0.starts_with(note) && explained.1.contains(fix), "{explained:?}");
        }
        assert_eq!(explained("debug1: x", "", "hello"), None);
        // A module also logs what is no reason to refuse.
        assert_eq!(explained("Starting session: x", "pam_succeed_if(sshd:session): x", ""), None);
    }
}
