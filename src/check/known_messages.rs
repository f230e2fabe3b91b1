//! The messages of sshd and PAM that say why a login was refused: what they mean, and the fix.
//!
//! `last_attempt` looks for them in the log, and a rehearsal in the messages of its own login.

use MessageSource::{Pam, Sshd};

use crate::sshd::config::PUBKEY_ACCEPTED_ALGORITHMS;

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageSource {
    Sshd,
    Pam,
    /// The output of a session.
    Output,
}

/// The command that fixes it, for the user of a rehearsal. A message of the log gets no command: other users can have
/// lines written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixCommand {
    None,
    /// With the user as last word.
    WithUser(&'static str),
    /// With the user as last word. It changes the user's line in passwd(5) or shadow(5).
    ForLocalUser(&'static str),
    /// The password was last changed today.
    ResetPasswordAge,
}

impl FixCommand {
    /// Whether it changes the user's line in passwd(5) or shadow(5).
    pub(crate) fn changes_account(self) -> bool {
        matches!(self, Self::ForLocalUser(_) | Self::ResetPasswordAge)
    }
}

/// A message that says why a login was refused, or why a session ended before it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownMessage {
    pub(crate) source: MessageSource,
    /// How the message begins, without its level (see [`without_level`]).
    begins: &'static str,
    /// What follows in the same message, at any place; can be empty.
    contains: &'static str,
    /// What it means, as the end of a sentence.
    pub(crate) means: &'static str,
    pub(crate) advice: &'static str,
    pub(crate) command: FixCommand,
    /// The setting of sshd by which it refuses, if that alone decides, in lower case.
    pub(crate) setting: Option<&'static str>,
    /// Whether it still counts when a key is accepted.
    pub(crate) counts_after_a_key: bool,
    /// Whether it says only that PAM refused the account, and the reason is known if a module logged it.
    pub(crate) is_unexplained: bool,
}

impl KnownMessage {
    const fn command(mut self, command: FixCommand) -> Self {
        self.command = command;
        self
    }

    const fn by(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }

    const fn also_after_a_key(mut self) -> Self {
        self.counts_after_a_key = true;
        self
    }

    const fn unexplained(mut self) -> Self {
        self.is_unexplained = true;
        self
    }

    /// Whether it is this message, given without its level.
    pub(crate) fn is(&self, message: &str) -> bool {
        message.strip_prefix(self.begins).is_some_and(|rest| rest.contains(self.contains))
    }

    /// Whether both are the same row.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.source, self.begins, self.contains) == (other.source, other.begins, other.contains)
    }
}

/// A message without what sshd adds: its level, and the process that it comes from.
pub(crate) fn without_level(message: &str) -> &str {
    let message = message.strip_suffix(" [preauth]").unwrap_or(message);
    ["error: ", "fatal: "].iter().find_map(|level| message.strip_prefix(level)).unwrap_or(message)
}

const fn sshd(
    begins: &'static str,
    contains: &'static str,
    means: &'static str,
    advice: &'static str,
) -> KnownMessage {
    KnownMessage {
        source: Sshd,
        begins,
        contains,
        means,
        advice,
        command: FixCommand::None,
        setting: None,
        counts_after_a_key: false,
        is_unexplained: false,
    }
}

const fn pam(
    begins: &'static str,
    contains: &'static str,
    means: &'static str,
    advice: &'static str,
) -> KnownMessage {
    KnownMessage { source: Pam, ..sshd(begins, contains, means, advice) }
}

pub(crate) const CHROOT: &str = "ChrootDirectory and every directory above it must exist, belong to root, and be writable by root only \
                                 (mode 0755 at most)";
const UNEXPIRE: &str = "remove the account's expiry date: chage --expiredate -1";
const NEW_PASSWORD: &str = "set a new password, or disable its expiry: chage --maxdays -1 --inactive -1";
const NO_MODULE: &str = "PAM cannot load a module that /etc/pam.d names, and refuses the account";
/// What to do about a module of PAM that is missing.
pub(crate) const MODULE: &str = "if the module's file exists, install it and its libraries again: see sshd.pam; otherwise install the module, or remove its line from /etc/pam.d/sshd and the files that it includes";
const ONE_KEY: &str = "offer only the key that was pushed: ssh -o IdentitiesOnly=yes -i KEY; if that does not help, sshd.tries says more";
const FEW_FILES: &str = "the session cannot start: the limit of open files is too low";
const RAISE_FILES: &str =
    "raise nofile in /etc/security/limits.conf or limits.d, or LimitNOFILE of sshd's unit";
const FEW_PROCESSES: &str = "the session cannot start: the user has as many processes as the limit allows";
/// What to do about a limit of processes.
pub(crate) const RAISE_PROCESSES: &str = "raise the limit on the user's processes: nproc in /etc/security/limits.conf and limits.d, TasksMax of \
     user.slice";
const MAX_STARTUPS: &str = "sshd drops connections: too many others are being authenticated (MaxStartups)";
const STARTUPS: &str = "find out which clients open these connections (ss -tn), or raise MaxStartups, and PerSourceMaxStartups if they have one address; then reload sshd";

/// The messages about a user or a session that name the reason, the more specific one first. They are about the user
/// whom another line of the same process names.
pub(crate) const REASONS: [KnownMessage; 38] = [
    sshd(
        "User ",
        " not allowed because listed in DenyUsers",
        "the user is listed in DenyUsers",
        "remove the user from DenyUsers in sshd's configuration, and reload sshd",
    )
    .by("denyusers"),
    sshd(
        "User ",
        " not allowed because not listed in AllowUsers",
        "the user, or the user from that address, is not listed in AllowUsers",
        "add the user to AllowUsers in sshd's configuration, and reload sshd",
    )
    .by("allowusers"),
    sshd(
        "User ",
        " not allowed because a group is listed in DenyGroups",
        "a group of the user is listed in DenyGroups",
        "remove the group from DenyGroups in sshd's configuration and reload sshd, or the user from the group",
    )
    .by("denygroups"),
    sshd(
        "User ",
        " not allowed because none of user's groups are listed in AllowGroups",
        "no group of the user is listed in AllowGroups",
        "add the user to a group of AllowGroups, or the group to AllowGroups and reload sshd",
    )
    .by("allowgroups"),
    sshd(
        "User ",
        " not allowed because not in any group",
        "the user is in no group, and AllowGroups or DenyGroups is set",
        "create the primary group of the user: getent group does not find it",
    ),
    sshd(
        "User ",
        " not allowed because shell ",
        "the login shell does not exist or is not executable",
        "install that shell, or set another one: usermod --shell",
    )
    .command(FixCommand::ForLocalUser("usermod --shell /bin/bash")),
    sshd(
        "User ",
        " not allowed because account is locked",
        "the account is locked, and sshd refuses locked accounts because UsePAM is no",
        "set UsePAM yes, or unlock the account: usermod --password '*'",
    )
    .command(FixCommand::ForLocalUser("usermod --password *")),
    sshd("User ", " not allowed because account has expired", "the account has expired", UNEXPIRE),
    sshd("Account ", " has expired", "the account has expired", UNEXPIRE)
        .command(FixCommand::ForLocalUser("chage --expiredate -1")),
    sshd(
        "User ",
        " not allowed because ",
        "sshd does not allow the user",
        "check AllowUsers, DenyUsers, AllowGroups and DenyGroups: see sshd.access",
    ),
    sshd(
        "ROOT LOGIN REFUSED",
        "",
        "PermitRootLogin does not allow root to log in",
        "log in as another user, or set PermitRootLogin prohibit-password and reload sshd",
    ),
    pam(
        "pam_unix(sshd:account): account ",
        "(account expired)",
        "PAM refuses the account, which has expired",
        UNEXPIRE,
    )
    .command(FixCommand::ForLocalUser("chage --expiredate -1")),
    pam(
        "pam_unix(sshd:account): account ",
        "(failed to change password)",
        "PAM refuses the account: its password expired, and was not changed in time",
        NEW_PASSWORD,
    )
    .command(FixCommand::ResetPasswordAge),
    pam(
        "pam_unix(sshd:account): expired password for user ",
        "",
        "the password has expired and must be changed, which only a login with a terminal can do",
        "set a new password, or disable its expiry: chage --maxdays -1, and --lastday if it must be changed at once",
    )
    .command(FixCommand::ResetPasswordAge)
    .also_after_a_key(),
    pam(
        "pam_access(sshd:account): access denied for user ",
        "",
        "PAM refuses the account: pam_access, by /etc/security/access.conf or access.d",
        "allow the user, or the address, in /etc/security/access.conf or in the file that pam_access reads",
    ),
    pam(
        "pam_time(sshd:account): ",
        "",
        "PAM refuses the account: pam_time, by /etc/security/time.conf",
        "allow the user at this time in /etc/security/time.conf",
    ),
    pam(
        "pam_listfile(sshd:account): Refused user ",
        "",
        "PAM refuses the account: pam_listfile, by the file that its line in /etc/pam.d names",
        "change the list of users that pam_listfile reads: see /etc/pam.d/sshd",
    ),
    pam(
        "pam_succeed_if(sshd:account): requirement ",
        " not met by user ",
        "PAM refuses the account: pam_succeed_if, by its line in /etc/pam.d",
        "change the condition of pam_succeed_if in /etc/pam.d/sshd or a file that it includes",
    ),
    pam(
        "pam_nologin(sshd:account): ",
        "",
        "PAM refuses the account: pam_nologin, because of /etc/nologin or /run/nologin",
        "remove /etc/nologin or /run/nologin: see user.nologin",
    ),
    pam(
        "pam_faillock(sshd:",
        "temporarily locked",
        "PAM refuses the account: pam_faillock, after failed logins",
        "reset the count: faillock --user USER --reset",
    )
    .command(FixCommand::WithUser("faillock --reset --user")),
    pam(
        "pam_tally2(sshd:",
        "",
        "PAM refuses the account: pam_tally2, after failed logins",
        "reset the count: pam_tally2 --user USER --reset",
    )
    .command(FixCommand::WithUser("pam_tally2 --reset --user")),
    pam(
        "pam_sss(sshd:account): Access denied for user ",
        ": 10 (",
        "PAM refuses the account: SSSD does not know the user",
        "let the line of pam_sss ignore users that SSSD does not know, or add account sufficient pam_localuser.so before it: see user.pam",
    ),
    pam(
        "pam_sss(sshd:account): Access denied for user ",
        "",
        "PAM refuses the account: SSSD's access provider",
        "check access_provider in sssd.conf(5), and the access rules of the directory",
    ),
    pam(
        "pam_winbind(sshd:account): ",
        "",
        "PAM refuses the account: Winbind",
        "check require_membership_of in pam_winbind.conf(5)",
    ),
    pam(
        "pam_shells(sshd:account): ",
        "invalid shell",
        "PAM refuses the account: pam_shells, because /etc/shells does not list the login shell",
        "add the shell to /etc/shells, or set another one: usermod --shell",
    ),
    sshd(
        "Error checking authentication key ",
        " in revoked keys file ",
        "sshd cannot read the file of RevokedKeys, and so refuses every key",
        "make that file readable and valid (it can be empty), or remove RevokedKeys and reload sshd",
    ),
    sshd("Authentication key ", " revoked by file ", "the key is in the file of RevokedKeys", "push another key"),
    sshd(
        "maximum authentication attempts exceeded for ",
        "",
        "the client offered more keys than MaxAuthTries allows",
        ONE_KEY,
    ),
    sshd(
        "Disconnecting authenticating user ",
        ": Too many authentication failures",
        "the client offered more keys than MaxAuthTries allows",
        ONE_KEY,
    ),
    sshd(
        "userauth_pubkey: ",
        " not in PubkeyAccepted",
        "PubkeyAcceptedAlgorithms does not allow the type of the key",
        "push a key of another type, or allow this one and reload sshd",
    )
    .by(PUBKEY_ACCEPTED_ALGORITHMS),
    sshd(
        "refusing RSA key: ",
        "",
        "the RSA key is shorter than RequiredRSASize",
        "push a longer RSA key, or an Ed25519 key",
    ),
    sshd(
        "bad ownership or modes for chroot directory ",
        "",
        "the session cannot start: users other than root can change ChrootDirectory",
        CHROOT,
    ),
    sshd("safely_chroot: ", "", "the session cannot start: ChrootDirectory cannot be used", CHROOT),
    sshd("monitor_openfds: ", "Too many open files", FEW_FILES, RAISE_FILES),
    sshd("do_exec_no_pty: ", "Too many open files", FEW_FILES, RAISE_FILES),
    sshd("do_exec_pty: ", "Too many open files", FEW_FILES, RAISE_FILES),
    sshd("do_exec_no_pty: fork: ", "", FEW_PROCESSES, RAISE_PROCESSES),
    sshd("do_exec_pty: fork: ", "", FEW_PROCESSES, RAISE_PROCESSES),
];

/// PAM logs that a module is missing whether it needs that module or not.
pub(crate) const MISSING_MODULES: [KnownMessage; 2] = [
    pam("PAM unable to dlopen(", "", NO_MODULE, MODULE),
    pam("PAM adding faulty module: ", "", NO_MODULE, MODULE),
];

/// What sshd says if PAM opens no session because a module is missing.
pub(crate) const MODULE_UNKNOWN: &str = "PAM: pam_open_session(): Module is unknown";

/// What to do about a message of a PAM module that is not known.
pub(crate) const ANY_MODULE: &str = "change what this PAM module requires: see /etc/pam.d/sshd";

/// What to do about a script of `pam_exec` whose last program was not found.
pub(crate) const NO_PROGRAM: &str =
    "that script runs a program that is not installed, or not in its PATH: run it by hand as root";
/// How the message of such a script ends.
pub(crate) const NOT_FOUND: &str = "failed: exit code 127";
/// What to do if `pam_ldap` gets no answer.
pub(crate) const LDAP: &str =
    "start nslcd (systemctl status nslcd says why it does not run), and check whether its server answers";

/// What to do about a message of a PAM module that is not among the reasons.
pub(crate) fn of_module(message: &str) -> &'static str {
    if message.ends_with(NOT_FOUND) {
        NO_PROGRAM
    } else if message.contains("nslcd") {
        LDAP
    } else {
        ANY_MODULE
    }
}

/// The messages of sshd that PAM refused a login, without the reason.
pub(crate) const REFUSALS: [KnownMessage; 3] = [
    sshd(
        "Access denied for user ",
        " by PAM account configuration",
        "PAM refuses the account, and no module logged why",
        "see user.pam, user.nologin and the account lines of /etc/pam.d/sshd and the files that it includes; no message has a refusal \
         of pam_nologin, pam_time, pam_deny, pam_usertype, pam_wheel, pam_succeed_if with quiet, or pam_unix without a line in /etc/shadow",
    )
    .unexplained(),
    sshd(
        MODULE_UNKNOWN,
        "",
        "PAM cannot load a module that a session line of /etc/pam.d names, and opens no session",
        MODULE,
    ),
    sshd(
        "PAM: pam_open_session(): ",
        "",
        "PAM did not open the session",
        "check the session lines of /etc/pam.d/sshd and what its modules log; a refusal without a message: pam_limits with \
         maxlogins or maxsyslogins, or with a nofile that is too low, pam_env with an error in its file, and pam_systemd if \
         systemd-logind does not run",
    ),
];

/// Whether a message of a PAM module says nothing about why a login is refused: these modules also log at a login that works.
pub(crate) fn says_nothing(message: &str) -> bool {
    const BEGINS: [&str; 7] = [
        "pam_env(",
        "pam_limits(sshd:session): Could not set limit for ",
        "pam_mail(",
        "pam_motd(",
        "pam_systemd(",
        "pam_unix(sshd:session): session closed",
        "pam_unix(sshd:session): session opened",
    ];
    BEGINS.iter().any(|begin| message.starts_with(begin))
}

/// Messages about connections before a user is known.
pub(crate) const CONNECTIONS: [KnownMessage; 5] = [
    sshd(
        "PAM: initialisation failed",
        "",
        "PAM cannot read its configuration",
        "check that /etc/pam.d/sshd and /etc/pam.d/other exist and are valid",
    ),
    sshd(
        "drop connection #",
        " penalty: ",
        "sshd refuses connections from an address, as a penalty for failed attempts (PerSourcePenalties)",
        "if that is the client's address: wait some minutes, or exempt it (PerSourcePenaltyExemptList)",
    ),
    sshd("drop connection #", "", MAX_STARTUPS, STARTUPS),
    sshd("beginning MaxStartups throttling", "", MAX_STARTUPS, STARTUPS),
    sshd(
        "refused connect from ",
        "",
        "libwrap refuses connections, by /etc/hosts.allow or /etc/hosts.deny",
        "allow the address in the first lines of /etc/hosts.allow: sshd: ADDRESS",
    ),
];
