//! The patterns of glob(7), one component of a path at a time.

use crate::wildcard::matches_with;

/// Whether a file name matches one component of a glob: `*`, `?`, `[...]` and `\`. A leading dot must be matched
/// explicitly.
pub(crate) fn glob_matches(name: &[u8], pattern: &[u8]) -> bool {
    if name.first() == Some(&b'.') && !matches!(pattern, [b'.', ..] | [b'\\', b'.', ..]) {
        return false;
    }
    matches_with(name, pattern, |token, byte| match token {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => match bracket(rest, byte) {
            Some((true, rest)) => Some(rest),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(rest),
        },
        [b'\\', first, rest @ ..] | [first, rest @ ..] => (*first == byte).then_some(rest),
        [] => None,
    })
}

/// `[...]` after the opening bracket: whether it contains the byte, and the text after it. `None` if it has no end,
/// in which case it is literal text.
fn bracket(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut set) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let (mut found, mut first) = (false, true);
    loop {
        match set {
            [b']', rest @ ..] if !first => return Some((found != negated, rest)),
            [low, b'-', high, rest @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                set = rest;
            }
            [one, rest @ ..] => {
                found |= *one == byte;
                set = rest;
            }
            [] => return None,
        }
        first = false;
    }
}

/// Whether glob(3) treats this text as a pattern.
pub(crate) fn is_glob(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_globs() {
        for (name, pattern, expected) in [
            ("50-a.conf", "*.conf", true),
            (".50-a.conf", "*.conf", false),
            (".a", ".*", true),
            ("a.conf~", "*.conf", false),
            ("b", "[a-c]", true),
            ("b", "[!a-c]", false),
            ("]", "[]]", true),
            ("*", "\\*", true),
            ("x", "\\*", false),
            ("[a", "[a", true),
        ] {
            assert_eq!(glob_matches(name.as_bytes(), pattern.as_bytes()), expected, "{name} {pattern}");
        }
    }
}
