//! Lines of a log file, in the two formats of syslog daemons.

use x509_cert::der::DateTime;

use super::{EIC_KEYS, Entry, is_sshd};
use crate::time_zone::TimeZone;

/// What a time without year and offset needs.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// The time of the last line, in seconds since 1970, or a later one.
    pub last: u64,
    /// The time zone of the syslog daemon.
    pub zone: &'a TimeZone,
}

const MICROS: u64 = 1_000_000;

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// The parts of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    time: &'a str,
    pub(crate) program: &'a str,
    pub(crate) pid: Option<&'a str>,
    pub(crate) message: &'a str,
}

/// Splits a line: `Nov 20 08:00:00 host sshd[7]: text`, or with a time of RFC 3339. The process has no number if its program gives none.
/// The tag is the word after the host: what follows it can be the text of a client, and contain a tag as well.
pub(crate) fn parts(line: &str) -> Option<Parts<'_>> {
    let is_rfc3339 = line.starts_with(|char: char| char.is_ascii_digit());
    let (time, rest) = line.split_at_checked(if is_rfc3339 { line.find(' ')? } else { TRADITIONAL })?;
    let (_host, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let (tag, message) = rest.split_once(' ')?;
    let tag = tag.strip_suffix(':')?;
    let (program, pid) = match tag.strip_suffix(']') {
        Some(tag) => tag.split_once('[').map(|(program, pid)| (program, Some(pid)))?,
        None => (tag, None),
    };
    Some(Parts { time, program, pid, message })
}

/// The length of `Nov 20 08:00:00`.
const TRADITIONAL: usize = 15;

/// Reads the lines of sshd and eic-keys.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    clock: Clock<'a>,
    /// The time of the last line: several lines often have the same one.
    last: (String, Option<u64>),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(clock: Clock<'a>) -> Self {
        Self { clock, last: (String::new(), None) }
    }

    /// Reads a line. `None` for one of another program.
    pub(crate) fn entry(&mut self, line: &str) -> Option<Entry> {
        let Parts { time, program, pid, message } = parts(line)?;
        if program != EIC_KEYS && !is_sshd(program) {
            return None;
        }
        if time != self.last.0 {
            self.last = (time.to_owned(), rfc3339(time).or_else(|| traditional(time, self.clock)));
        }
        Some(Entry {
            time: self.last.1,
            program: program.to_owned(),
            pid: pid?.to_owned(),
            message: message.to_owned(),
            ..Entry::default()
        })
    }
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

/// A time of RFC 3339, in microseconds since 1970.
pub(crate) fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once('T')?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let zone = rest.trim_start_matches(|char: char| char == '.' || char.is_ascii_digit());
    let fraction = rest.strip_suffix(zone)?;
    let micros = match fraction.strip_prefix('.') {
        Some(digits) if !digits.is_empty() && !digits.contains('.') => {
            format!("{digits:0<6}").get(..6)?.parse().ok()?
        }
        None if fraction.is_empty() => 0,
        _ => return None,
    };
    let zone = if zone == "Z" { 0 } else { offset(zone)? };
    let time = date_and_clock(date, clock)?.checked_add_signed(zone.checked_neg()?)?;
    time.checked_mul(MICROS)?.checked_add(micros)
}

/// `2026-11-20` and `08:00:00`, in seconds.
pub(crate) fn date_and_clock(date: &str, clock: &str) -> Option<u64> {
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    if date.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    seconds(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?, clock)
}

/// RFC 3164, in local time. A day after the last one is one of the year before.
fn traditional(time: &str, clock: Clock<'_>) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = time.split_ascii_whitespace();
    let (month, day, time) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let month = u8::try_from(MONTHS.iter().position(|name| *name == month)?.checked_add(1)?).ok()?;
    let year = year(clock.zone.local(clock.last))?;
    let at = |year| seconds(year, month, day, time).map(|local| clock.zone.instant(local));
    let time = at(year)
        .filter(|time| *time <= clock.last.saturating_add(DAY))
        .or_else(|| at(year.checked_sub(1)?))?;
    time.checked_mul(MICROS)
}

fn year(seconds: u64) -> Option<u16> {
    DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).ok().map(|date| date.year())
}

fn seconds(year: u16, month: u8, day: u8, clock: &str) -> Option<u64> {
    let mut clock = clock.split(':').map(|part| part.parse().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    Some(DateTime::new(year, month, day, hour, minute, second).ok()?.unix_duration().as_secs())
}

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
            ("Nov 31 13:00:00 h sshd[7]: x", None),
            ("Yesterday noon. h sshd[7]: x", None),
        ] {
            let (program, pid, message) = ("sshd".to_owned(), "7".to_owned(), "x".to_owned());
            let read = Reader::new(clock).entry(text);
            assert_eq!(read, Some(Entry { time, program, pid, message, ..Entry::default() }), "{text}");
        }
        for text in ["", "sshd[7]: x", "Nov 21 12:30:00 h kernel: x", "Nov 21 12:30:00 h sshd: x"] {
            assert_eq!(Reader::new(clock).entry(text), None, "{text}");
        }
        let mut reader = Reader::new(clock);
        let lines = ["12:30:00", "12:30:00", "12:30:01"].map(|time| format!("Nov 21 {time} h sshd[7]: x"));
        let times = lines.map(|line| reader.entry(&line).and_then(|entry| entry.time));
        assert_eq!(times, [NOON - 1800, NOON - 1800, NOON - 1799].map(|time| time.checked_mul(1_000_000)));
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
