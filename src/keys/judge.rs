//! Judges records before the signer is known: what a login and `--check` have in common.

use super::{Fingerprint, Refusal, SignedKey, record};
use crate::limits;

/// A record, judged by what it says and by the key that the client offers.
#[derive(Debug)]
pub(crate) enum Judged<'a> {
    /// It is for that key, which may be given to sshd if it is valid and signed.
    Offered(SignedKey<'a>),
    /// It is for another key. This is normal: a client offers its keys one after the other.
    NotOffered(SignedKey<'a>),
    /// Something is wrong with it.
    Refused(Refusal),
}

/// Judges the records of `text` in their order. `offered` is the fingerprint of the key that the client offers, if known. At most
/// [`limits::RECORDS`] records are read; if there are more, the last item says so.
pub(crate) fn judge<'a>(text: &'a [u8], offered: Option<&Fingerprint>) -> impl Iterator<Item = Judged<'a>> {
    let records = record::records(text).enumerate().take(limits::RECORDS.saturating_add(1));
    records.map(move |(number, record)| match record {
        _ if number >= limits::RECORDS => Judged::Refused(Refusal::TooMany(limits::RECORDS)),
        Err(error) => Judged::Refused(Refusal::Unreadable(error)),
        Ok(key) if offered.is_none_or(|offered| offered == key.fingerprint()) => Judged::Offered(key),
        Ok(key) => Judged::NotOffered(key),
    })
}
