//! Explains what sshd and PAM say about a login that failed.

use std::path::Path;

use crate::check::fault::Fault;
use crate::check::fix::CommandWord::Value;
use crate::check::fix::Fix;
use crate::check::known_messages::MessageSource::{self, Output, Pam, Sshd};
use crate::check::known_messages::{
    ANY_MODULE, CHROOT, FixCommand, KnownMessage, LDAP, MISSING_MODULES, MODULE_UNKNOWN, NO_PROGRAM,
    NOT_FOUND, RAISE_PROCESSES, REASONS, REFUSALS, without_level,
};

use super::pam_log::PamMessages;
use crate::config_tree::ConfigTree;
use crate::files;
use crate::limits;
use crate::system_log::ANYBODY;
use crate::system_log::accepted::ACCEPTED_KEY;

/// The messages about a login.
#[derive(Debug)]
pub(super) struct LoginMessages<'a> {
    pub(super) user: &'a str,
    /// sshd's messages.
    pub(super) sshd: &'a [String],
    /// Messages of PAM's modules, from the system log.
    pub(super) pam: &'a PamMessages,
    /// The output of the session and of ssh.
    pub(super) output: &'a str,
    /// `ForceCommand`, if set.
    pub(super) forced: Option<&'a str>,
    /// Days since 1970-01-01.
    pub(super) today: u64,
    /// The root directory, for the user's lines in its files.
    pub(super) root: &'a Path,
}

/// A message that only a rehearsal explains.
struct RehearsalMessage {
    source: MessageSource,
    /// Parts of the message, in this order.
    parts: &'static [&'static str],
    advice: &'static str,
    command: FixCommand,
    /// Whether nologin(8) says it, which `ForceCommand` can run, too.
    by_nologin: bool,
}

const fn message(
    source: MessageSource,
    parts: &'static [&'static str],
    advice: &'static str,
) -> RehearsalMessage {
    RehearsalMessage { source, parts, advice, command: FixCommand::None, by_nologin: false }
}

/// No command, because the user's own start files can print these words.
const AGE: &str =
    "if the password has expired (chage --list), set the day of its last change: chage --lastday";
const NO_HOST_KEY: &str = "change HostKeyAlgorithms, or create a host key of a type that it allows: it allows none of this system's host keys";
const NO_ALGORITHM: &str = "change Ciphers, MACs, KexAlgorithms or HostKeyAlgorithms in sshd's configuration: ssh, whose offer the message has, \
     supports none of them";
const LOGINS: &str =
    "raise maxlogins or maxsyslogins in /etc/security/limits.conf and limits.d, or end other sessions";

/// Messages before [`REASONS`]: a rehearsal offers one key only.
const ONE_KEY: &[RehearsalMessage] = &[
    message(Sshd, &["maximum authentication attempts exceeded for "], TRIES),
    message(Sshd, &[": Too many authentication failures"], TRIES),
];
const TRIES: &str = "set MaxAuthTries 6 in sshd's configuration, and reload sshd: it refuses the first key";

/// More messages, after [`REASONS`] and before [`REFUSALS`]. The first row that matches a line counts; specific rows
/// are first.
const OWN: &[RehearsalMessage] = &[
    message(
        Sshd,
        &["chroot(\"/run/sshd\")"],
        "see running.daemon: the directory exists while sshd's unit is active, and systemd removed it",
    ),
    message(Sshd, &["chroot path does not begin at root"], CHROOT),
    message(Sshd, &["chroot(\""], CHROOT),
    message(
        Sshd,
        &["Could not get shadow information"],
        "add the user's line to /etc/shadow: pwconv(8) does so",
    ),
    message(
        Sshd,
        &["openpty: No space left"],
        "no pseudo-terminal is free: end sessions or programs that use one, or raise kernel.pty.max (sysctl -w, and in /etc/sysctl.d) or the \
         option max= of the file system on /dev/pts",
    ),
    message(Sshd, &["openpty:"], "mount devpts on /dev/pts: see mount(8) and pts(4)"),
    message(Sshd, &["no more sessions"], "set MaxSessions to 1 or more"),
    message(
        Sshd,
        &["Could not open ", "authorized keys ", "Permission denied"],
        "let every user enter / and /run (mode 0755): the user cannot read any file there",
    ),
    message(Sshd, &["Resource temporarily unavailable"], RAISE_PROCESSES),
    RehearsalMessage {
        command: FixCommand::ResetPasswordAge,
        ..message(Pam, &["(sshd:account)", "expired"], AGE)
    },
    message(Pam, &["pam_limits(", "oo many logins"], LOGINS),
    message(Pam, &["pam_limits(", "o logins allowed"], LOGINS),
    message(Output, &["assword", "expired"], AGE),
    message(Output, &["Password change required"], AGE),
    message(Output, &["oo many logins"], LOGINS),
    message(
        Output,
        &["PTY allocation request failed"],
        "mount devpts on /dev/pts, and check PermitTTY in sshd's configuration",
    ),
    message(
        Sshd,
        &["Connection refused by tcp wrapper"],
        "the client of a rehearsal is 127.0.0.1: allow it in the first lines of /etc/hosts.allow; if network.wrappers has no rule that \
         refuses it, sshd cannot read that file: see confinement.unit for its limit of open files",
    ),
    message(Sshd, &["No supported key exchange algorithms"], NO_HOST_KEY),
    // ssh logs this as information, which a rehearsal does not read.
    message(Sshd, &["Unable to negotiate with "], NO_ALGORITHM),
    message(Output, &["Unable to negotiate with "], NO_ALGORITHM),
    RehearsalMessage {
        by_nologin: true,
        ..message(
            Output,
            &["This account is currently not available"],
            "set a login shell that allows logins: usermod --shell",
        )
    },
    message(Pam, &[NOT_FOUND], NO_PROGRAM),
    message(Pam, &["pam_ldap(sshd:", "nslcd"], LDAP),
    message(Pam, GENERIC, ANY_MODULE),
];

/// Messages after [`REFUSALS`].
const OTHERS: &[RehearsalMessage] = &[
    message(
        Sshd,
        &["PAM: pam_setcred"],
        "check the auth lines of /etc/pam.d/sshd, and what its modules log (authpriv)",
    ),
    message(Sshd, &["fatal: PAM: "], "check /etc/pam.d/sshd, and what its modules log (authpriv)"),
];

/// Any message of a PAM module for sshd.
const GENERIC: &[&str] = &["(sshd:"];

/// The number of messages to show.
const SHOWN: usize = 8;

/// The number of lines of the session to show.
const SHOWN_LINES: usize = 3;

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
    ACCEPTED_KEY,
    // In a Match block, sshd takes `none` for a path that it does not run.
    "AuthorizedKeysCommand path is not absolute",
    "syslogin_perform_logout: ",
];

impl LoginMessages<'_> {
    /// The message that explains the failure, and the fix. `None` if no message is known.
    pub(super) fn explain(&self) -> Option<Fault> {
        let own = |rows: &'static [RehearsalMessage]| {
            let is_forced = self.forced.is_some_and(|command| command.contains("nologin"));
            rows.iter().filter(|row| !is_forced || !row.by_nologin).find_map(|row| {
                self.reason(row.source, row.command, row.advice, |line| contains(line, row.parts))
            })
        };
        let known = |rows: &'static [KnownMessage]| {
            rows.iter().find_map(|row| {
                self.reason(row.source, row.command, row.advice, |line| row.is(without_level(line)))
            })
        };
        // PAM also logs that a module is missing that no login needs.
        let is_missing = self.sshd.iter().any(|line| plain(line).starts_with(MODULE_UNKNOWN));
        own(ONE_KEY)
            .or_else(|| known(&REASONS))
            .or_else(|| if is_missing { known(&MISSING_MODULES) } else { None })
            .or_else(|| own(OWN))
            .or_else(|| known(&MISSING_MODULES))
            .or_else(|| known(&REFUSALS))
            .or_else(|| own(OTHERS))
    }

    /// The last message of a source that matches, and the fix.
    fn reason(
        &self,
        source: MessageSource,
        command: FixCommand,
        advice: &str,
        matches: impl Fn(&str) -> bool,
    ) -> Option<Fault> {
        if source == Pam && command != FixCommand::ResetPasswordAge && !self.pam_refused() {
            return None;
        }
        let output: Vec<String>;
        let lines = match source {
            Sshd => {
                output = self.sshd.iter().filter(|line| is_said(line)).cloned().collect();
                &output
            }
            Pam => &self.pam.lines,
            Output => {
                output = self.output.lines().map(|line| line.trim().to_owned()).collect();
                &output
            }
        };
        let line = plain(lines.iter().rev().find(|line| matches(line))?);
        let note = match source {
            Sshd => format!("sshd says: {line}"),
            Pam => format!("PAM refuses the login: {line}{}", self.caveat()),
            Output => format!("the session says: {line}"),
        };
        Some(Fault::new(note, self.fix(command, advice)))
    }

    /// The caveat about PAM's messages.
    fn caveat(&self) -> String {
        match &self.pam.file {
            None => String::new(),
            Some(file) => {
                format!(" (from {}, to which {ANYBODY} can write such lines)", file.display())
            }
        }
    }

    /// Whether PAM can have refused the login: sshd says so, or there was no session. Modules also log what is no
    /// refusal.
    fn pam_refused(&self) -> bool {
        let words =
            ["by PAM account configuration", "PAM: pam_open_session", "PAM: pam_setcred", "fatal: PAM: "];
        let says = |text: &str| self.sshd.iter().any(|line| line.contains(text) && is_said(line));
        words.into_iter().any(says) || !says("Starting session: ")
    }

    fn fix(&self, command: FixCommand, advice: &str) -> Fix {
        let of_local_user = |command: Fix| command.for_local_user(self.root, self.user);
        match command {
            FixCommand::None => Fix::advice(advice),
            FixCommand::WithUser(words) => Fix::command(words, [Value(self.user)]),
            FixCommand::ForLocalUser(words) => of_local_user(Fix::command(words, [Value(self.user)])),
            FixCommand::ResetPasswordAge => {
                let words = [Value(&self.today.to_string()), Value(self.user)];
                of_local_user(Fix::command("chage --lastday", words))
            }
        }
    }

    /// The last line of ssh's own words, if there was no session.
    pub(super) fn last_of_ssh(&self) -> Option<&str> {
        self.output.lines().map(str::trim).rfind(|line| !line.is_empty())
    }

    /// What sshd says if the login shell cannot be run: its path, and the error of execve(2); or the dynamic linker.
    pub(super) fn shell_error(&self) -> Option<&str> {
        let errors = [": Permission denied", ": Exec format error", ": No such file or directory"];
        let mut lines = self.output.lines().map(str::trim);
        let is_shell = |path: &&str| path.starts_with('/') && !path.contains(' ');
        let path = |line: &&str| {
            errors.iter().any(|error| line.strip_suffix(error).is_some_and(|path| is_shell(&path)))
        };
        lines.rfind(|line| path(line) || line.contains("error while loading shared libraries"))
    }

    /// Whether sshd accepted the key: what follows is PAM's account check.
    pub(super) fn key_accepted(&self) -> bool {
        let words = ["Accepted key ", "Postponed publickey ", ACCEPTED_KEY];
        self.sshd.iter().any(|line| words.iter().any(|words| plain(line).starts_with(words)))
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
        let said = said.get(said.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
        lines.extend(said.iter().map(|line| format!("session: {line}")));
        lines.drain(..lines.len().saturating_sub(SHOWN));
        lines
    }
}

/// The last line that the session prints of its own: neither the message of the day nor sshd's line about the last login, which follows
/// what PAM's modules say.
pub(super) fn last_words(output: &str, root: &Path) -> Option<String> {
    /// Longer lines are cut.
    const LENGTH: usize = 200;
    let motd = message_of_the_day(root);
    let usual = |line: &str| line.is_empty() || motd.lines().any(|other| other.trim() == line);
    let own = output
        .rsplit_once("Last login: ")
        .map_or(output, |(_, rest)| rest.split_once('\n').map_or("", |(_, own)| own));
    let line = own.lines().map(str::trim).rfind(|line| !usual(line))?;
    Some(line.chars().take(LENGTH).collect())
}

/// What `pam_motd` shows, with what the scripts in `/etc/update-motd.d` have printed at this login.
fn message_of_the_day(root: &Path) -> String {
    let (tree, mut text) = (ConfigTree::new(root), String::new());
    for place in ["/etc/motd", "/run/motd", "/usr/lib/motd"] {
        let files = tree.glob(format!("{place}.d/*").as_bytes(), usize::MAX);
        let names = files.into_iter().take(limits::MOTD_FILES);
        let names = names.map(|file| file.to_string_lossy().into_owned());
        for file in [place.to_owned(), format!("{place}.dynamic")].into_iter().chain(names) {
            text += &files::system_text(root, &file);
            text.push('\n');
        }
    }
    text
}

/// Whether a line contains all parts in this order.
fn contains(line: &str, parts: &[&str]) -> bool {
    let mut rest = Some(line);
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

/// Whether it is no message of a failure that sshd ignores: that of modules that only a password needs.
fn is_said(line: &str) -> bool {
    !line.starts_with("debug1: PAM: pam_setcred")
}

/// A message of sshd without what its log adds.
fn plain(line: &str) -> &str {
    without_level(line.strip_prefix("debug1: ").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::{LoginMessages, PamMessages, last_words, message_of_the_day};
    use crate::limits;

    /// The note and the fix for messages of sshd, PAM and the session.
    fn explained(sshd: &str, pam: &str, output: &str) -> Option<(String, String)> {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let root = std::env::temp_dir().join(format!("eic-keys-messages-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).ok();
        std::fs::write(root.join("etc/passwd"), "alice:x:1:1::/:/bin/sh\n").ok();
        let (sshd, pam) = (lines(sshd), PamMessages { lines: lines(pam), file: None });
        let messages = LoginMessages {
            user: "alice",
            sshd: &sshd,
            pam: &pam,
            output,
            forced: None,
            today: 20000,
            root: &root,
        };
        let fault = messages.explain();
        std::fs::remove_dir_all(&root).ok();
        fault.map(|fault| (fault.note, fault.fix.text().to_owned()))
    }

    #[test]
    fn what_the_session_says_last() {
        let root = std::env::temp_dir().join(format!("eic-keys-motd-{}", std::process::id()));
        std::fs::create_dir_all(root.join("run")).ok();
        std::fs::create_dir_all(root.join("usr/lib/motd.d")).ok();
        std::fs::write(root.join("run/motd.dynamic"), "Linux vm 6.1\n").ok();
        std::fs::write(root.join("usr/lib/motd.d/30-banner"), "   Welcome  \n").ok();
        let motd = "Linux vm 6.1\r\n   Welcome\r\n";
        let login = "/x failed: exit code 1\r\nLast login: Mon from 192.0.2.1\r\n";
        for own in [Some("quota exceeded"), None] {
            let line = own.unwrap_or_default();
            for output in [format!("{motd}{login}{line}\r\n"), format!("{line}\r\n{motd}")] {
                assert_eq!(last_words(&output, &root).as_deref(), own, "{output}");
            }
        }
        std::fs::remove_dir_all(&root).ok();
    }

    #[test]
    fn the_files_of_a_message_of_the_day() {
        let root = std::env::temp_dir().join(format!("eic-keys-motd-files-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc/motd.d")).ok();
        for number in 0..=limits::MOTD_FILES {
            std::fs::write(root.join(format!("etc/motd.d/{number:04}")), format!("line {number}\n")).ok();
        }
        let text = message_of_the_day(&root);
        std::fs::remove_dir_all(&root).ok();
        let has = |number: usize| text.lines().any(|line| line == format!("line {number}"));
        assert!(has(0) && has(limits::MOTD_FILES.saturating_sub(1)) && !has(limits::MOTD_FILES));
    }

    #[test]
    fn messages_and_their_fixes() {
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
                "error: openpty: No such file or directory",
                "",
                "",
                "sshd says: openpty: No such file or directory",
                "mount devpts on /dev/pts",
            ),
            (
                "error: openpty: No space left on device",
                "",
                "",
                "sshd says: openpty: No space left on device",
                "no pseudo-terminal is free: end sessions",
            ),
            (
                "fatal: chroot(\"/run/sshd\"): No such file or directory [preauth]",
                "",
                "",
                "sshd says: chroot(\"/run/sshd\"): No such file or directory",
                "see running.daemon",
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
                "debug1: Connection refused by tcp wrapper\n",
                "",
                "kex_exchange_identification: read: Connection reset by peer\n",
                "sshd says: Connection refused by tcp wrapper",
                "127.0.0.1",
            ),
            (
                "fatal: No supported key exchange algorithms\n",
                "",
                "Connection reset by 127.0.0.1 port 22\n",
                "sshd says: No supported key exchange algorithms",
                "HostKeyAlgorithms",
            ),
            (
                "debug1: x\n",
                "",
                "Unable to negotiate with 127.0.0.1 port 22: no matching MAC found. Their offer: hmac-md5\n",
                "the session says: Unable to negotiate with 127.0.0.1 port 22: no matching MAC found.",
                "MACs",
            ),
        ] {
            let explained = explained(sshd, pam, output).unwrap_or_default();
            assert!(explained.0.starts_with(note) && explained.1.contains(fix), "{explained:?}");
        }
    }

    #[test]
    fn messages_of_the_session() {
        for (said, fix) in [
            ("This account is currently not available.", "usermod --shell"),
            ("WARNING: Your password has expired.", "chage --list"),
        ] {
            let output = format!("{said}\r\n");
            let explained =
                explained("Starting session: command for alice\n", "", &output).unwrap_or_default();
            assert_eq!(explained.0, format!("the session says: {said}"));
            assert!(explained.1.contains(fix), "{explained:?}");
        }
    }

    #[test]
    fn messages_that_are_not_the_reason() {
        assert_eq!(explained("debug1: x", "", "hello"), None);
        let missing = "PAM unable to dlopen(pam_gone.so): no such file";
        let words = format!("{missing}\npam_exec(sshd:session): /bin/false failed: exit code 1");
        for (error, expected) in
            [("System error", "pam_exec("), ("Module is unknown", "PAM unable to dlopen(")]
        {
            let sshd = format!("error: PAM: pam_open_session(): {error}");
            let (note, _) = explained(&sshd, &words, "").unwrap_or_default();
            assert!(note.contains(&format!("PAM refuses the login: {expected}")), "{note}");
        }
        // A module also logs what is no reason to refuse.
        assert_eq!(explained("Starting session: x", "pam_succeed_if(sshd:session): x", ""), None);
        // A module of an auth line is missing, which no key needs.
        let ignored = "debug1: PAM: pam_setcred(): Module is unknown\nStarting session: x";
        assert_eq!(explained(ignored, "pam_mount(sshd:session): x", ""), None);
    }
}
