//! What may be pushed: the patterns of the API's model, and the accepted types of key.
use openssl::base64::decode_block;

/// The model's pattern of a user's name.
pub const USER_PATTERN: &str = r"(^[A-Za-z_][A-Za-z0-9\@\._-]{0,30}[A-Za-z0-9\$_-]?$)|(^(?=.{2,32}$)[0-9]{1,32}[A-Za-z\@\._-][A-Za-z0-9\@\._-]*[A-Za-z0-9\$_-]?$)";

/// `^i-[a-f0-9]+$`
pub fn is_instance_id(text: &str) -> bool {
    let digits = text.strip_prefix("i-").unwrap_or_default();
    !digits.is_empty() && digits.chars().all(|c| matches!(c, 'a'..='f' | '0'..='9'))
}

/// [`USER_PATTERN`]
pub fn is_user(text: &str) -> bool {
    let middle = |c: char| c.is_ascii_alphanumeric() || "@._-".contains(c);
    let last = |c: char| c.is_ascii_alphanumeric() || "$_-".contains(c);
    let Some(end) = text.chars().last() else { return false };
    // The last character has a class of its own, or is one more of the middle.
    let inner = &text[..text.len() - end.len_utf8()];
    let fits = |from: usize| inner.get(from..).is_some_and(|rest| rest.chars().all(middle));
    if !(middle(end) || last(end)) || text.len() > 32 {
        return false;
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let first = text[digits..].chars().next();
    match (digits, first) {
        (_, None) => false,
        // Of 32 characters the last one is past the 30 of the middle.
        (0, Some(c)) if text.len() == 1 => c.is_ascii_alphabetic() || c == '_',
        (0, Some(c)) => (c.is_ascii_alphabetic() || c == '_') && fits(1) && (text.len() < 32 || last(end)),
        (_, Some(c)) if text.len() == digits + 1 => c.is_ascii_alphabetic() || "@._-".contains(c),
        (_, Some(c)) => (c.is_ascii_alphabetic() || "@._-".contains(c)) && fits(digits + 1),
    }
}

/// `^(\w+-){2,3}\d+\w+$`
pub fn is_zone(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let Some((last, first)) = parts.split_last() else { return false };
    matches!(first.len(), 2 | 3)
        && parts.iter().all(word)
        && last.len() > 1
        && last.starts_with(|c: char| c.is_ascii_digit())
}

/// Checks that it is one public key of a type and size that the API accepts: RSA of 2048 or 4096 bits, ed25519.
///
/// # Errors
/// AWS's text before "SSH Public key is invalid".
pub fn check_key(line: &str) -> Result<(), &'static str> {
    let mut words = line.split(' ');
    let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (named, size): (_, Size) = match kind {
        "ssh-rsa" => ("RSA - ", |parts| {
            let [_, modulus] = parts else { return false };
            let leading = modulus.iter().take_while(|byte| **byte == 0).count();
            let first = modulus.get(leading).map_or(8, |byte| byte.leading_zeros() as usize);
            matches!((modulus.len() - leading) * 8 - first, 2048 | 4096)
        }),
        "ssh-ed25519" => ("ED25519 - ", |parts| matches!(parts, [key] if key.len() == 32)),
        _ => return Err(""),
    };
    let blob = decode_block(blob).unwrap_or_default();
    let fits = match strings(&blob).as_deref() {
        Some([first, rest @ ..]) => *first == kind.as_bytes() && size(rest),
        _ => false,
    };
    if fits && !line.contains(char::is_control) { Ok(()) } else { Err(named) }
}

/// Whether these strings, which follow its type, are a key of an accepted size.
type Size = fn(&[&[u8]]) -> bool;

/// The strings in some bytes, each preceded by its length (RFC 4251 section 5).
fn strings(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (string, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        found.push(string);
        bytes = rest;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserKey;

    #[test]
    fn user_names_have_their_pattern() {
        let long = |length: usize| "a".repeat(length);
        for name in [
            "a",
            "_",
            "ec2-user",
            "a.b@c",
            "host$",
            "1a",
            "0-",
            "123abc",
            "12.",
            "1ab$",
            &long(31),
            &long(32),
        ] {
            assert!(is_user(name), "{name}");
        }
        for name in ["", "-a", ".a", "$", "1", "123", "a/b", "a b", "ä", "a\n", "a$b", "1$", &long(33)] {
            assert!(!is_user(name), "{name}");
        }
        assert!(!is_user(&format!("{}.", long(31))) && is_user(&format!("{}.", long(30))));
    }

    #[test]
    fn zones_and_instance_ids_have_their_pattern() {
        for zone in ["us-east-1a", "us-gov-west-1a", "eusc-de-east-1a"] {
            assert!(is_zone(zone), "{zone}");
        }
        for zone in ["", "us-east-1", "useast1a", "us-east-a", "us--1a", "us-west-2-lax-1a", "us-east-1a "] {
            assert!(!is_zone(zone), "{zone}");
        }
        assert!(is_instance_id("i-0123456789abcdef0"));
        for id in ["", "i-", "i-0123X", "mi-0123456789abcdef0", "I-0123456789"] {
            assert!(!is_instance_id(id), "{id}");
        }
    }

    #[test]
    fn only_ed25519_and_rsa_keys_are_accepted() {
        let ed25519 = UserKey::ed25519();
        for line in [ed25519.line(), UserKey::rsa(2048).line(), UserKey::rsa(4096).line()] {
            assert_eq!(check_key(line), Ok(()), "{line}");
            assert_eq!(check_key(&format!("{line} somebody@somewhere")), Ok(()));
        }
        for bits in [1024, 3072] {
            assert_eq!(check_key(UserKey::rsa(bits).line()), Err("RSA - "), "{bits}");
        }
        assert_eq!(check_key(UserKey::generate("ecdsa", 256).line()), Err(""));
        assert_eq!(check_key(UserKey::sk_ed25519().line()), Err(""));
        assert_eq!(check_key(&ed25519.line().replace("ssh-ed25519", "ssh-rsa")), Err("RSA - "));
        assert_eq!(check_key(&format!("{0}\n{0}", ed25519.line())), Err("ED25519 - "));
        assert_eq!(check_key(&ed25519.line()[..60]), Err("ED25519 - "));
        assert_eq!(check_key(&format!("command=\"id\" {}", ed25519.line())), Err(""));
    }
}
