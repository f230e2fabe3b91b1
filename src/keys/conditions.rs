//! The conditions of a key: it is for this instance, pushed by one of these principals, and not expired.

use std::ops::Deref;

use super::{Refusal, UnverifiedKey, VerifiedKey};
use crate::ec2::InstanceId;
use crate::principal::Principals;
use crate::trust::{Signer, UnixTime};

/// A key that sshd may accept: its signature is valid, it was pushed to this instance by an accepted
/// principal, and it has not expired.
/// [`UnverifiedKey::verify_and_check`] is the only way to make one.
#[derive(Clone, Debug)]
pub struct AuthorizedKey<'a>(VerifiedKey<'a>);

impl UnverifiedKey<'_> {
    /// Checks that the key was pushed to this instance, by one of these principals, and has not expired. It expires in the
    /// second of its timestamp.
    ///
    /// # Errors
    /// Fails if any of these checks fails.
    pub fn check_conditions(
        &self,
        instance: &InstanceId,
        principals: &Principals,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        if self.instance() != instance {
            return Err(Refusal::OtherInstance(self.instance().clone()));
        }
        if !principals.accept(self.principal()) {
            return Err(self.principal().map_or(Refusal::NoPrincipal, |_| Refusal::OtherPrincipal));
        }
        match now.as_secs().checked_sub(self.expiry()) {
            Some(ago) => Err(Refusal::Expired(ago)),
            None => Ok(()),
        }
    }
}

impl<'a> UnverifiedKey<'a> {
    /// Verifies the signature, and checks these conditions a last time, immediately before the key is printed.
    ///
    /// # Errors
    /// Fails if the signature is not valid, or as [`UnverifiedKey::check_conditions`].
    pub fn verify_and_check(
        self,
        signer: &Signer,
        instance: &InstanceId,
        principals: &Principals,
        now: UnixTime,
    ) -> Result<AuthorizedKey<'a>, Refusal> {
        let verified = self.verify(signer)?;
        verified.check_conditions(instance, principals, now).map(|()| AuthorizedKey(verified))
    }
}

impl<'a> Deref for AuthorizedKey<'a> {
    type Target = VerifiedKey<'a>;

    fn deref(&self) -> &VerifiedKey<'a> {
        &self.0
    }
}
