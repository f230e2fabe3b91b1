//! Reads the end of the system log.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::tool::stdout_of;
use crate::files;
use crate::limits;

/// The log files for authpriv: Debian and Ubuntu; RHEL and Amazon Linux.
const FILES: [&str; 2] = ["var/log/auth.log", "var/log/secure"];

/// The program names of sshd in the log: one program before OpenSSH 9.8, two since 9.8, three since 10.0.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

/// Log lines of sshd and eic-keys, oldest first.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) text: String,
    /// The log file, to which any local user can have lines written. `None` for the journal, which is filtered by
    /// fields that the kernel or journald sets.
    pub(crate) hearsay: Option<String>,
}

impl Log {
    /// The caveat to append to a note.
    pub(crate) fn reservation(&self) -> String {
        match &self.hearsay {
            None => String::new(),
            Some(file) => format!(" (by {file}, where any local user can have such lines written)"),
        }
    }
}

/// The last lines of root's sshd, and of eic-keys as root or as `users`. `None` if there is no log, or it is not
/// readable.
pub(crate) fn authpriv(root: &Path, users: &[u32]) -> Option<Log> {
    if let Some(text) = journal(users) {
        return Some(Log { text, hearsay: None });
    }
    FILES.iter().find_map(|file| {
        let text = tail(&root.join(file)).ok()?;
        Some(Log { text, hearsay: Some(format!("/{file}")) })
    })
}

/// Reads the journal. `None` if there is none. The sender of a message chooses `SYSLOG_IDENTIFIER`; the kernel or
/// journald sets the fields that begin with `_`.
fn journal(users: &[u32]) -> Option<String> {
    let mut words: Vec<String> =
        ["--since", "-1day", "--lines", "1000", "--no-pager", "--quiet", "--output", "short-iso"]
            .map(str::to_owned)
            .to_vec();
    words.push("_UID=0".to_owned());
    words.extend(SSHD.iter().flat_map(|name| [format!("_COMM={name}"), format!("SYSLOG_IDENTIFIER={name}")]));
    words.push("+".to_owned());
    // eic-keys often ends before journald reads its _COMM and _EXE, which are then missing. No other process runs as
    // its user.
    words.push("_UID=0".to_owned());
    words.extend(users.iter().map(|uid| format!("_UID={uid}")));
    words.push("SYSLOG_IDENTIFIER=eic-keys".to_owned());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let text = stdout_of("journalctl", &words)?;
    // No line matches. If the whole journal is empty, a syslog daemon can have the lines.
    let any = || {
        stdout_of("journalctl", &["--lines", "1", "--no-pager", "--quiet"]).filter(|text| !text.is_empty())
    };
    if text.is_empty() { any().map(|_| text) } else { Some(text) }
}

/// The last [`limits::LOG_TAIL`] bytes of a file.
pub(crate) fn tail(path: &Path) -> io::Result<String> {
    let mut file = files::open(path)?;
    let start = file.metadata()?.len().saturating_sub(limits::LOG_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limits::LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
