//! Lines of a log file, in the two formats of syslog daemons.

use memchr::memchr;

use super::{EIC_KEYS, Entry, is_sshd, split};
use crate::calendar::{self, DAY, MICROS, fraction, rfc3339, seconds_at};
use crate::seconds::digits;
use crate::time_zone::TimeZone;

/// What a time without year and offset needs.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// The time of the last line, in seconds since 1970, or a later one.
    pub last: u64,
    /// The time zone of the syslog daemon.
    pub zone: &'a TimeZone,
}

/// The parts of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    time: &'a str,
    host: &'a str,
    pub(crate) program: &'a str,
    pub(crate) pid: Option<&'a str>,
    pub(crate) message: &'a str,
}

/// Splits a line: `Nov 20 08:00:00 host sshd[7]: text`, or with a time of RFC 3339. The process has no number if its program gives none.
/// The tag is the word after the host: what follows it can be the text of a client, and contain a tag as well.
pub(crate) fn parts(line: &str) -> Option<Parts<'_>> {
    let is_rfc3339 = line.as_bytes().first()?.is_ascii_digit();
    let (time, rest) =
        line.split_at_checked(if is_rfc3339 { memchr(b' ', line.as_bytes())? } else { TRADITIONAL })?;
    let (host, rest) = split(rest.strip_prefix(' ')?, " ")?;
    let (tag, message) = split(rest, " ")?;
    let tag = tag.strip_suffix(':')?;
    let (program, pid) = match tag.strip_suffix(']') {
        Some(tag) => split(tag, "[").map(|(program, pid)| (program, Some(pid)))?,
        None => (tag, None),
    };
    Some(Parts { time, host, program, pid, message })
}

/// The length of `Nov 20 08:00:00`.
const TRADITIONAL: usize = 15;

/// Reads the lines of sshd and eic-keys.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    clock: Clock<'a>,
    /// The time of the last line.
    last: Option<u64>,
    /// The minute of the last line whose time was read as a whole.
    minute: Minute,
}

/// A minute of the log: what its times begin and end with, and when it was.
#[derive(Debug, Default)]
struct Minute {
    begin: String,
    /// The fraction of the second is before it.
    zone: String,
    /// In microseconds since 1970.
    start: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(clock: Clock<'a>) -> Self {
        Self { clock, last: None, minute: Minute::default() }
    }

    /// Reads a line. `None` for one of another program.
    pub(crate) fn entry<'line>(&mut self, line: &'line str) -> Option<Entry<'line>> {
        let Parts { time, host, program, pid, message } = parts(line)?;
        if program != EIC_KEYS && !is_sshd(program) {
            return None;
        }
        let pid = digits(pid?)?;
        self.last = self.time(time);
        Some(Entry {
            time: self.last,
            host: Some(host.into()),
            program: program.into(),
            pid,
            message: message.into(),
            ..Entry::default()
        })
    }

    /// The time of a line of any program, in microseconds since 1970.
    pub(crate) fn time_of(&mut self, line: &str) -> Option<u64> {
        self.time(parts(line)?.time)
    }

    /// A time in microseconds since 1970. Most lines are of the same minute as the one before.
    fn time(&mut self, text: &str) -> Option<u64> {
        let seconds_at = if text.len() == TRADITIONAL { 13 } else { 17 };
        let parts = text.split_at_checked(seconds_at).and_then(|(begin, rest)| {
            let (seconds, rest) = rest.split_at_checked(2)?;
            let (fraction, zone) = fraction(rest)?;
            let seconds = digits::<u64>(seconds).filter(|seconds| *seconds < 60)?;
            Some((begin, zone, seconds.checked_mul(MICROS)?.checked_add(fraction)?))
        });
        if let Some((begin, zone, micros)) = parts {
            if self.minute.begin == begin && self.minute.zone == zone {
                return self.minute.start.checked_add(micros);
            }
        }
        let (time, is_unique) = match rfc3339(text) {
            Some(time) => (time, true),
            None => traditional(text, self.clock, self.last)?,
        };
        if let Some((begin, zone, micros)) = parts.filter(|_| is_unique) {
            self.minute =
                Minute { begin: begin.to_owned(), zone: zone.to_owned(), start: time.checked_sub(micros)? };
        }
        Some(time)
    }
}

/// RFC 3164, in local time. A day after the last one is one of the year before. In the hour that the clock shows twice, `before`, the time
/// of the line before in microseconds, decides. Returns the time in microseconds, and whether it is not in such an hour.
fn traditional(time: &str, clock: Clock<'_>, before: Option<u64>) -> Option<(u64, bool)> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = time.split_ascii_whitespace();
    let (month, day, time) = (words.next()?, digits(words.next()?)?, words.next()?);
    let month = u8::try_from(MONTHS.iter().position(|name| *name == month)?.checked_add(1)?).ok()?;
    let year = calendar::year(clock.zone.local(clock.last))?;
    let at = |year| {
        let (first, second) = clock.zone.instants(seconds_at((year, month, day), time)?);
        let went_back =
            before.is_some_and(|before| first.saturating_add(DISORDER) < before.wrapping_div(MICROS));
        Some((if went_back { second } else { first }, first == second))
    };
    let (time, is_unique) = at(year)
        .filter(|(time, _)| *time <= clock.last.saturating_add(DAY))
        .or_else(|| at(year.checked_sub(1)?))?;
    Some((time.checked_mul(MICROS)?, is_unique))
}

/// By how many seconds a line can be older than the one before, although the clock was not set back.
const DISORDER: u64 = 5;

#[cfg(test)]
mod tests {
    use super::{Clock, Entry, Reader, parts};
    use crate::time_zone::TimeZone;

    const NOON: u64 = 1_795_262_400; // 2026-11-21 12:00 UTC

    #[test]
    fn a_line_of_a_file() {
        let clock = Clock { last: NOON, zone: &TimeZone::fixed(3600) };
        for (text, time) in [
            ("Nov 21 12:30:00 h sshd[7]: x", Some((NOON - 1800) * 1_000_000)),
            ("Nov  1 13:00:00 h sshd[7]: x", Some((NOON - 20 * 86400) * 1_000_000)),
            ("Dec 31 13:00:00 h sshd[7]: x", Some((NOON - 325 * 86400) * 1_000_000)),
            ("2026-11-21T12:59:59.123456+01:00 h sshd[7]: x", Some((NOON - 1) * 1_000_000 + 123_456)),
            ("2026-11-21T12:59:59.12+01:00 h sshd[7]: x", Some((NOON - 1) * 1_000_000 + 120_000)),
            ("2026-11-21T12:59:59.123456789+01:00 h sshd[7]: x", Some((NOON - 1) * 1_000_000 + 123_456)),
            ("2026-11-21T06:59:59-0500 h sshd[7]: x", Some((NOON - 1) * 1_000_000)),
            ("2026-11-21T11:59:59Z h sshd[7]: x", Some((NOON - 1) * 1_000_000)),
            ("2026-11-21T11:59:59.Z h sshd[7]: x", None),
            ("2026-11-21T11:59:59.1.2Z h sshd[7]: x", None),
            ("2026-11-21T11:59:59 h sshd[7]: x", None),
            ("2026-11-21T11:59:59+23:59 h sshd[7]: x", Some((NOON - 1 - 86_340) * 1_000_000)),
            ("2026-11-21T11:59:59+24:00 h sshd[7]: x", None),
            ("2026-11-21T11:59:59+00:60 h sshd[7]: x", None),
            ("2026-11-21T11:59:59++1:00 h sshd[7]: x", None),
            ("2026-11-21T11:59:59+01 h sshd[7]: x", None),
            ("2026-11-21T+1:59:59Z h sshd[7]: x", None),
            ("9999-12-31T23:59:59-00:01 h sshd[7]: x", None),
            ("Nov 31 13:00:00 h sshd[7]: x", None),
            ("Yesterday noon. h sshd[7]: x", None),
        ] {
            let (host, program, message) = (Some("h".into()), "sshd".into(), "x".into());
            let read = Reader::new(clock).entry(text);
            assert_eq!(
                read,
                Some(Entry { time, host, program, pid: 7, message, ..Entry::default() }),
                "{text}"
            );
        }
        for text in [
            "",
            "sshd[7]: x",
            "Nov 21 12:30:00 h kernel: x",
            "Nov 21 12:30:00 h sshd: x",
            "Nov 21 12:30:00 h sshd[+7]: x",
        ] {
            assert_eq!(Reader::new(clock).entry(text), None, "{text}");
        }
        let mut reader = Reader::new(clock);
        let lines = ["12:30:00", "12:30:00", "12:30:01"].map(|time| format!("Nov 21 {time} h sshd[7]: x"));
        let times = lines.map(|line| reader.entry(&line).and_then(|entry| entry.time));
        assert_eq!(times, [NOON - 1800, NOON - 1800, NOON - 1799].map(|time| time.checked_mul(1_000_000)));
    }

    #[test]
    fn the_hour_that_the_clock_shows_twice() {
        // In 2026, from 02:59:59 CEST to 02:00:00 CET.
        let zone = TimeZone::berlin();
        let clock = Clock { last: NOON, zone: &zone };
        let mut reader = Reader::new(clock);
        let mut time = |text: &str| {
            let line = format!("Oct 25 {text} h sshd[7]: x");
            reader.entry(&line).and_then(|entry| entry.time).map(|time| time / 1_000_000)
        };
        let end = 1_792_890_000; // 01:00 UTC
        let times = ["01:59:59", "02:00:00", "02:59:59", "02:59:58", "02:00:01", "02:59:50", "03:00:00"];
        assert_eq!(
            times.map(&mut time),
            [end - 3601, end - 3600, end - 1, end - 2, end + 1, end + 3590, end + 3600].map(Some)
        );
    }

    /// A client chooses a part of the message of another program.
    #[test]
    fn the_tag_is_at_its_place() {
        let program = |rest: &str| {
            let read = |time| {
                parts(&format!("{time} h {rest}"))
                    .map(|parts| (parts.program.to_owned(), parts.pid.map(str::to_owned)))
            };
            let traditional = read("Nov  1 13:00:00");
            assert_eq!(traditional, read("2026-11-21T11:59:59Z"));
            traditional
        };
        let of = |program: &str, pid: Option<&str>| Some((program.to_owned(), pid.map(str::to_owned)));
        assert_eq!(program("sshd[7]: x sshd[8]: y"), of("sshd", Some("7")));
        assert_eq!(program("sshd: x"), of("sshd", None));
        assert_eq!(program("vsftpd: ruser=x sshd[8]: y"), of("vsftpd", None));
        assert_eq!(program("sudo:    alice : x sshd[8]: y"), of("sudo", None));
        for rest in ["a sshd[8]: y", "vsftpd sshd[8]: y", " sshd[8]: y", "sshd8]: y", "sshd[8]:", ""] {
            assert_eq!(program(rest), None, "{rest}");
        }
    }
}
