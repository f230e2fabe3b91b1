//! Dates in HTTP headers.

use std::str;

use pki_types::UnixTime;
use x509_cert::der::DateTime;

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Parses an IMF-fixdate (RFC 9110 section 5.6.7), the only form still in use: `Sun, 06 Nov 1994 08:49:37 GMT`. Ignores the day of
/// the week.
pub(super) fn parse(text: &[u8]) -> Option<UnixTime> {
    let (_, text) = text.split_at_checked(3)?;
    let [
        b',',
        b' ',
        d1,
        d2,
        b' ',
        m1,
        m2,
        m3,
        b' ',
        y @ ..,
        b' ',
        h1,
        h2,
        b':',
        n1,
        n2,
        b':',
        s1,
        s2,
        b' ',
        b'G',
        b'M',
        b'T',
    ] = text
    else {
        return None;
    };
    let month = MONTHS.iter().position(|month| **month == [*m1, *m2, *m3])?.checked_add(1)?;
    let year = if y.len() == 4 { number(y)? } else { return None };
    let two = |digits: [u8; 2]| number(&digits).and_then(|number| u8::try_from(number).ok());
    let (day, hour, minute) = (two([*d1, *d2])?, two([*h1, *h2])?, two([*n1, *n2])?);
    let time = DateTime::new(year, u8::try_from(month).ok()?, day, hour, minute, two([*s1, *s2])?).ok()?;
    Some(UnixTime::since_unix_epoch(time.unix_duration()))
}

fn number(digits: &[u8]) -> Option<u16> {
    let text = str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_date_is_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 30 Jan 2025 10:40:00 GMT", 1_738_233_600),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
        ] {
            assert_eq!(parse(text.as_bytes()).map(|time| time.as_secs()), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "Sun",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 199 08:49:37 GMT",
            "Sun, 06 Nov 19940 08:49:37 GMT",
            "Sun, 06 Nov 1066 08:49:37 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
