//! The tokens that sshd replaces in values: TOKENS in `sshd_config(5)`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::account::Account;

/// The fingerprint of no bytes, and so of no key.
pub(crate) const ZERO_KEY_FINGERPRINT: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

/// The key of 32 zero bytes, in base64.
const ZERO_KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Replaces each token by its value, and `%%` by `%`. A token without a value stays.
pub(crate) fn expand(text: &[u8], value: impl Fn(char) -> Option<OsString>) -> OsString {
    let mut expanded = Vec::new();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            expanded.push(*byte);
            continue;
        }
        match bytes.next() {
            None | Some(b'%') => expanded.push(b'%'),
            Some(token) => match value(char::from(*token)) {
                Some(value) => expanded.extend(value.as_bytes()),
                None => expanded.extend([b'%', *token]),
            },
        }
    }
    OsString::from_vec(expanded)
}

/// The value of a token of the account, in every keyword that has tokens.
pub(crate) fn of_account(token: char, account: &Account) -> Option<OsString> {
    match token {
        'u' => Some((&account.name).into()),
        'U' => Some(account.uid.to_string().into()),
        'h' => Some(account.home.clone().into()),
        _ => None,
    }
}

/// A key that a client offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    pub(crate) fingerprint: &'a str,
    pub(crate) key_type: &'a str,
    pub(crate) base64: &'a str,
}

impl Offered<'static> {
    /// A key that does not exist.
    pub(crate) const NONE: Self =
        Self { fingerprint: ZERO_KEY_FINGERPRINT, key_type: "ssh-ed25519", base64: ZERO_KEY };
}

/// A word of AuthorizedKeysCommand for a login of the account with a key, without a routing domain.
pub(crate) fn expand_command(word: &[u8], account: &Account, offered: Offered<'_>) -> OsString {
    expand(word, |token| match token {
        'f' => Some(offered.fingerprint.into()),
        't' => Some(offered.key_type.into()),
        'k' => Some(offered.base64.into()),
        'D' => Some(OsString::new()),
        'C' => Some("192.0.2.1 50000 192.0.2.2 22".into()),
        _ => of_account(token, account),
    })
}

#[cfg(test)]
mod tests {
    use super::{Offered, ZERO_KEY, ZERO_KEY_FINGERPRINT, expand_command};
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
            ("%f", ZERO_KEY_FINGERPRINT),
            ("%t-%k", &format!("ssh-ed25519-{ZERO_KEY}")),
            ("[%D]", "[]"),
            ("%x%", "%x%"),
        ] {
            assert_eq!(expand_command(word.as_bytes(), &account, Offered::NONE), expected, "{word}");
        }
    }
}
