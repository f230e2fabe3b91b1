//! [`UnverifiedKey`] + [`Signer`] → [`VerifiedKey`].

use std::ops::Deref;

use super::{Refusal, UnverifiedKey};
use crate::trust::Signer;

/// A record with a valid signature. Only [`UnverifiedKey::verify`] creates it.
#[derive(Clone, Debug)]
pub struct VerifiedKey<'a>(UnverifiedKey<'a>);

impl<'a> UnverifiedKey<'a> {
    /// Verifies the signature of `signer`: RSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes (RFC 8017 section 8.1), over
    /// the bytes of the record as received.
    ///
    /// # Errors
    /// Fails if the signature is not valid.
    pub fn verify(self, signer: &Signer) -> Result<VerifiedKey<'a>, Refusal> {
        if signer.verifies(self.signed_bytes, &self.signature) {
            Ok(VerifiedKey(self))
        } else {
            Err(Refusal::BadSignature(signer.name()))
        }
    }
}

impl<'a> VerifiedKey<'a> {
    /// The key line as signed, without its LF.
    #[must_use]
    pub fn line(&self) -> &'a str {
        self.0.line
    }
}

impl<'a> Deref for VerifiedKey<'a> {
    type Target = UnverifiedKey<'a>;

    fn deref(&self) -> &UnverifiedKey<'a> {
        &self.0
    }
}
