//! Why a record gives no key: each reason a value, which the log and `--check` put into the same words.

use std::fmt;

use super::SignedKey;
use super::record::RecordError;
use crate::ec2::InstanceId;
use crate::trust::{SignerName, UnixTime};

/// Why a record gives no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read.
    Unreadable(RecordError),
    /// There are this many before it, and no more are looked at.
    TooMany(usize),
    /// It was pushed to another instance.
    OtherInstance(InstanceId),
    /// It expired this many seconds ago.
    Expired(u64),
    /// The metadata service that delivered it speaks for another instance.
    ForeignService(InstanceId),
    /// Its signature is not by the signer of that name.
    BadSignature(SignerName),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::TooMany(most) => write!(f, "no more than {most} are looked at"),
            Self::OtherInstance(id) => write!(f, "it is for another instance, {id}"),
            Self::Expired(ago) => write!(f, "it expired {ago} s ago"),
            Self::ForeignService(id) => write!(f, "the metadata service is another instance's, {id}"),
            Self::BadSignature(name) => write!(f, "its signature is not by {name}"),
        }
    }
}

impl SignedKey<'_> {
    /// Whether the key was pushed to this instance, and not too long ago.
    ///
    /// # Errors
    /// It was not.
    pub fn still_for(&self, instance: &InstanceId, now: UnixTime) -> Result<(), Refusal> {
        if self.instance() != instance {
            return Err(Refusal::OtherInstance(self.instance().clone()));
        }
        match now.as_secs().checked_sub(self.expiry()) {
            Some(ago) => Err(Refusal::Expired(ago)),
            None => Ok(()),
        }
    }
}
