//! [`SignedKey`] + [`Signer`] → [`VerifiedKey`].

use std::borrow::Borrow;
use std::ops::Deref;

use super::SignedKey;
use crate::trust::Signer;

/// A record whose signature holds. There is no other way to make one than [`SignedKey::verify`].
#[derive(Clone, Debug)]
pub struct VerifiedKey<'a>(SignedKey<'a>);

/// The signature is not the signer's, or not over these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

impl<'a> SignedKey<'a> {
    /// Proves that `signer` signed this record: RSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes
    /// (RFC 8017 section 8.1), over the record's bytes as they came.
    ///
    /// # Errors
    /// The signature does not hold.
    pub fn verify(self, signer: &Signer) -> Result<VerifiedKey<'a>, BadSignature> {
        if signer.signed(self.signed, &self.signature) { Ok(VerifiedKey(self)) } else { Err(BadSignature) }
    }
}

impl<'a> VerifiedKey<'a> {
    /// The line for sshd, as it was signed, without its LF.
    #[must_use]
    pub fn line(&self) -> &'a str {
        self.0.line
    }
}

impl<'a> Deref for VerifiedKey<'a> {
    type Target = SignedKey<'a>;

    fn deref(&self) -> &SignedKey<'a> {
        &self.0
    }
}

impl<'a> Borrow<SignedKey<'a>> for VerifiedKey<'a> {
    fn borrow(&self) -> &SignedKey<'a> {
        &self.0
    }
}
