//! Times as AWS writes them.
use crate::der::calendar;

/// `20250130T104008Z`, as in a signature.
pub(super) fn basic(unix: i64) -> String {
    let (year, rest) = calendar(unix);
    format!("{year:04}{}T{}Z", &rest[..4], &rest[4..])
}

/// `2025-01-30T10:40:08Z`, as in an event.
pub(super) fn extended(unix: i64) -> String {
    let (year, rest) = calendar(unix);
    let two = |at: usize| &rest[at..at + 2];
    format!("{year:04}-{}-{}T{}:{}:{}Z", two(0), two(2), two(4), two(6), two(8))
}

/// Seconds since the epoch of a time that [`basic`] wrote; `None` for anything else.
pub(super) fn seconds(basic_time: &str) -> Option<i64> {
    let number = |range| basic_time.get(range).and_then(|digits: &str| digits.parse::<i64>().ok());
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    // The days before a year and a month, in years that begin in March, so that a leap day is their last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 719_469;
    let unix = days * 86_400 + hour * 3_600 + minute * 60 + second;
    // What is written differently, or is no time at all, does not come out as it went in.
    (basic(unix) == basic_time).then_some(unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_there_and_back() {
        for unix in [0, 951_782_399, 951_782_400, 1_738_233_608, 1_772_323_200, 4_102_444_800] {
            assert_eq!(seconds(&basic(unix)), Some(unix));
        }
        assert_eq!(basic(1_738_233_608), "20250130T104008Z");
        assert_eq!(extended(1_738_233_608), "2025-01-30T10:40:08Z");
    }

    #[test]
    fn what_is_no_time() {
        for text in
            ["", "20250130", "20250230T104008Z", "20250130T104008", "20250130 104008Z", "2025-1-30T1:4:08Z"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
