//! Selects the records of a user that are for the key that the client offers. A login and `--check` both call this.

use super::{Fingerprint, Refusal, UnverifiedKey, record};
use crate::limits;

/// Whether a record is for the key that the client offers. Its signature, instance, principal and time are checked later.
#[derive(Debug)]
pub(crate) enum Selected<'a> {
    /// It is for that key.
    Offered(UnverifiedKey<'a>),
    /// It is for another key. This is normal: a client offers its keys one after the other.
    NotOffered(UnverifiedKey<'a>),
    /// It cannot be read, or there are too many records.
    Refused(Refusal),
}

/// Reads the records of `text` in their order. `fingerprint` is that of the key that the client offers, if known. At most
/// [`limits::RECORDS`] records are read; if there are more, the last item says so.
pub(crate) fn select<'a>(
    text: &'a [u8],
    fingerprint: Option<&Fingerprint>,
) -> impl Iterator<Item = Selected<'a>> {
    let records = record::records(text).enumerate().take(limits::RECORDS.saturating_add(1));
    records.map(move |(number, record)| match record {
        _ if number >= limits::RECORDS => Selected::Refused(Refusal::TooMany(limits::RECORDS)),
        Err(error) => Selected::Refused(Refusal::Unreadable(error)),
        Ok(key) if fingerprint.is_none_or(|offered| offered == key.fingerprint()) => Selected::Offered(key),
        Ok(key) => Selected::NotOffered(key),
    })
}
