//! Times as dates of the calendar, and times of RFC 3339. The type of a date is that of certificates, which the program has anyway.

use std::iter::repeat;
use std::time::Duration;

use x509_cert::der::DateTime;

use crate::seconds::digits;

/// Seconds of a day.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// Microseconds of a second.
pub(crate) const MICROS: u64 = 1_000_000;

/// In seconds since 1970. No text has this time or a later one.
const YEAR_10000: u64 = 253_402_300_800;

/// A time in seconds since 1970 as `2026-11-20T08:00:00`, in UTC. Empty after the year 9999.
pub(crate) fn text(seconds: u64) -> String {
    date(seconds).map(|date| date.to_string().trim_end_matches('Z').to_owned()).unwrap_or_default()
}

/// The year of a time in seconds since 1970. `None` after 9999.
pub(crate) fn year(seconds: u64) -> Option<u16> {
    date(seconds).map(|date| date.year())
}

/// The seconds since 1970 of a date and a time of day, such as `08:00:00`. `None` if there is no such time.
pub(crate) fn seconds_at((year, month, day): (u16, u8, u8), clock: &str) -> Option<u64> {
    let mut clock = clock.split(':').map(digits);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    Some(DateTime::new(year, month, day, hour, minute, second).ok()?.unix_duration().as_secs())
}

/// RFC 3339 in UTC, of microseconds since 1970. With six decimal places, unless these are zero.
pub(crate) fn rfc3339_text(micros: u64) -> String {
    let (seconds, rest) = (micros.wrapping_div(MICROS), micros.wrapping_rem(MICROS));
    let date = text(seconds);
    if rest == 0 { format!("{date}Z") } else { format!("{date}.{rest:06}Z") }
}

/// An RFC 3339 time with six decimal places: as an option, this is a microsecond and not the whole second.
pub(crate) fn rfc3339_micros(micros: u64) -> String {
    let whole = text(micros.wrapping_div(MICROS));
    format!("{whole}.{:06}Z", micros.wrapping_rem(MICROS))
}

/// `Z`, `+0100` or `+01:00` in seconds.
fn offset(text: &str) -> Option<i64> {
    let (sign, clock) = match text.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = clock.split_at_checked(2)?;
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    let (hours, minutes) = (digits::<i64>(hours)?, digits::<i64>(minutes).filter(|_| minutes.len() == 2)?);
    let minutes = (hours < 24 && minutes < 60).then(|| hours.checked_mul(60)?.checked_add(minutes))??;
    minutes.checked_mul(60)?.checked_mul(sign)
}

/// A time of RFC 3339, in microseconds since 1970.
pub(crate) fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once('T')?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let (micros, zone) = fraction(rest)?;
    let time = date_and_clock(date, clock)?.checked_add_signed(offset(zone)?.checked_neg()?)?;
    if time >= YEAR_10000 {
        return None;
    }
    time.checked_mul(MICROS)?.checked_add(micros)
}

/// Microseconds of `.123456` or nothing, and what follows.
pub(crate) fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let (fraction, zone) = rest.split_at_checked(rest.bytes().position(|byte| !byte.is_ascii_digit())?)?;
    let six = fraction.bytes().map(|byte| byte.wrapping_sub(b'0')).chain(repeat(0)).take(6);
    let micros = six.fold(0, |micros: u64, digit| micros.wrapping_mul(10).wrapping_add(digit.into()));
    Some((micros, zone)).filter(|_| !fraction.is_empty())
}

/// `2026-11-20` and `08:00:00`, in seconds.
pub(crate) fn date_and_clock(date: &str, clock: &str) -> Option<u64> {
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    if date.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    seconds_at((digits(year)?, digits(month)?, digits(day)?), clock)
}

fn date(seconds: u64) -> Option<DateTime> {
    DateTime::from_unix_duration(Duration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::{rfc3339, rfc3339_micros, rfc3339_text};

    #[test]
    fn times() {
        assert_eq!(rfc3339_text(1_795_262_400_000_000), "2026-11-21T12:00:00Z");
        assert_eq!(rfc3339_text(1_795_262_400_012_300), "2026-11-21T12:00:00.012300Z");
        assert_eq!(rfc3339_micros(1_795_262_400_000_000), "2026-11-21T12:00:00.000000Z");
        assert_eq!(rfc3339("2026-11-21T12:00:00.0123Z"), Some(1_795_262_400_012_300));
    }
}
