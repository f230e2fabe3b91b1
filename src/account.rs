//! User accounts, from the name service.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files;
use crate::limits;
use crate::process::Credentials;
use crate::tool::{ask, stdout_of};

/// The user id of nobody (systemd: uids-gids).
pub(crate) const NOBODY: u32 = 65534;

/// The lines of a user or group in the text of passwd(5), shadow(5) or group(5).
pub(crate) fn entries<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(move |line| line.split(':').next() == Some(name))
}

/// Whether a user or group has a line in the text of such a file.
pub(crate) fn has_entry(text: &str, name: &str) -> bool {
    entries(text, name).next().is_some()
}

/// The locks of the tools that change accounts (package passwd) that no such tool holds: they have the number of another process that
/// runs. The tools remove that of a process that does not run.
pub(crate) fn stale_locks(root: &Path) -> impl Iterator<Item = &'static str> {
    const LOCKS: [&str; 4] = ["/etc/passwd.lock", "/etc/shadow.lock", "/etc/group.lock", "/etc/gshadow.lock"];
    const TOOLS: [&str; 10] =
        ["user", "group", "passwd", "chage", "chsh", "chfn", "vi", "pw", "gr", "newusers"];
    let below = |path: &str| files::below(root, Path::new(path));
    LOCKS.into_iter().filter(move |lock| {
        let text = files::read_text(&below(lock), 64).unwrap_or_default();
        let Ok(process) = text.trim_matches(['\0', '\n', ' ']).parse::<u32>() else { return false };
        let name = files::read_text(&below(&format!("/proc/{process}/comm")), limits::PROC_FILE);
        name.is_ok_and(|name| !TOOLS.iter().any(|tool| name.starts_with(tool)))
    })
}

/// A user account of the target, from the name service.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The names of the groups: the primary group and the supplementary ones.
    pub(crate) groups: Vec<String>,
    pub(crate) gids: Vec<u32>,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl Account {
    /// Runs `getent`: a static binary must not load a name service library.
    pub(crate) fn find(name: &str) -> io::Result<Option<Self>> {
        let ran = ask("getent", &["passwd", "--", name]).map_err(|error| {
            io::Error::new(error.kind(), format!("users cannot be looked up: getent: {error}"))
        })?;
        let text = String::from_utf8_lossy(&ran.stdout);
        // A carriage return at the end belongs to the shell.
        let Some(account) = text.split('\n').find_map(Self::read).filter(|account| account.name == name)
        else {
            return Ok(None);
        };
        // As sshd does with initgroups(3), for a user of /etc/passwd, too: that asks each name service.
        let hangs = |error: io::Error| {
            let words = format!("the groups of {name} cannot be looked up: id -G {name}: {error}");
            io::Error::new(error.kind(), words)
        };
        let ids = match ask("id", &["-G", "--", name]) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(hangs(error)),
            ran => ran.ok().filter(|ran| ran.status.success()).map(|ran| ran.stdout).unwrap_or_default(),
        };
        let ids = String::from_utf8_lossy(&ids).into_owned();
        let ids: Vec<_> = ids.split_whitespace().collect();
        // sshd leaves out a group without a name, for which getent fails. A name can contain blanks.
        let named = match ids.as_slice() {
            [] => Vec::new(),
            ids => ask("getent", &[&["group", "--"], ids].concat()).map_err(hangs)?.stdout,
        };
        let named = String::from_utf8_lossy(&named).into_owned();
        Ok(Some(Self {
            groups: named.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect(),
            gids: ids.iter().filter_map(|gid| gid.parse().ok()).collect(),
            ..account
        }))
    }

    /// The credentials with which sshd runs a command for this user, with supplementary groups (OpenSSH 8.8 and
    /// later).
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials { uid: self.uid, gid: self.gid, groups: self.gids.clone() }
    }

    /// Whether the mode of a file gives this user these permissions: 4 read, 2 write, 1 execute.
    pub(crate) fn may(&self, bits: u32, metadata: &fs::Metadata) -> bool {
        let shift = if metadata.uid() == self.uid {
            6
        } else if self.gid == metadata.gid() || self.gids.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        (metadata.mode() >> shift) & bits == bits
    }

    /// Parses a line of passwd(5).
    fn read(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
        Some(Self {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            groups: Vec::new(),
            gids: Vec::new(),
            home: home.into(),
            shell: if shell.is_empty() { "/bin/sh" } else { shell }.into(),
        })
    }
}

/// Describes a user by number and, if known, by name.
pub(crate) fn describe_user(uid: u32) -> String {
    let number = uid.to_string();
    let line = stdout_of("getent", &["passwd", "--", &number]);
    let account =
        line.ok().and_then(|text| text.lines().find_map(Account::read)).filter(|one| one.uid == uid);
    account.map_or_else(|| format!("uid {uid}"), |account| format!("{} (uid {uid})", account.name))
}

/// Whether this process runs as root. Some checks need root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
