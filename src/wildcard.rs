//! Patterns with `*` and `?`: OpenSSH's `match_pattern` (`match.c`).

/// `*` matches any text, `?` any byte; other bytes are literal. Linear in memory and at worst quadratic in time, because
/// only the last star needs backtracking.
pub(crate) fn matches(text: &[u8], pattern: &[u8]) -> bool {
    matches_with(text, pattern, |token, byte| match token {
        [b'?', rest @ ..] => Some(rest),
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => None,
    })
}

/// The matching loop, for patterns whose other elements `one` knows. `one` removes the next element of the pattern if it matches the
/// byte.
pub(crate) fn matches_with<'p>(
    text: &[u8],
    pattern: &'p [u8],
    one: impl Fn(&'p [u8], u8) -> Option<&'p [u8]>,
) -> bool {
    let (mut text, mut pattern) = (text, pattern);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = pattern {
            pattern = after;
            retry = Some((text, after));
            continue;
        }
        match text.split_first() {
            None => return pattern.is_empty(),
            Some((byte, rest)) => {
                if let Some(after) = one(pattern, *byte) {
                    (text, pattern) = (rest, after);
                    continue;
                }
            }
        }
        // The last star matches one more byte.
        let Some((from, after)) = retry else { return false };
        let Some((_, rest)) = from.split_first() else { return false };
        retry = Some((rest, after));
        (text, pattern) = (rest, after);
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_stars_and_question_marks() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "*", true),
            ("root", "r*t", true),
            ("root", "r??t", true),
            ("root", "r?t", false),
            ("aXbXc", "*X*c", true),
            ("aaab", "*ab", true),
            ("a", "[a]", false),
        ] {
            assert_eq!(matches(text.as_bytes(), pattern.as_bytes()), expected, "{text} {pattern}");
        }
        let (long, evil) = ("a".repeat(20_000), "*a".repeat(30) + "b");
        assert!(!matches(long.as_bytes(), evil.as_bytes()), "ends in reasonable time");
    }
}
