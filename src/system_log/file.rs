//! Lines of a log file, in the two formats of syslog daemons.

use x509_cert::der::DateTime;

use super::Entry;
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

/// Reads a line: `Nov 20 08:00:00 host sshd[7]: text`, or with a time of RFC 3339.
pub(crate) fn entry(text: &str, clock: Clock<'_>) -> Option<Entry> {
    let (head, message) = text.split_once("]: ")?;
    let (program, pid) = head.rsplit(' ').next()?.split_once('[')?;
    let time = rfc3339(text.split(' ').next().unwrap_or_default()).or_else(|| traditional(text, clock));
    Some(Entry {
        time,
        program: program.to_owned(),
        pid: pid.to_owned(),
        message: message.to_owned(),
        ..Entry::default()
    })
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
fn traditional(line: &str, clock: Clock<'_>) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = line.split_ascii_whitespace();
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
    use super::{Clock, Entry, entry};
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
            ("sshd[7]: x", None),
        ] {
            let (program, pid, message) = ("sshd".to_owned(), "7".to_owned(), "x".to_owned());
            let read = entry(text, clock);
            assert_eq!(read, Some(Entry { time, program, pid, message, ..Entry::default() }), "{text}");
        }
        assert_eq!(entry("", clock), None);
        assert_eq!(entry("Nov 21 12:30:00 h kernel: x", clock), None);
    }
}
