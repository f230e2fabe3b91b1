//! Reads the end of the system log.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::account::{Account, account_of};
use crate::files;
use crate::limits;
use crate::sshd::plan::OWN_USER;
use crate::system_log::file::{self, Clock};
use crate::system_log::{ANYBODY, EIC_KEYS, Entry, FILES, is_sshd, journal, unescaped};
use crate::time_zone::TimeZone;
use crate::tool::stdout_of;

/// Log lines of sshd and eic-keys, oldest first.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) lines: Vec<Line>,
    /// The log file, to which [`ANYBODY`] can write lines. `None` for the journal, which is filtered by fields that the kernel or
    /// journald sets.
    pub(crate) hearsay: Option<String>,
    /// A user other than root and that of the package, whose processes can write lines of eic-keys to the journal.
    pub(crate) other_user: Option<u32>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Seconds since 1970. `None` if the file has a format that is not known.
    pub(crate) time: Option<u64>,
    /// `sshd`, `sshd-session`, `sshd-auth` or `eic-keys`.
    pub(crate) program: String,
    /// The process, as text.
    pub(crate) pid: String,
    /// The message as the program wrote it.
    pub(crate) message: String,
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let Entry { time, program, pid, message, .. } = entry;
        Self { time: time.map(|time| time.wrapping_div(1_000_000)), program, pid, message }
    }
}

impl Line {
    pub(crate) fn by_sshd(&self) -> bool {
        is_sshd(&self.program)
    }

    pub(crate) fn by_eic_keys(&self) -> bool {
        self.program == EIC_KEYS
    }

    /// How many seconds before `now` it was written, if that is less than `most`. A line from the future is as new as
    /// one of this second.
    pub(crate) fn age(&self, now: u64, most: u64) -> Option<u64> {
        self.time.map(|time| now.saturating_sub(time)).filter(|age| *age < most)
    }

    /// The line for a report.
    pub(crate) fn shown(&self, now: u64) -> String {
        let Self { program, pid, message, .. } = self;
        let ago = self.time.map(|time| format!("{}, ", ago(now.saturating_sub(time)))).unwrap_or_default();
        format!("{ago}{program}[{pid}]: {}", unescaped(message))
    }
}

/// An age in the words of a report.
pub(crate) fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds.wrapping_div(60)),
        _ => format!("{} h ago", seconds.wrapping_div(3600)),
    }
}

impl Log {
    /// The caveat to append to a note.
    pub(crate) fn reservation(&self) -> String {
        match (&self.hearsay, self.other_user) {
            (None, None) => String::new(),
            (Some(file), _) => format!(" (from {file}, to which {ANYBODY} can write such lines)"),
            (None, Some(uid)) => {
                format!(" (any process of {} can write lines of eic-keys)", account_of(uid))
            }
        }
    }
}

/// The last lines of root's sshd, and of eic-keys as root or as `users`. `None` if there is no log, or it is not
/// readable.
pub(crate) fn authpriv(root: &Path, users: &[u32], now: u64) -> Option<Log> {
    if let Some(entries) = journal_entries(users) {
        let own = Account::find(OWN_USER).ok().flatten().map(|account| account.uid);
        let other_user = entries.iter().find_map(|entry| journal::other_user(entry, own));
        return Some(Log { lines: entries.into_iter().map(Line::from).collect(), hearsay: None, other_user });
    }
    FILES.iter().find_map(|file| {
        let text = tail(&root.join(file)).ok()?;
        let clock = Clock { last: now, zone: &TimeZone::system(root) };
        let mut reader = file::Reader::new(clock);
        let lines = text.lines().filter_map(|line| reader.entry(line)).map(Line::from).collect();
        Some(Log { lines, hearsay: Some(format!("/{file}")), other_user: None })
    })
}

/// The lines of the journal that have the name of eic-keys, whoever wrote them.
pub(crate) fn of_any_user() -> Vec<Line> {
    let text = journalctl(&[format!("SYSLOG_IDENTIFIER={EIC_KEYS}")]).unwrap_or_default();
    text.lines().filter_map(|line| journal::entry(line.as_bytes())).map(Line::from).collect()
}

/// What journalctl prints of the last day's lines that `matches` selects.
fn journalctl(matches: &[String]) -> Option<String> {
    // The newest first: what exceeds the limit of the output is old.
    let mut words =
        vec!["--since", "-1day", "--reverse", "--lines", "2000", "--no-pager", "--quiet", "--output", "json"];
    words.extend(matches.iter().map(String::as_str));
    stdout_of("journalctl", &[&[journal::FIELDS], words.as_slice()].concat())
        .or_else(|| stdout_of("journalctl", &words))
}

/// Reads the journal. `None` if there is none.
fn journal_entries(users: &[u32]) -> Option<Vec<Entry>> {
    let text = journalctl(&journal::matches(Some(users)))?;
    // No line matches. If the whole journal is empty, a syslog daemon can have the lines.
    if text.is_empty() {
        stdout_of("journalctl", &["--lines", "1", "--no-pager", "--quiet"])
            .filter(|text| !text.is_empty())?;
    }
    let mut entries: Vec<_> = text.lines().filter_map(|line| journal::entry(line.as_bytes())).collect();
    entries.reverse();
    Some(entries)
}

/// The last [`limits::LOG_TAIL`] bytes of a file.
pub(crate) fn tail(path: &Path) -> io::Result<String> {
    read_from(path, |length| length.saturating_sub(limits::LOG_TAIL))
}

/// At most [`limits::LOG_TAIL`] bytes of a file, from the position that `start` computes from its length.
pub(crate) fn read_from(path: &Path, start: impl FnOnce(u64) -> u64) -> io::Result<String> {
    let mut file = files::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(start(length)))?;
    let mut bytes = Vec::new();
    file.take(limits::LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
