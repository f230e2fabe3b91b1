//! The IAM principals whose keys are accepted: `--principal`.

use std::error::Error;
use std::fmt;

use crate::limits;
use crate::wildcard;

/// Patterns for the IAM principal that pushed a key. Without patterns, every principal is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals(Vec<Vec<u8>>);

impl Principals {
    /// Adds a pattern for a whole ARN. `*` matches any text and `?` any character, `:` and `/` included; all other
    /// characters are literal, and their case matters.
    ///
    /// # Errors
    /// Fails if the pattern is empty or longer than an ARN, or if there are [`limits::PRINCIPALS`] already.
    pub fn add(&mut self, pattern: &[u8]) -> Result<(), PatternError> {
        if pattern.is_empty() {
            Err(PatternError::Empty)
        } else if pattern.len() > limits::ARN {
            Err(PatternError::TooLong)
        } else if self.0.len() >= limits::PRINCIPALS {
            Err(PatternError::TooMany)
        } else {
            self.0.push(pattern.to_vec());
            Ok(())
        }
    }

    /// Whether a key may be used that this principal pushed: the `Caller` of its record, if it has one.
    #[must_use]
    pub fn accept(&self, principal: Option<&[u8]>) -> bool {
        self.0.is_empty()
            || principal.is_some_and(|arn| self.0.iter().any(|pattern| wildcard::matches(arn, pattern)))
    }

    /// The patterns, in the order in which they were added.
    pub fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// Why a pattern is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It is empty.
    Empty,
    /// It is longer than [`limits::ARN`].
    TooLong,
    /// There are more than [`limits::PRINCIPALS`].
    TooMany,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the pattern is empty"),
            Self::TooLong => {
                write!(f, "the pattern has more than {} characters, and no ARN is so long", limits::ARN)
            }
            Self::TooMany => write!(f, "there are more than {} patterns", limits::PRINCIPALS),
        }
    }
}

impl Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::{PatternError, Principals};
    use crate::limits;

    fn principals(patterns: &[&str]) -> Principals {
        let mut principals = Principals::default();
        for pattern in patterns {
            assert_eq!(principals.add(pattern.as_bytes()), Ok(()));
        }
        principals
    }

    #[test]
    fn a_pattern_matches_the_whole_arn() {
        const ANNA: &str = "arn:aws:iam::123412341234:user/ops/anna";
        for (patterns, arn, expected) in [
            (&[][..], Some(ANNA), true),
            (&[], None, true),
            (&["*"], None, false),
            (&["*"], Some(""), true),
            (&[ANNA], Some(ANNA), true),
            (&[ANNA], Some("arn:aws:iam::123412341234:user/ops/ann"), false),
            (&[ANNA], Some("arn:aws:iam::123412341234:user/ops/anna2"), false),
            (&["arn:aws:iam::123412341234:user/ops/ANNA"], Some(ANNA), false),
            (&["user/ops/anna"], Some(ANNA), false),
            (&["arn:aws:iam::*:user/*"], Some(ANNA), true),
            (&["arn:*anna"], Some(ANNA), true),
            (&["arn:aws:iam::123412341234?user?ops/anna"], Some(ANNA), true),
            (&["arn:aws:iam::123412341234:user/ops/[a]nna"], Some(ANNA), false),
            (&["!*", "arn:aws:sts:*"], Some(ANNA), false),
            (&["arn:aws:sts:*", ANNA], Some(ANNA), true),
        ] {
            let accepted = principals(patterns).accept(arn.map(str::as_bytes));
            assert_eq!(accepted, expected, "{patterns:?} {arn:?}");
        }
    }

    #[test]
    fn refuses_patterns_without_effect_and_too_many() {
        let mut all = Principals::default();
        assert_eq!(all.add(b""), Err(PatternError::Empty));
        assert_eq!(all.add(&vec![b'*'; limits::ARN + 1]), Err(PatternError::TooLong));
        for _ in 0..limits::PRINCIPALS {
            assert_eq!(all.add(&vec![b'*'; limits::ARN]), Ok(()));
        }
        assert_eq!(all.add(b"*"), Err(PatternError::TooMany));
        assert_eq!(all.patterns().count(), limits::PRINCIPALS);
    }
}
