//! The tokens that sshd replaces in AuthorizedKeysCommand: TOKENS in `sshd_config(5)`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::account::Account;

/// The fingerprint of no bytes, and so of no key.
pub(crate) const NO_KEY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

/// A word of the line with the values that sshd replaces tokens by, and a key that does not exist.
pub(super) fn expand(word: &[u8], account: &Account) -> OsString {
    let mut expanded = Vec::new();
    let mut bytes = word.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            expanded.push(*byte);
            continue;
        }
        let token = bytes.next().copied().unwrap_or(b'%');
        match token {
            b'%' => expanded.push(b'%'),
            b'u' => expanded.extend(account.name.as_bytes()),
            b'U' => expanded.extend(account.uid.to_string().as_bytes()),
            b'h' => expanded.extend(OsStr::as_bytes(account.home.as_os_str())),
            b'f' => expanded.extend(NO_KEY.as_bytes()),
            b't' => expanded.extend(b"ssh-ed25519"),
            other => expanded.extend([b'%', other]),
        }
    }
    OsString::from_vec(expanded)
}

#[cfg(test)]
mod tests {
    use super::{NO_KEY, expand};
    use crate::account::Account;

    #[test]
    fn tokens() {
        let account = Account {
            name: "alice".to_owned(),
            uid: 7,
            gid: 7,
            groups: Vec::new(),
            gids: Vec::new(),
            home: "/home/alice".into(),
            shell: "/bin/sh".into(),
        };
        for (word, expected) in [
            ("%u", "alice"),
            ("--x=%h/%U", "--x=/home/alice/7"),
            ("100%%u", "100%u"),
            ("%f", NO_KEY),
            ("%x%", "%x%"),
        ] {
            assert_eq!(expand(word.as_bytes(), &account), expected, "{word}");
        }
    }
}
