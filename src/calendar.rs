//! Times as dates of the calendar. The type for it is that of certificates, which the program has anyway.

use std::time::Duration;

use x509_cert::der::DateTime;

/// Seconds of a day.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// A time in seconds since 1970 as `2026-11-20T08:00:00`, in UTC. Empty after the year 9999.
pub(crate) fn text(seconds: u64) -> String {
    date(seconds).map(|date| date.to_string().trim_end_matches('Z').to_owned()).unwrap_or_default()
}

/// The year of a time in seconds since 1970. `None` after 9999.
pub(crate) fn year(seconds: u64) -> Option<u16> {
    date(seconds).map(|date| date.year())
}

/// The seconds since 1970 of a date and a time of day. `None` if there is no such time.
pub(crate) fn seconds(date: (u16, u8, u8), (hour, minute, second): (u8, u8, u8)) -> Option<u64> {
    let (year, month, day) = date;
    Some(DateTime::new(year, month, day, hour, minute, second).ok()?.unix_duration().as_secs())
}

fn date(seconds: u64) -> Option<DateTime> {
    DateTime::from_unix_duration(Duration::from_secs(seconds)).ok()
}
