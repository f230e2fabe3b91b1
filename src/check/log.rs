//! Reads the end of the system log.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;
use x509_cert::der::DateTime;

use super::request::DAY;
use crate::files;
use crate::limits;
use crate::tool::stdout_of;

/// The log files for authpriv: Debian and Ubuntu; RHEL and Amazon Linux.
pub(crate) const FILES: [&str; 2] = ["var/log/auth.log", "var/log/secure"];

/// The program names of sshd in the log: one program before OpenSSH 9.8, two since 9.8, three since 10.0.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

const EIC_KEYS: &str = "eic-keys";

/// The fields of the journal that [`journal_line`] reads.
const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,_COMM,_EXE";

/// Log lines of sshd and eic-keys, oldest first.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) lines: Vec<Line>,
    /// The log file, to which any local user can have lines written. `None` for the journal, which is filtered by
    /// fields that the kernel or journald sets.
    pub(crate) hearsay: Option<String>,
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

impl Line {
    pub(crate) fn by_sshd(&self) -> bool {
        SSHD.contains(&self.program.as_str())
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
        match &self.hearsay {
            None => String::new(),
            Some(file) => format!(" (by {file}, where any local user can have such lines written)"),
        }
    }
}

/// The last lines of root's sshd, and of eic-keys as root or as `users`. `None` if there is no log, or it is not
/// readable.
pub(crate) fn authpriv(root: &Path, users: &[u32], now: u64) -> Option<Log> {
    if let Some(lines) = journal(users) {
        return Some(Log { lines, hearsay: None });
    }
    FILES.iter().find_map(|file| {
        let text = tail(&root.join(file)).ok()?;
        let local = Local::ask(now);
        let lines = text.lines().filter_map(|line| file_line(line, local)).collect();
        Some(Log { lines, hearsay: Some(format!("/{file}")) })
    })
}

/// Reads the journal. `None` if there is none. The sender of a message chooses `SYSLOG_IDENTIFIER`; the kernel or
/// journald sets the fields that begin with `_`.
fn journal(users: &[u32]) -> Option<Vec<Line>> {
    // The newest first: what exceeds the limit of the output is old.
    let mut words: Vec<String> =
        ["--since", "-1day", "--reverse", "--lines", "2000", "--no-pager", "--quiet", "--output", "json"]
            .map(str::to_owned)
            .to_vec();
    words.push("_UID=0".to_owned());
    words.extend(SSHD.iter().map(|name| format!("SYSLOG_IDENTIFIER={name}")));
    words.push("+".to_owned());
    // eic-keys often ends before journald reads its _COMM and _EXE, which are then missing. No other process runs as
    // its user.
    words.push("_UID=0".to_owned());
    words.extend(users.iter().map(|uid| format!("_UID={uid}")));
    words.push(format!("SYSLOG_IDENTIFIER={EIC_KEYS}"));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    // systemd has the option since version 236.
    let text = stdout_of("journalctl", &[&[FIELDS], words.as_slice()].concat())
        .or_else(|| stdout_of("journalctl", &words))?;
    // No line matches. If the whole journal is empty, a syslog daemon can have the lines.
    if text.is_empty() {
        stdout_of("journalctl", &["--lines", "1", "--no-pager", "--quiet"])
            .filter(|text| !text.is_empty())?;
    }
    let mut lines: Vec<_> = text.lines().filter_map(journal_line).collect();
    lines.reverse();
    Some(lines)
}

/// Reads an entry. `None` for one that is cut, or not by the program whose name it has: a user can start a setuid
/// program by a link with sshd's name, which then is its `_COMM`. Both are missing if the process of sshd ended before
/// journald read them, as it does after a refusal.
fn journal_line(text: &str) -> Option<Line> {
    let entry: Value = serde_json::from_str(text).ok()?;
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    let program = field("SYSLOG_IDENTIFIER")?.to_owned();
    let is_sshd = |file: &str| {
        let file = Path::new(file.trim_end_matches(" (deleted)")).file_name();
        SSHD.iter().any(|name| file == Some((*name).as_ref()))
    };
    if program != EIC_KEYS && !["_COMM", "_EXE"].into_iter().filter_map(field).all(is_sshd) {
        return None;
    }
    let message = match entry.get("MESSAGE")? {
        Value::String(text) => text.clone(),
        // Text that is not printable UTF-8.
        Value::Array(bytes) => {
            let bytes = bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
            String::from_utf8_lossy(&bytes.collect::<Option<Vec<u8>>>()?).into_owned()
        }
        _ => return None,
    };
    let time = field("__REALTIME_TIMESTAMP")?.parse::<u64>().ok()?.checked_div(1_000_000);
    Some(Line { time, program, pid: field("_PID").unwrap_or_default().to_owned(), message })
}

/// What a time without year and offset needs.
#[derive(Clone, Copy, Debug)]
struct Local {
    now: u64,
    year: u16,
    /// Seconds east of UTC.
    offset: i64,
}

impl Local {
    fn ask(now: u64) -> Option<Self> {
        let text = stdout_of("date", &["+%Y %z"])?;
        let (year, offset) = text.trim_end().split_once(' ')?;
        Some(Self { now, year: year.parse().ok()?, offset: self::offset(offset)? })
    }
}

/// Reads a line of a file: `Nov 20 08:00:00 host sshd[7]: text`, or with a time of RFC 3339.
fn file_line(text: &str, local: Option<Local>) -> Option<Line> {
    let (head, message) = text.split_once("]: ")?;
    let (program, pid) = head.rsplit(' ').next()?.split_once('[')?;
    let time = rfc3339(text).or_else(|| traditional(text, local?));
    Some(Line { time, program: program.to_owned(), pid: pid.to_owned(), message: message.to_owned() })
}

/// `+0100` or `+01:00` in seconds.
fn offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = (digits.get(..2)?, digits.get(2..)?.trim_start_matches(':'));
    let minutes = hours.parse::<i64>().ok()?.checked_mul(60)?.checked_add(minutes.parse().ok()?)?;
    minutes.checked_mul(60)?.checked_mul(sign)
}

fn rfc3339(line: &str) -> Option<u64> {
    let (date, rest) = line.split(' ').next()?.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) =
        (date.next()?.parse().ok()?, date.next()?.parse().ok()?, date.next()?.parse().ok()?);
    let clock = rest.get(..8)?;
    let zone = rest.get(8..)?.trim_start_matches(|char: char| char == '.' || char.is_ascii_digit());
    let zone = if zone == "Z" { 0 } else { offset(zone)? };
    unix(year, month, day, clock, zone)
}

/// RFC 3164, in local time. A day in the future is one of last year.
fn traditional(line: &str, local: Local) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = line.split_ascii_whitespace();
    let (month, day, clock) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)?.checked_add(1)?;
    let at = |year| unix(year, u8::try_from(month).ok()?, day, clock, local.offset);
    at(local.year)
        .filter(|time| *time <= local.now.saturating_add(DAY))
        .or_else(|| at(local.year.checked_sub(1)?))
}

fn unix(year: u16, month: u8, day: u8, clock: &str, offset: i64) -> Option<u64> {
    let mut clock = clock.split(':').map(|part| part.parse().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let time = DateTime::new(year, month, day, hour, minute, second).ok()?.unix_duration().as_secs();
    time.checked_add_signed(offset.checked_neg()?)
}

/// Undoes the escapes of sshd: it writes a byte that is not printable ASCII as `\ooo`, and a backslash twice. What an
/// unprivileged process of sshd logs is escaped once more. The report escapes it in its own way.
pub(crate) fn unescaped(message: &str) -> String {
    let once = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            rest = more;
            let octal = more
                .get(..3)
                .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
            match (first, more.first(), octal) {
                (b'\\', Some(b'\\'), _) => rest = more.get(1..).unwrap_or_default(),
                (b'\\', _, Some(byte)) => {
                    bytes.push(byte);
                    rest = more.get(3..).unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            bytes.push(*first);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if message.ends_with(" [preauth]") { once(&once(message)) } else { once(message) }
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

#[cfg(test)]
mod tests {
    use super::{Line, Local, file_line, journal_line, unescaped};

    const NOON: u64 = 1_795_262_400; // 2026-11-21 12:00 UTC

    fn line(time: u64, program: &str, pid: &str, message: &str) -> Line {
        Line {
            time: Some(time),
            program: program.to_owned(),
            pid: pid.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_line_of_a_file() {
        let local = Some(Local { now: NOON, year: 2026, offset: 3600 });
        for (text, time) in [
            ("Nov 21 12:30:00 h sshd[7]: x", Some(NOON - 1800)),
            ("Nov  1 13:00:00 h sshd[7]: x", Some(NOON - 20 * 86400)),
            ("Dec 31 13:00:00 h sshd[7]: x", Some(NOON - 325 * 86400)),
            ("2026-11-21T12:59:59.123456+01:00 h sshd[7]: x", Some(NOON - 1)),
            ("2026-11-21T06:59:59-0500 h sshd[7]: x", Some(NOON - 1)),
            ("2026-11-21T11:59:59Z h sshd[7]: x", Some(NOON - 1)),
            ("2026-11-21T11:59:59 h sshd[7]: x", None),
            ("Nov 31 13:00:00 h sshd[7]: x", None),
            ("sshd[7]: x", None),
        ] {
            let read = file_line(text, local);
            assert_eq!(read, Some(Line { time, ..line(0, "sshd", "7", "x") }), "{text}");
        }
        assert_eq!(file_line("", local), None);
        assert_eq!(file_line("Nov 21 12:30:00 h kernel: x", local), None);
    }

    #[test]
    fn an_entry_of_the_journal() {
        let entry = |fields: &str| {
            journal_line(&format!(r#"{{"__REALTIME_TIMESTAMP":"1795262400999999","_PID":"7",{fields}}}"#))
        };
        let sshd = |message: &str| Some(line(NOON, "sshd", "7", message));
        let of = r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x""#;
        assert_eq!(entry(of), sshd("x"), "it has ended");
        assert_eq!(entry(&format!(r#"{of},"_COMM":"sshd""#)), sshd("x"));
        assert_eq!(entry(&format!(r#"{of},"_COMM":"logger""#)), None);
        assert_eq!(entry(&format!(r#"{of},"_COMM":"sshd","_EXE":"/usr/bin/su""#)), None);
        assert_eq!(entry(&format!(r#"{of},"_EXE":"/usr/lib/openssh/sshd-session""#)), sshd("x"));
        assert_eq!(entry(&format!(r#"{of},"_EXE":"/usr/sbin/sshd (deleted)""#)), sshd("x"));
        assert_eq!(entry(&format!(r#"{of},"_EXE":"/usr/bin/su""#)), None);
        assert_eq!(entry(r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":[120,255]"#), sshd("x\u{fffd}"));
        for fields in [
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":[120,256]"#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":null"#,
            r#""SYSLOG_IDENTIFIER":["sshd","x"],"MESSAGE":"x""#,
            r#""SYSLOG_IDENTIFIER":"sshd""#,
            r#""SYSLOG_IDENTIFIER":"sshd","MESSAGE":"x"#,
        ] {
            assert_eq!(entry(fields), None, "{fields}");
        }
    }

    #[test]
    fn sshds_escapes() {
        for (escaped, text) in [
            (r"Invalid user \303\251v\033[2J x\\y", "Invalid user \u{e9}v\u{1b}[2J x\\y"),
            (r"user \\303\\251v x\\\\y [preauth]", "user \u{e9}v x\\y [preauth]"),
            (r"a\9b\", r"a\9b\"),
        ] {
            assert_eq!(unescaped(escaped), text);
        }
    }
}
