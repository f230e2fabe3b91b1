//! `--since TIME` and `--until TIME`

use crate::calendar::{DAY, MICROS, date_and_clock, rfc3339};
use crate::time_zone::TimeZone;

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeArgument {
    /// So many seconds ago: `24h`, `7d`.
    Ago(u64),
    /// The beginning of a day on the system's clock: `2026-11-21`. In seconds since 1970-01-01 00:00 of that clock.
    Date(u64),
    /// A time of RFC 3339 with whole seconds, in seconds since 1970.
    Second(u64),
    /// A time of RFC 3339 with a fraction of a second, in microseconds since 1970.
    Micros(u64),
}

impl TimeArgument {
    /// `None` if it has another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let units = [('m', 60), ('h', 60 * 60), ('d', DAY), ('w', 7 * DAY)];
        for (unit, seconds) in units {
            if let Some(number) = text.strip_suffix(unit) {
                let digits =
                    (1..=9).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
                return digits
                    .then(|| number.parse::<u64>().ok()?.checked_mul(seconds))
                    .flatten()
                    .map(Self::Ago);
            }
        }
        if let Some(date) = date_and_clock(text, "00:00:00") {
            return Some(Self::Date(date));
        }
        let micros = rfc3339(text)?;
        Some(if text.contains('.') {
            Self::Micros(micros)
        } else {
            Self::Second(micros.wrapping_div(MICROS))
        })
    }

    /// The first microsecond of it, since 1970.
    pub(super) fn first(self, now: u64, zone: &TimeZone) -> u64 {
        let seconds = match self {
            Self::Ago(seconds) => now.saturating_sub(seconds),
            Self::Date(local) => zone.instants(local).0,
            Self::Second(time) => time,
            Self::Micros(time) => return time,
        };
        seconds.saturating_mul(MICROS)
    }

    /// The last microsecond of it, since 1970: a time without a fraction is that second, as reports show times.
    pub(super) fn last(self, now: u64, zone: &TimeZone) -> u64 {
        let first = self.first(now, zone);
        if matches!(self, Self::Micros(_)) { first } else { first.saturating_add(MICROS).saturating_sub(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::TimeArgument;
    use crate::time_zone::TimeZone;

    #[test]
    fn the_forms_of_a_time() {
        for (text, expected) in [
            ("24h", Some(TimeArgument::Ago(86_400))),
            ("7d", Some(TimeArgument::Ago(7 * 86_400))),
            ("90m", Some(TimeArgument::Ago(5_400))),
            ("2w", Some(TimeArgument::Ago(14 * 86_400))),
            ("2026-11-21", Some(TimeArgument::Date(1_795_219_200))),
            ("2026-11-21T12:00:00Z", Some(TimeArgument::Second(1_795_262_400))),
            ("2026-11-21T12:00:00.5+01:00", Some(TimeArgument::Micros(1_795_258_800_500_000))),
            ("2026-11-21T12:00:00.000000Z", Some(TimeArgument::Micros(1_795_262_400_000_000))),
            ("", None),
            ("h", None),
            ("-1h", None),
            ("+1h", None),
            ("1.5h", None),
            ("9999999999d", None),
            ("24", None),
            ("yesterday", None),
            ("2026-13-01", None),
            ("2026-1-1", None),
            ("2026-11-21T12:00:00", None),
            ("2026-11-21 12:00", None),
        ] {
            assert_eq!(TimeArgument::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_day_begins_on_the_local_clock() {
        let zone = TimeZone::fixed(3600);
        assert_eq!(TimeArgument::Date(1_795_219_200).first(0, &zone), 1_795_215_600_000_000);
        assert_eq!(TimeArgument::Ago(7).first(5, &zone), 0);
        assert_eq!(
            (TimeArgument::Second(7).first(5, &zone), TimeArgument::Second(7).last(5, &zone)),
            (7_000_000, 7_999_999)
        );
        assert_eq!((TimeArgument::Micros(7).first(5, &zone), TimeArgument::Micros(7).last(5, &zone)), (7, 7));
    }
}
