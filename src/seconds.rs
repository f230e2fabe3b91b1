//! A time in seconds as text.
//!
//! The program formats and parses no floating-point numbers: that code is larger than this module.

use std::fmt;
use std::time::Duration;

/// A time in seconds, to a tenth.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs())?;
        match self.0.subsec_millis() / 100 {
            0 => Ok(()),
            tenths => write!(f, ".{tenths}"),
        }
    }
}

/// A decimal number of seconds: digits, and at most nine more after a point.
pub(crate) fn decimal(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let nanoseconds = (fraction.len() <= 9).then(|| digits::<u64>(fraction)).flatten();
    let nanoseconds = nanoseconds.map(|_| format!("{fraction:0<9}"))?;
    Some(Duration::new(digits(whole)?, nanoseconds.parse().ok()?))
}

/// A number of digits only: `parse` accepts a sign.
pub(crate) fn digits<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let number = text.bytes().try_fold(0, |number: u64, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        number.checked_mul(10)?.checked_add(digit.into())
    });
    T::try_from(number.filter(|_| !text.is_empty())?).ok()
}
