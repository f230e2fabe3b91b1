//! The reasons to refuse a record. The log and `--check` print the same text for each.

use std::fmt;

use super::record::RecordError;
use crate::ec2::InstanceId;

/// Why a record gives no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be parsed.
    Unreadable(RecordError),
    /// It follows this many other records, which is the limit.
    TooMany(usize),
    /// It was pushed to another instance.
    OtherInstance(InstanceId),
    /// It expired this many seconds ago.
    Expired(u64),
    /// Its IAM principal matches no pattern of `--principal`.
    OtherPrincipal,
    /// It does not name its IAM principal, and `--principal` is given.
    NoPrincipal,
    /// The metadata service that returned it belongs to another instance.
    OtherService(InstanceId),
    /// It has no valid signature of the signer with this name.
    BadSignature(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::TooMany(most) => write!(f, "only the first {most} records are read"),
            Self::OtherInstance(id) => write!(f, "it is for another instance, {id}"),
            Self::Expired(ago) => write!(f, "it expired {ago} s ago"),
            Self::OtherPrincipal => f.write_str("its IAM principal matches no --principal pattern"),
            Self::NoPrincipal => f.write_str("it names no IAM principal, which --principal needs"),
            Self::OtherService(id) => write!(f, "the metadata service belongs to another instance, {id}"),
            Self::BadSignature(name) => write!(f, "it is not signed by {name}"),
        }
    }
}

impl std::error::Error for Refusal {}
