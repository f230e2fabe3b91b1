//! The end of the system's log.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::tool::told;
use crate::files;
use crate::limits;

/// Where syslog daemons write authpriv: Debian and Ubuntu; RHEL and Amazon Linux.
const FILES: [&str; 2] = ["var/log/auth.log", "var/log/secure"];

/// As what the parts of sshd run, and what they call themselves in the log: before OpenSSH 9.8 one program, since then two, since
/// 10.0 three.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

/// What sshd and eic-keys logged, the newest last.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) text: String,
    /// The file that it is from, in which any local user can have a line written. `None` for the journal, of which only those lines were
    /// taken whose sender the kernel told.
    pub(super) hearsay: Option<String>,
}

impl Log {
    /// What a note has to add.
    pub(super) fn reservation(&self) -> String {
        match &self.hearsay {
            None => String::new(),
            Some(file) => format!(" (by {file}, where any local user can have such lines written)"),
        }
    }
}

/// The last lines of root's sshd, and of eic-keys as root or as `users`; `None` where there is no log, or it may not be read.
pub(super) fn authpriv(root: &Path, users: &[u32]) -> Option<Log> {
    if let Some(text) = journal(users) {
        return Some(Log { text, hearsay: None });
    }
    FILES.iter().find_map(|file| {
        let text = tail(&root.join(file)).ok()?;
        Some(Log { text, hearsay: Some(format!("/{file}")) })
    })
}

/// What the journal has; `None` where there is none. Whoever can write to the log chooses `SYSLOG_IDENTIFIER`. What begins with `_` is told by the
/// kernel or by journald.
fn journal(users: &[u32]) -> Option<String> {
    let mut words: Vec<String> =
        ["--since", "-1day", "--lines", "1000", "--no-pager", "--quiet", "--output", "short-iso"]
            .map(str::to_owned)
            .to_vec();
    words.push("_UID=0".to_owned());
    words.extend(SSHD.iter().flat_map(|name| [format!("_COMM={name}"), format!("SYSLOG_IDENTIFIER={name}")]));
    words.push("+".to_owned());
    // eic-keys has often ended before journald looks for its _COMM and _EXE, which are then missing. Its user has no other process.
    words.push("_UID=0".to_owned());
    words.extend(users.iter().map(|uid| format!("_UID={uid}")));
    words.push("SYSLOG_IDENTIFIER=eic-keys".to_owned());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let text = told("journalctl", &words)?;
    // Nothing of theirs is in it, or it is empty altogether: then a syslog daemon may have it.
    let any =
        || told("journalctl", &["--lines", "1", "--no-pager", "--quiet"]).filter(|text| !text.is_empty());
    if text.is_empty() { any().map(|_| text) } else { Some(text) }
}

/// The last [`limits::LOG_TAIL`] bytes of a file.
pub(super) fn tail(path: &Path) -> io::Result<String> {
    let mut file = files::open(path)?;
    let start = file.metadata()?.len().saturating_sub(limits::LOG_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limits::LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
