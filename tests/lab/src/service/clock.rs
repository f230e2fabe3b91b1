//! Times as AWS writes them.
use crate::utc;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// `20250130T104008Z`, as in a signature.
pub(super) fn basic(unix: i64) -> String {
    utc(unix).strftime(BASIC).to_string()
}

/// `2025-01-30T10:40:08Z`, as in an event.
pub(super) fn extended(unix: i64) -> String {
    utc(unix).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Seconds since the epoch of a time that [`basic`] wrote; `None` for anything else.
pub(super) fn seconds(basic_time: &str) -> Option<i64> {
    let time = DateTime::strptime(BASIC, basic_time).ok()?;
    let unix = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    // The parser also accepts other forms, such as spaces and fewer digits.
    (basic(unix) == basic_time).then_some(unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_and_read_back() {
        for unix in [0, 951_782_399, 951_782_400, 1_738_233_608, 1_772_323_200, 4_102_444_800] {
            assert_eq!(seconds(&basic(unix)), Some(unix));
        }
        assert_eq!(basic(1_738_233_608), "20250130T104008Z");
        assert_eq!(extended(1_738_233_608), "2025-01-30T10:40:08Z");
    }

    #[test]
    fn other_text_is_not_a_time() {
        for text in
            ["", "20250130", "20250230T104008Z", "20250130T104008", "20250130 104008Z", "2025-1-30T1:4:08Z"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
