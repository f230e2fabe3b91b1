//! The end of the system's log.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::tool::told;
use crate::files;
use crate::limits;

/// Where syslog daemons write authpriv: Debian and Ubuntu; RHEL and Amazon Linux.
const FILES: [&str; 2] = ["var/log/auth.log", "var/log/secure"];

/// The last lines of sshd and eic-keys, the newest last; `None` where there is no log, or it may not be read.
pub(super) fn authpriv(root: &Path) -> Option<String> {
    let tags = ["-t", "sshd", "-t", "sshd-session", "-t", "eic-keys"];
    let window = ["--since", "-1day", "--lines", "1000", "--no-pager", "--quiet", "--output", "short-iso"];
    let journal = told("journalctl", &[tags.as_slice(), &window].concat()).filter(|text| !text.is_empty());
    journal.or_else(|| FILES.iter().find_map(|file| tail(&root.join(file)).ok()))
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
