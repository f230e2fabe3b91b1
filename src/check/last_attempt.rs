//! What sshd and PAM logged about the logins of a user.
//!
//! All lines of a connection have the same process. sshd names the user in some of them, and only the position of a
//! name tells whose it is: a client chooses the user name, so that a name can contain any of the words below. A line
//! is matched from its beginning up to the name of an existing user, never by words somewhere in it.

use std::time::{Duration, SystemTime};

use super::known_messages::{
    CONNECTIONS, KnownMessage, MISSING_MODULES, MODULE, MODULE_UNKNOWN, REASONS, REFUSALS, of_module,
    says_nothing, without_level,
};
use super::log_tail::{LogLine, RECENT, ago};
use crate::lists;
use crate::system_log::accepted::ACCEPTED_KEY;

/// How messages that name the user of a connection begin and go on. sshd writes `invalid user` between the two if
/// there is no such user, or the user is not allowed to log in.
const MESSAGES_WITH_USER: [(&str, &[&str]); 9] = [
    ("User ", &[" from ", " not allowed because "]),
    (ACCEPTED_KEY, &[" from "]),
    ("Failed publickey for ", &[" from "]),
    ("maximum authentication attempts exceeded for ", &[" from "]),
    ("Access denied for user ", &[" by PAM account configuration"]),
    ("Connection closed by authenticating user ", &[" "]),
    ("Connection reset by authenticating user ", &[" "]),
    ("Disconnected from authenticating user ", &[" "]),
    ("Disconnecting authenticating user ", &[" "]),
];

/// The errors of the process that starts a session. It has another number than the process of the connection, and
/// names no user.
const SESSION_ERRORS: [&str; 4] =
    ["bad ownership or modes for chroot directory ", "safely_chroot: ", "do_exec_no_pty: ", "do_exec_pty: "];

/// Time from a login to the errors of its session.
const SESSION_START: u64 = 10;

/// For how long dropped connections count, in seconds: scanners cause some on any host.
const DROPS_COUNT: u64 = 600;

/// A connection.
#[derive(Debug)]
struct Attempt<'a> {
    pid: &'a str,
    /// The time of its last line; once a key is accepted, of that line or of a later error. A session can be long.
    last: u64,
    /// The user is the one who is asked about.
    of_user: bool,
    accepted: bool,
    /// The client tried a password.
    password: bool,
    /// The lines that matter, and the reasons among them.
    lines: Vec<(&'a LogLine, Option<&'static KnownMessage>)>,
    /// The lines about modules of PAM that are missing. As a rule, a login needs none of them.
    missing: Vec<&'a LogLine>,
}

/// What the log says about the logins of a user.
#[derive(Debug)]
pub(crate) enum LastAttempt<'a> {
    /// The last attempt was refused.
    Refused(RefusedAttempts<'a>),
    /// The last attempt, so many seconds ago, was a login.
    LoggedIn(u64),
    /// The last attempt, so many seconds ago, ended before a key was accepted, and nothing says why.
    Ended(u64),
    /// There was none.
    None,
}

/// Why attempts were refused.
#[derive(Debug)]
pub(crate) struct RefusedAttempts<'a> {
    /// When the last one was, and why.
    pub(crate) note: String,
    pub(crate) advice: &'static str,
    /// The age of the last one, in seconds, and the message that says why.
    pub(crate) age: u64,
    pub(crate) known: &'static KnownMessage,
    /// PAM refused the account, and no module logged why.
    pub(crate) is_unexplained: bool,
    /// The lines, newest first.
    pub(crate) lines: Vec<&'a LogLine>,
}

impl<'a> RefusedAttempts<'a> {
    fn new(age: u64, known: &'static KnownMessage, lines: impl IntoIterator<Item = &'a LogLine>) -> Self {
        let note = format!("{}: {}", ago(age), known.means);
        let KnownMessage { advice, is_unexplained, .. } = *known;
        Self { note, advice, age, known, is_unexplained, lines: lines.into_iter().collect() }
    }

    /// When the last one was. The times of the log are in whole seconds.
    pub(crate) fn time(&self, now: u64) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(now.saturating_sub(self.age)))
    }

    /// The type of key that sshd refused in the last one.
    pub(crate) fn key_type(&self) -> Option<&'a str> {
        let line = self.lines.iter().find(|line| self.known.is(without_level(&line.message)))?;
        line.message.split_once(" not in ")?.0.rsplit(' ').next()
    }
}

/// What `lines`, oldest first, say about the logins of `user` in the last hour.
pub(crate) fn last_attempt<'a>(lines: &'a [LogLine], user: &str, now: u64) -> LastAttempt<'a> {
    let mut attempts: Vec<Attempt<'a>> = Vec::new();
    let mut unattributed: Vec<(u64, &'a LogLine, &'static KnownMessage)> = Vec::new();
    for line in lines.iter().filter(|line| line.by_sshd()) {
        let Some(age) = line.age(now, RECENT) else { continue };
        let time = now.saturating_sub(age);
        let message = without_level(&line.message);
        if let Some(known) = CONNECTIONS.iter().find(|known| known.is(message)) {
            unattributed.push((time, line, known));
        } else if let Some(attempt) = attempt_of(&mut attempts, line, message, time) {
            attempt.take(line, message, user, time);
            if let Some((_, from)) =
                message.strip_prefix("Accepted ").and_then(|rest| rest.split_once(" from "))
            {
                let address = from.split(' ').next().unwrap_or_default();
                unattributed.retain(|(_, line, _)| goes_on(&line.message, address));
            }
        }
    }
    let mut in_order = Vec::new();
    for attempt in attempts.into_iter().filter(|attempt| attempt.of_user) {
        lists::insert(&mut in_order, attempt, |one, other| one.last.cmp(&other.last));
    }
    let attempts = in_order;
    let login = attempts.iter().rposition(Attempt::is_login);
    let later = attempts.get(login.map_or(0, |at| at.saturating_add(1))..).unwrap_or_default();
    // A scanner that tries passwords is refused for reasons that have nothing to do with a pushed key.
    let mut refused = later.iter().rev().filter(|attempt| !attempt.password && attempt.reason().is_some());
    if let Some(attempt) = refused.next() {
        let lines = [attempt].into_iter().chain(refused).flat_map(|attempt| attempt.lines.iter().rev());
        let mut lines: Vec<_> = lines.map(|(line, _)| *line).collect();
        if let Some(known) = attempt.reason() {
            let words = attempt.words_of_pam(known);
            lines.extend(
                words.iter().filter(|(line, _)| attempt.missing.contains(line)).map(|(line, _)| *line),
            );
            let mut refused = RefusedAttempts::new(now.saturating_sub(attempt.last), known, lines);
            if let Some((line, advice)) = words {
                let age = ago(now.saturating_sub(attempt.last));
                let what = if attempt.accepted { "PAM opens no session" } else { "PAM refuses the account" };
                refused.note = format!("{age}: {what}: {}", line.message);
                refused.advice = advice;
                refused.is_unexplained = false;
            }
            return LastAttempt::Refused(refused);
        }
    }
    let newest = attempts.last().map(|attempt| attempt.last);
    let counts = |(time, ..): &&(u64, &LogLine, &KnownMessage)| {
        newest.is_none_or(|newest| *time >= newest) && now.saturating_sub(*time) < DROPS_COUNT
    };
    let mut dropped = unattributed.iter().rev().filter(counts);
    if let Some((time, line, known)) = dropped.next() {
        let lines = [*line].into_iter().chain(dropped.map(|(_, line, _)| *line));
        return LastAttempt::Refused(RefusedAttempts::new(now.saturating_sub(*time), known, lines));
    }
    match newest.map(|newest| now.saturating_sub(newest)) {
        None => LastAttempt::None,
        Some(age) if later.is_empty() => LastAttempt::LoggedIn(age),
        Some(age) => LastAttempt::Ended(age),
    }
}

/// Whether sshd can still drop connections for the reason in `message` after a login of any user from `address`: libwrap and penalties
/// are for some addresses.
fn goes_on(message: &str, address: &str) -> bool {
    let is_of = |(open, close)| message.contains(&format!("{open}{address}{close}"));
    let for_some = message.contains("refused connect from ") || message.contains(" penalty: ");
    for_some && ![('(', ')'), ('[', ']')].into_iter().any(is_of)
}

/// The attempt that a line belongs to. `None` for the error of a session that no login started.
fn attempt_of<'a, 'b>(
    attempts: &'b mut Vec<Attempt<'a>>,
    line: &'a LogLine,
    message: &str,
    time: u64,
) -> Option<&'b mut Attempt<'a>> {
    let own = attempts.iter().rposition(|attempt| attempt.pid == line.pid);
    let at = if SESSION_ERRORS.iter().any(|begin| message.starts_with(begin)) {
        let fresh =
            |attempt: &Attempt<'_>| attempt.accepted && time <= attempt.last.saturating_add(SESSION_START);
        attempts.iter().rposition(fresh)?
    } else if let Some(own) = own {
        own
    } else {
        let (of_user, accepted, password) = (false, false, false);
        let (lines, missing) = (Vec::new(), Vec::new());
        attempts.push(Attempt { pid: &line.pid, last: time, of_user, accepted, password, lines, missing });
        attempts.len().checked_sub(1)?
    };
    attempts.get_mut(at)
}

impl<'a> Attempt<'a> {
    fn take(&mut self, line: &'a LogLine, message: &str, user: &str, time: u64) {
        let known = REASONS.iter().chain(&REFUSALS).find(|known| known.is(message));
        if !self.accepted || known.is_some() {
            self.last = time;
        }
        for (begin, continuations) in MESSAGES_WITH_USER {
            // sshd's only message with such a beginning that names no user. LogLevel VERBOSE has it.
            if message.starts_with("User child is on pid ") {
                break;
            }
            let Some(rest) = message.strip_prefix(begin) else { continue };
            let rest = rest.strip_prefix(user);
            let of_user = rest.is_some_and(|rest| continuations.iter().any(|words| rest.starts_with(words)));
            if begin == ACCEPTED_KEY {
                // What was said about other keys does not matter. An expired password does.
                self.lines.retain(|(_, known)| known.is_some_and(|known| known.counts_after_a_key));
                self.accepted = true;
            } else if self.accepted {
                // Another connection, by a process with the same number.
                (self.accepted, self.password, self.last) = (false, false, time);
                self.lines.clear();
                self.missing.clear();
            }
            self.of_user = of_user;
        }
        self.password |= message.starts_with("Failed password for ");
        if MISSING_MODULES.iter().any(|known| known.is(message)) {
            self.missing.push(line);
        } else if known.is_some() || is_from_module(message) {
            self.lines.push((line, known));
        }
    }

    /// Whether a session was started.
    fn is_login(&self) -> bool {
        self.accepted && self.reason().is_none()
    }

    /// What PAM logged before it refused the account or the session, if sshd says only that it did (`reason`), and what to do
    /// about it: the words of a module that is not known, or that one is missing.
    fn words_of_pam(&self, reason: &KnownMessage) -> Option<(&'a LogLine, &'static str)> {
        if !REFUSALS.iter().any(|known| known.is_same(reason)) {
            return None;
        }
        let refused =
            |(_, known): &(&LogLine, Option<&KnownMessage>)| known.is_some_and(|known| known.is_same(reason));
        let at = self.lines.iter().position(refused)?;
        let is_missing = self
            .lines
            .get(at)
            .is_some_and(|(line, _)| without_level(&line.message).starts_with(MODULE_UNKNOWN));
        let kind = if self.accepted { "(sshd:session): " } else { "(sshd:account): " };
        let is_of_module = |line: &&LogLine| !is_missing && line.message.contains(kind);
        let mut before = self.lines.get(..at)?.iter().rev().map(|(line, _)| *line);
        let words = before.find(is_of_module).map(|line| (line, of_module(&line.message)));
        words.or_else(|| self.missing.first().map(|line| (*line, MODULE)))
    }

    /// The first reason, which is the most specific.
    fn reason(&self) -> Option<&'static KnownMessage> {
        self.lines.iter().find_map(|(_, known)| *known)
    }
}

/// Whether a module of PAM says something other than in each login.
fn is_from_module(message: &str) -> bool {
    message.starts_with("pam_")
        && (message.contains("(sshd:account): ") || message.contains("(sshd:session): "))
        && !says_nothing(message)
}

#[cfg(test)]
mod tests {
    use super::{LastAttempt, LogLine, last_attempt};

    const NOW: u64 = 1_795_293_600;

    /// Lines of sshd, 60 seconds ago; `PID: message`.
    fn lines(text: &[&str]) -> Vec<LogLine> {
        let line = |text: &&str| {
            let (pid, message) = text.split_once(": ").unwrap_or_default();
            LogLine {
                time: Some(NOW - 60),
                program: "sshd".to_owned(),
                pid: pid.to_owned(),
                message: message.to_owned(),
            }
        };
        text.iter().map(line).collect()
    }

    fn note(text: &[&str], user: &str) -> String {
        match last_attempt(&lines(text), user, NOW) {
            LastAttempt::Refused(refused) => refused.note,
            other => format!("{other:?}"),
        }
    }

    const ACCEPTED: &str = "7: Accepted publickey for alice from 192.0.2.1 port 5 ssh2: ED25519 SHA256:x";
    const OPENED: &str = "7: pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)";
    const CLOSED: &str = "7: Connection closed by authenticating user alice 192.0.2.1 port 5 [preauth]";

    /// The messages of OpenSSH 8.4, 9.2 and 10.0 with the PAM of Debian 11, 12 and 13, where they were provoked, and
    /// what the note says.
    const PROVOKED: &[(&[&str], &str)] = &[
        (&["7: User alice from 192.0.2.1 not allowed because listed in DenyUsers"], "listed in DenyUsers"),
        (
            &["7: User alice from 192.0.2.1 not allowed because not listed in AllowUsers"],
            "not listed in AllowUsers",
        ),
        (
            &["7: User alice from 192.0.2.1 not allowed because a group is listed in DenyGroups"],
            "listed in DenyGroups",
        ),
        (
            &[
                "7: User alice from 192.0.2.1 not allowed because none of user's groups are listed in AllowGroups",
                "7: Connection closed by invalid user alice 192.0.2.1 port 33616 [preauth]",
            ],
            "no group of the user is listed in AllowGroups",
        ),
        (&["7: User alice not allowed because shell /bin/zsh does not exist"], "shell does not exist"),
        (&["7: User alice not allowed because shell /x is not executable"], "or is not executable"),
        (&["7: User alice not allowed because account is locked"], "UsePAM is no"),
        (
            &[
                "7: pam_unix(sshd:account): account alice has expired (account expired)",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "which has expired",
        ),
        (
            &[
                "7: pam_unix(sshd:account): account alice has expired (failed to change password)",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "not changed in time",
        ),
        (
            &["7: pam_unix(sshd:account): expired password for user alice (root enforced)", ACCEPTED, OPENED],
            "must be changed",
        ),
        (
            &["7: fatal: Access denied for user alice by PAM account configuration [preauth]"],
            "no module logged why",
        ),
        (
            &[
                "7: pam_access(sshd:account): access denied for user `alice' from `192.0.2.1'",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "pam_access",
        ),
        (
            &[
                "7: pam_sss(sshd:account): Access denied for user alice: 6 (Permission denied)",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "SSSD's access provider",
        ),
        (
            &[
                "7: pam_sss(sshd:account): Access denied for user alice: 10 (User not known to the underlying authentication module)",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "SSSD does not know the user",
        ),
        (
            &[
                "7: pam_listfile(sshd:account): Refused user alice for service sshd",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "pam_listfile",
        ),
        (
            &[
                "7: pam_succeed_if(sshd:account): requirement \"uid < 10\" not met by user \"alice\"",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "pam_succeed_if",
        ),
        (
            &[
                "7: PAM unable to dlopen(pam_sss.so): /lib/security/pam_sss.so: cannot open shared object file",
                "7: PAM adding faulty module: pam_sss.so",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "PAM refuses the account: PAM unable to dlopen(pam_sss.so)",
        ),
        // A module that no login needs.
        (
            &[
                "7: PAM unable to dlopen(pam_gone.so): /lib/security/pam_gone.so: cannot open shared object file",
                "7: PAM adding faulty module: pam_gone.so",
                "7: pam_access(sshd:account): access denied for user `alice' from `192.0.2.1'",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "pam_access, by",
        ),
        (
            &[
                "7: PAM unable to dlopen(pam_gone.so): /lib/security/pam_gone.so: cannot open shared object file",
                "7: PAM adding faulty module: pam_gone.so",
                ACCEPTED,
                "7: error: PAM: pam_open_session(): Module is unknown",
            ],
            "PAM opens no session: PAM unable to dlopen(pam_gone.so)",
        ),
        (&[ACCEPTED, "7: error: PAM: pam_open_session(): Module is unknown"], "a session line of /etc/pam.d"),
        (&[ACCEPTED, "7: error: PAM: pam_open_session(): Permission denied"], "PAM did not open the session"),
        (
            &[ACCEPTED, "7: fatal: monitor_openfds: socketpair: Too many open files"],
            "the limit of open files is too low",
        ),
        (
            &[ACCEPTED, "8: error: do_exec_no_pty: pipe out: Too many open files"],
            "the limit of open files is too low",
        ),
        (
            &[ACCEPTED, "8: error: do_exec_no_pty: fork: Resource temporarily unavailable"],
            "as many processes as the limit allows",
        ),
        (&["7: fatal: PAM: initialisation failed"], "PAM cannot read its configuration"),
        (
            &[
                ACCEPTED,
                OPENED,
                "7: pam_limits(sshd:session): Could not set limit for 'memlock' to soft=-1, hard=-1: Operation not permitted",
                "7: pam_exec(sshd:session): /bin/false failed: exit code 1",
                "7: error: PAM: pam_open_session(): System error",
                "7: User child is on pid 8",
            ],
            "PAM opens no session: pam_exec(sshd:session): /bin/false failed: exit code 1",
        ),
        (
            &[
                "7: error: Error checking authentication key ED25519 SHA256:x in revoked keys file /x: No such file or directory",
                CLOSED,
            ],
            "refuses every key",
        ),
        (
            &["7: error: Authentication key ED25519 SHA256:x revoked by file /x", CLOSED],
            "the key is in the file of RevokedKeys",
        ),
        (
            &[
                "7: error: maximum authentication attempts exceeded for alice from 192.0.2.1 port 5 ssh2 [preauth]",
                "7: Disconnecting authenticating user alice 192.0.2.1 port 5: Too many authentication failures [preauth]",
            ],
            "more keys than MaxAuthTries",
        ),
        (
            &[
                "7: userauth_pubkey: signature algorithm ssh-ed25519 not in PubkeyAcceptedAlgorithms [preauth]",
                CLOSED,
            ],
            "does not allow the type",
        ),
        (
            &[
                "7: pam_shells(sshd:account): User has an invalid shell '/usr/local/bin/mybash'",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "/etc/shells does not list the login shell",
        ),
        // A module that is not known.
        (
            &[
                "7: pam_wheel(sshd:account): Access denied to 'alice' for 'alice'",
                "7: fatal: Access denied for user alice by PAM account configuration [preauth]",
            ],
            "PAM refuses the account: pam_wheel(sshd:account): Access denied to 'alice'",
        ),
        (&["1: refused connect from 192.0.2.1 (192.0.2.1)"], "by /etc/hosts.allow or /etc/hosts.deny"),
        (&["7: refusing RSA key: Invalid key length [preauth]", CLOSED], "RequiredRSASize"),
        (
            &[
                ACCEPTED,
                OPENED,
                "8: fatal: bad ownership or modes for chroot directory \"/srv/jail\"",
                "7: pam_unix(sshd:session): session closed for user alice",
            ],
            "users other than root can change ChrootDirectory",
        ),
        (
            &[ACCEPTED, OPENED, "8: fatal: safely_chroot: stat(\"/srv/jail\"): No such file or directory"],
            "ChrootDirectory cannot be used",
        ),
        (
            &["1: drop connection #0 from [192.0.2.1]:5 on [192.0.2.9]:22 penalty: failed authentication"],
            "PerSourcePenalties",
        ),
        (&["1: drop connection #1 from [192.0.2.1]:5 on [192.0.2.9]:22 Maxstartups"], "MaxStartups"),
        (&["1: drop connection #1 from [192.0.2.1]:5 on [192.0.2.9]:22 past MaxStartups"], "MaxStartups"),
    ];

    #[test]
    fn what_is_known() {
        for (text, expected) in PROVOKED {
            let note = note(text, "alice");
            assert!(note.starts_with("60 s ago: ") && note.contains(expected), "{note}: {text:?}");
        }
    }

    #[test]
    fn a_login_clears_what_was_before_it() {
        let denied = "6: fatal: Access denied for user alice by PAM account configuration [preauth]";
        let dropped = "1: drop connection #1 from [192.0.2.1]:5 on [192.0.2.9]:22 Maxstartups";
        assert_eq!(note(&[denied, ACCEPTED, OPENED], "alice"), "LoggedIn(60)");
        let missing =
            "7: PAM unable to dlopen(pam_gone.so): /lib/security/pam_gone.so: cannot open shared object file";
        assert_eq!(note(&[missing, ACCEPTED, OPENED], "alice"), "LoggedIn(60)", "a module that is optional");
        assert_eq!(note(&[missing, CLOSED], "alice"), "Ended(60)", "a client that gave up");
        let revoked = "7: error: Authentication key ED25519 SHA256:x revoked by file /x";
        assert_eq!(note(&[revoked, ACCEPTED, OPENED], "alice"), "LoggedIn(60)", "another key of the client");
        assert!(note(&[ACCEPTED, OPENED, denied], "alice").contains("PAM refuses"));
        // Another one's login does not.
        let bob = "7: Accepted publickey for bob from 192.0.2.1 port 5 ssh2: ED25519 SHA256:x";
        assert!(note(&[denied, bob], "alice").contains("PAM refuses"));
        // What has nothing to do with the user, though.
        for (before, is_over) in [
            (dropped, true),
            ("1: fatal: PAM: initialisation failed", true),
            ("1: refused connect from 192.0.2.1 (192.0.2.1)", true),
            ("1: refused connect from 192.0.2.11 (192.0.2.11)", false),
            (
                "1: drop connection #0 from [192.0.2.1]:5 on [192.0.2.9]:22 penalty: failed authentication",
                true,
            ),
            (
                "1: drop connection #0 from [192.0.2.2]:5 on [192.0.2.9]:22 penalty: failed authentication",
                false,
            ),
        ] {
            assert_eq!(note(&[before, bob], "alice") == "None", is_over, "{before}");
            assert_ne!(note(&[bob, before], "alice"), "None", "{before}");
        }
        // A session that ends later is no login that comes later.
        let mut long = lines(&[ACCEPTED, denied, "7: pam_unix(sshd:session): session closed for user alice"]);
        for (line, time) in long.iter_mut().zip([NOW - 600, NOW - 300, NOW - 60]) {
            line.time = Some(time);
        }
        assert!(matches!(last_attempt(&long, "alice", NOW), LastAttempt::Refused(_)));
        let mut late = lines(&[dropped, ACCEPTED]);
        for line in late.iter_mut().take(1) {
            line.time = Some(NOW - 61);
        }
        assert!(matches!(last_attempt(&late, "alice", NOW), LastAttempt::LoggedIn(60)));
    }

    #[test]
    fn what_modules_also_say_at_a_login_that_works() {
        let refused = "7: error: PAM: pam_open_session(): System error";
        let exec = "7: pam_exec(sshd:session): /bin/false failed: exit code 1";
        let motd = "7: pam_motd(sshd:session): error scanning directory /etc/motd.d: Permission denied";
        let found = note(&[ACCEPTED, OPENED, exec, motd, refused], "alice");
        assert!(
            found.ends_with("PAM opens no session: pam_exec(sshd:session): /bin/false failed: exit code 1")
        );
        let found = note(&[ACCEPTED, OPENED, motd, refused], "alice");
        assert!(found.ends_with("PAM did not open the session"), "{found}");
    }

    #[test]
    fn only_the_last_hour_counts() {
        let mut old = lines(&["7: User alice from 192.0.2.1 not allowed because listed in DenyUsers"]);
        for (time, refused) in [(Some(NOW - 3599), true), (Some(NOW - 3600), false), (None, false)] {
            for line in &mut old {
                line.time = time;
            }
            assert_eq!(
                matches!(last_attempt(&old, "alice", NOW), LastAttempt::Refused(_)),
                refused,
                "{time:?}"
            );
        }
        let mut drop = lines(&["1: drop connection #1 from [192.0.2.1]:5 on [192.0.2.9]:22 Maxstartups"]);
        for line in &mut drop {
            line.time = Some(NOW - 600);
        }
        assert!(
            matches!(last_attempt(&drop, "alice", NOW), LastAttempt::None),
            "scanners cause some on any host"
        );
    }

    /// A client chooses its user name; other users exist, whose lines are not alice's.
    #[test]
    fn a_line_about_somebody_else() {
        for text in [
            "7: Invalid user alice from 192.0.2.1 not allowed because listed in DenyUsers from 192.0.2.1 port 5",
            "7: Invalid user User alice from 192.0.2.1 not allowed because x from 192.0.2.1 port 5",
            "7: Invalid user fatal: Access denied for user alice by PAM account configuration from 192.0.2.1 port 5",
            "7: User alicette from 192.0.2.1 not allowed because listed in DenyUsers",
            "7: User bob from 192.0.2.1 not allowed because listed in DenyUsers",
            "7: fatal: Access denied for user bob by PAM account configuration [preauth]",
            "7: fatal: Access denied for user alice-2 by PAM account configuration [preauth]",
            "7: error: maximum authentication attempts exceeded for invalid user alice from 192.0.2.1 port 5 ssh2",
            "7: Failed password for invalid user alice from 192.0.2.1 port 5 ssh2",
            "7: Connection closed by invalid user alice 192.0.2.1 port 5 [preauth]",
            "7: pam_access(sshd:account): access denied for user `alice' from `192.0.2.1'",
            "8: fatal: bad ownership or modes for chroot directory \"/srv/jail\"",
            "7: Unable to negotiate with 192.0.2.1 port 5: no matching key exchange method found. [preauth]",
        ] {
            assert_eq!(note(&[text], "alice"), "None", "{text}");
        }
        let others = [
            "7: pam_access(sshd:account): access denied for user `bob' from `192.0.2.1'",
            "7: fatal: Access denied for user bob by PAM account configuration [preauth]",
            ACCEPTED,
        ];
        assert_eq!(note(&others, "alice"), "LoggedIn(60)", "a process number that is used again");
        let again = [ACCEPTED, "7: User alice from 192.0.2.1 not allowed because listed in DenyUsers"];
        assert!(note(&again, "alice").contains("DenyUsers"), "again");
        let mut eic_keys = lines(&["7: User alice from 192.0.2.1 not allowed because listed in DenyUsers"]);
        for line in &mut eic_keys {
            line.program = "eic-keys".to_owned();
        }
        assert!(matches!(last_attempt(&eic_keys, "alice", NOW), LastAttempt::None));
    }

    #[test]
    fn an_attempt_without_a_reason() {
        assert_eq!(note(&[CLOSED], "alice"), "Ended(60)");
        let scanner = [
            "7: Failed password for alice from 192.0.2.1 port 5 ssh2",
            "7: error: maximum authentication attempts exceeded for alice from 192.0.2.1 port 5 ssh2 [preauth]",
        ];
        assert_eq!(note(&scanner, "alice"), "Ended(60)", "a scanner is no client with many keys");
    }
}
