//! Reads the end of the system log.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::account::{Account, describe_user};
use crate::calendar::MICROS;
use crate::files;
use crate::limits;
use crate::process::{PipedProgram, TrustedCommand};
use crate::sshd::options::OWN_USER;
use crate::system_log::file::{self, Clock};
use crate::system_log::{ANYBODY, EIC_KEYS, Entry, FILES, is_sshd, journal, scan, unescaped};
use crate::time_zone::TimeZone;
use crate::tool::stdout_of;

/// Log lines of sshd and eic-keys, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) lines: Vec<LogLine>,
    /// The log file, to which [`ANYBODY`] can write lines. `None` for the journal, which is filtered by fields that the kernel or
    /// journald sets.
    pub(crate) unverified_source: Option<String>,
    /// A user other than root and that of the package, whose processes can write lines of eic-keys to the journal.
    pub(crate) other_user: Option<u32>,
    pub(crate) unread: Unread,
}

/// For how long, in seconds, an attempt to log in, or a message of eic-keys, counts.
pub(crate) const RECENT: u64 = 3600;

/// The older lines of the log that were not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// None that matter.
    Nothing,
    /// Those of the journal for which there was no time.
    Late,
    /// Those more than so many seconds old, which is less than [`RECENT`]: there are more lines than are read.
    Older(u64),
}

impl Unread {
    /// `since`: when the lines that were read begin, in microseconds since 1970, if there are older ones.
    fn new(since: Option<u64>, now: u64) -> Self {
        let age = since.map(|since| now.saturating_sub(since.wrapping_div(MICROS)));
        age.filter(|age| *age < RECENT).map_or(Self::Nothing, Self::Older)
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// Seconds since 1970. `None` if the file has a format that is not known.
    pub(crate) time: Option<u64>,
    /// `sshd`, `sshd-session`, `sshd-auth` or `eic-keys`.
    pub(crate) program: String,
    /// The process, as text.
    pub(crate) pid: String,
    /// The message as the program wrote it.
    pub(crate) message: String,
}

impl From<Entry<'_>> for LogLine {
    fn from(entry: Entry<'_>) -> Self {
        let Entry { time, program, pid, message, .. } = entry;
        let time = time.map(|time| time.wrapping_div(MICROS));
        Self { time, program: program.into_owned(), pid: pid.to_string(), message: message.into_owned() }
    }
}

impl LogLine {
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
    pub(crate) fn caveat(&self) -> String {
        let doubt = match (&self.unverified_source, self.other_user) {
            (None, None) => String::new(),
            (Some(file), _) => format!(" (from {file}, to which {ANYBODY} can write such lines)"),
            (None, Some(uid)) => {
                format!(" (any process of {} can write lines of eic-keys)", describe_user(uid))
            }
        };
        let seconds = limits::CHECK_TOOL.as_secs();
        match self.unread {
            Unread::Nothing => doubt,
            Unread::Late => format!("{doubt} (the journal has more lines than could be read in {seconds} s)"),
            Unread::Older(age) => {
                format!("{doubt} (the log has more lines than are read: the oldest one is from {})", ago(age))
            }
        }
    }
}

/// The last lines of root's sshd, and of eic-keys as root or as `users`. `None` if there is no log, or it is not
/// readable.
pub(crate) fn read(root: &Path, users: &[u32], now: u64) -> Option<Log> {
    if let Some(Newest { entries, late, since }) = newest(LAST_DAY, &journal::matches(users)) {
        // No line matches. If the whole journal is empty, a syslog daemon can have the lines.
        let any = || stdout_of("journalctl", &["--lines", "1", "--no-pager", "--quiet"]);
        if late || !entries.is_empty() || any().is_ok_and(|text| !text.is_empty()) {
            let own = Account::find(OWN_USER).ok().flatten().map(|account| account.uid);
            let other_user = entries.iter().find_map(|entry| journal::other_user(entry, own));
            let lines = entries.into_iter().map(LogLine::from).collect();
            let unread = if late { Unread::Late } else { Unread::new(since, now) };
            return Some(Log { lines, unverified_source: None, other_user, unread });
        }
    }
    FILES.iter().find_map(|file| {
        let text = tail(&root.join(file)).ok()?;
        let clock = Clock { last: now, zone: &TimeZone::system(root) };
        let mut reader = file::Reader::new(clock);
        let is_longer = u64::try_from(text.len()).is_ok_and(|length| length >= limits::LOG_TAIL);
        // The first line is cut.
        let since = text.lines().skip(1).filter(|_| is_longer).find_map(|line| reader.time_of(line));
        let unread = Unread::new(since, now);
        let lines = text.lines().filter_map(|line| reader.entry(line)).map(LogLine::from).collect();
        Some(Log { lines, unverified_source: Some(format!("/{file}")), other_user: None, unread })
    })
}

/// The lines of the journal that have the name of eic-keys, whoever wrote them.
pub(crate) fn of_any_user() -> Vec<LogLine> {
    let entries = newest(LAST_DAY, &[vec![journal::name(EIC_KEYS)]]).map(|newest| newest.entries);
    entries.unwrap_or_default().into_iter().map(LogLine::from).collect()
}

/// When root's sshd with this process number last read its files, by what it logs then, since the system was started.
pub(crate) fn last_read_by(process: u32) -> Option<SystemTime> {
    let newest = newest("--boot", &[vec![format!("_PID={process}"), "_UID=0".to_owned()]])?;
    let says = |entry: &&Entry<'_>| {
        is_sshd(&entry.program)
            && ["Server listening on ", "Received SIGHUP; restarting."]
                .iter()
                .any(|words| entry.message.starts_with(words))
    };
    let time = newest.entries.iter().rfind(says)?.time?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(time))
}

/// The newest entries of a journal.
struct Newest {
    /// Oldest first.
    entries: Vec<Entry<'static>>,
    /// There was no time to read older ones.
    late: bool,
    /// When they begin, in microseconds since 1970, if there are more than [`limits::JOURNAL_LINES`].
    since: Option<u64>,
}

const LAST_DAY: &str = "--since=-1day";

/// The newest entries that journalctl finds by an option for the time and each of `matches`. `None` if it cannot be asked.
fn newest(time: &str, matches: &[Vec<String>]) -> Option<Newest> {
    let start = Instant::now();
    let left = || limits::CHECK_TOOL.saturating_sub(start.elapsed());
    let most = limits::JOURNAL_LINES.to_string();
    let words = [time, "--reverse", "--lines", &most, "--no-pager", "--quiet", "--output", "json"];
    let mut newest = Newest { entries: Vec::new(), late: false, since: None };
    for matches in matches {
        let mut result = Ok(false);
        let (mut count, mut oldest) = (0_usize, None);
        for fields in [&[journal::FIELDS][..], &[]] {
            let take = |line: &[u8]| {
                let Some(entry) = journal::entry(line) else { return };
                (count, oldest) = (count.saturating_add(1), entry.time);
                let at = newest.entries.partition_point(|other| other.time >= entry.time);
                newest.entries.insert(at, entry);
            };
            let journalctl = TrustedCommand::new("journalctl").with(fields).with(words).with(matches);
            result = journalctl
                .start(None, Stdio::null())
                .and_then(PipedProgram::new)
                .and_then(|child| child.read(left, |output| scan::lines(output, |_| true, |_| (), take)));
            if !matches!(result, Ok(false)) {
                break;
            }
        }
        match result {
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => newest.late = true,
            _ => return None,
        }
        if count >= limits::JOURNAL_LINES {
            newest.since = newest.since.max(oldest);
        }
    }
    newest.entries.reverse();
    Some(newest)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::{RECENT, Unread, tail};
    use crate::limits;

    #[test]
    fn older_lines_matter_within_the_last_hour() {
        for (since, expected) in [
            (None, Unread::Nothing),
            (Some(10_000_000_000), Unread::Older(0)),
            (Some(10_001_000_000), Unread::Older(0)),
            (Some(9_280_000_000), Unread::Older(720)),
            (Some(6_400_000_001), Unread::Nothing),
        ] {
            assert_eq!(Unread::new(since, 10_000), expected, "{since:?}");
        }
        assert_eq!(Unread::new(Some(0), RECENT), Unread::Nothing);
    }

    /// tests/check/recent.rs has as many lines, and one less.
    #[test]
    fn the_document_has_the_number_of_lines() {
        let words = format!("At most the newest {} lines of sshd", limits::JOURNAL_LINES);
        assert!(include_str!("../../docs/check.md").contains(&words), "{words}");
    }

    #[test]
    fn the_end_of_a_long_log() {
        let most = usize::try_from(limits::LOG_TAIL).unwrap();
        let log = std::env::temp_dir().join(format!("eic-keys-tail-{}", std::process::id()));
        for (before, expected) in [("", "a"), ("b", "a"), ("bc", "a")] {
            std::fs::write(&log, format!("{before}a{}", "x".repeat(most.saturating_sub(1)))).unwrap();
            let text = tail(&log).unwrap();
            assert!(text.starts_with(expected) && text.len() == most, "{before}");
        }
        std::fs::write(&log, "short").unwrap();
        assert_eq!(tail(&log).unwrap(), "short");
        std::fs::remove_file(log).unwrap();
    }
}
