//! The fingerprint of a key in sshd's format (`%f`, `ssh-keygen -l`).

use std::fmt;

use base64ct::{Base64Unpadded, Encoding};
use ring::digest;
use ssh_key::PublicKey;

/// `SHA256:` and 43 characters of base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

/// The text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAFingerprint;

impl fmt::Display for NotAFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FINGERPRINT is not of the form SHA256:... (%f in the AuthorizedKeysCommand)")
    }
}

impl std::error::Error for NotAFingerprint {}

impl Fingerprint {
    /// Parses sshd's value of `%f`.
    ///
    /// Returns `None` for an empty text and for `MD5:` (sshd with `FingerprintHash md5`). These cannot select a key here; sshd compares
    /// the keys itself.
    ///
    /// # Errors
    /// Fails if the text has none of sshd's formats.
    pub fn parse(text: &[u8]) -> Result<Option<Self>, NotAFingerprint> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(md5) = text.strip_prefix(b"MD5:") {
            let pairs = md5.split(|byte| *byte == b':');
            let hex = |pair: &[u8]| pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
            return if pairs.clone().count() == 16 && pairs.clone().all(hex) {
                Ok(None)
            } else {
                Err(NotAFingerprint)
            };
        }
        if !Self::is_sha256(text) {
            return Err(NotAFingerprint);
        }
        let text = String::from_utf8(text.to_vec()).map_err(|_| NotAFingerprint)?;
        Ok(Some(Self(text)))
    }

    /// Whether the text is a fingerprint that selects a key.
    pub(crate) fn is_sha256(text: &[u8]) -> bool {
        let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        text.strip_prefix(b"SHA256:").is_some_and(|base64| base64.len() == 43 && base64.iter().all(alphabet))
    }

    /// The fingerprint of `key`. `None` if the key is too long for its format.
    #[must_use]
    pub fn of(key: &PublicKey) -> Option<Self> {
        // With ring, as all digests: ssh-key's own code would detect the processor's features a second time.
        let digest = digest::digest(&digest::SHA256, &key.to_bytes().ok()?);
        Some(Self(format!("SHA256:{}", Base64Unpadded::encode_string(digest.as_ref()))))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, NotAFingerprint};

    #[test]
    fn what_sshd_gives_for_f() {
        let sha256 = b"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        assert!(matches!(Fingerprint::parse(sha256), Ok(Some(_))));
        for none in [&b""[..], b"MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e"] {
            assert_eq!(Fingerprint::parse(none), Ok(None));
        }
        for wrong in [
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "SHA256:",
            "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF",
            "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "SHA256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
            "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "MD5:",
            "MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42",
            "MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:zz",
            "SHA1:2jmj7l5rSw0yVb/vlWAYkK/YBwk",
            "ssh-ed25519",
        ] {
            assert_eq!(Fingerprint::parse(wrong.as_bytes()), Err(NotAFingerprint), "{wrong}");
        }
    }
}
