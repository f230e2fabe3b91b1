//! The names of users that EC2 Instance Connect accepts.

use std::fmt;

/// A user name that EC2 Instance Connect accepts.
///
/// The pattern is `InstanceOSUser` in the API's model (`SendSSHPublicKey`, EC2 Instance Connect API reference). No character of such
/// a name is special in the path of a URL, so the name needs no encoding there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// `None` if EC2 Instance Connect does not accept this name.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        // (^[A-Za-z_][A-Za-z0-9\@\._-]{0,30}[A-Za-z0-9\$_-]?$)|
        // (^(?=.{2,32}$)[0-9]{1,32}[A-Za-z\@\._-][A-Za-z0-9\@\._-]*[A-Za-z0-9\$_-]?$)
        let (&first, rest) = name.split_first()?;
        if name.len() > 32 {
            return None;
        }
        let body = if first.is_ascii_alphabetic() || first == b'_' {
            rest
        } else {
            let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (_, rest) = name.split_at_checked(digits).filter(|_| digits > 0)?;
            let (&letter, rest) = rest.split_first()?;
            if !matches!(letter, b'A'..=b'Z' | b'a'..=b'z' | b'@' | b'.' | b'_' | b'-') {
                return None;
            }
            rest
        };
        if let Some((&last, middle)) = body.split_last() {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'_' | b'-');
            // In a name of 32 characters that begins with a letter or `_`, the last character must match the last class of the pattern.
            let full = name.len() == 32 && !first.is_ascii_digit();
            let ends = last == b'$' || (inner(last) && !(full && matches!(last, b'@' | b'.')));
            if !ends || !middle.iter().copied().all(inner) {
                return None;
            }
        }
        Some(Self(String::from_utf8(name.to_vec()).ok()?))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::UserName;

    #[test]
    fn user_names_are_those_that_the_api_takes() {
        let longest = "a".repeat(32);
        for name in [
            "a",
            "_",
            "ec2-user",
            "Ubuntu",
            "a.b",
            "a@b.c",
            "host$",
            "a-",
            "a.",
            "a@",
            "a..b",
            "1a",
            "0.",
            "12_$",
            &longest,
            "1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.",
        ] {
            assert!(UserName::parse(name.as_bytes()).is_some(), "{name}");
        }
        let too_long = "a".repeat(33);
        for name in [
            "",
            "-a",
            ".a",
            "@a",
            "$",
            "1",
            "123",
            "1$",
            "a$b",
            "a$$",
            "a/b",
            "..",
            "../a",
            "a%2e",
            "a?b",
            "a#b",
            "a b",
            "a\r",
            "a\n",
            "a\0",
            "a\\b",
            "ä",
            "aä",
            &too_long,
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@",
        ] {
            assert!(UserName::parse(name.as_bytes()).is_none(), "{name:?}");
        }
    }
}
