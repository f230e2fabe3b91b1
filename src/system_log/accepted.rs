//! What sshd logs when it accepts a key.

use std::borrow::Cow;

use super::{non_empty, split, split_last, unescaped};
use crate::keys::Fingerprint;
use crate::seconds::digits;

/// The beginning of the message about a key that is enough for a login.
pub(crate) const ACCEPTED_KEY: &str = "Accepted publickey for ";

/// The client of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client<Text> {
    pub(crate) user: Text,
    pub(crate) address: Text,
    pub(crate) port: u16,
}

impl From<Client<Cow<'_, str>>> for Client<String> {
    fn from(Client { user, address, port }: Client<Cow<'_, str>>) -> Self {
        Self { user: user.into_owned(), address: address.into_owned(), port }
    }
}

/// The client, and the fingerprint of the key.
pub(crate) type ClientKey<'a> = (Client<Cow<'a, str>>, &'a str);

/// Reads the message about a key that is enough for a login.
pub(crate) fn accepted_key(message: &str) -> Option<ClientKey<'_>> {
    key(message.strip_prefix(ACCEPTED_KEY)?)
}

/// Reads `USER from ADDRESS port PORT ssh2: TYPE FINGERPRINT`. A certificate has more words, some of which its owner chooses.
pub(crate) fn key(text: &str) -> Option<ClientKey<'_>> {
    let (who, key) = split_last(text, " ssh2: ")?;
    let (_, fingerprint) = split(key, " ")?;
    Some((client(who)?, Fingerprint::is_sha256(fingerprint.as_bytes()).then_some(fingerprint)?))
}

/// Reads `USER from ADDRESS port PORT`. A user name can contain ` from `; what follows it cannot.
pub(crate) fn client(text: &str) -> Option<Client<Cow<'_, str>>> {
    let (user, from) = split_last(text, " from ")?;
    let (address, port) = split(from, " port ")?;
    let address = non_empty(address).filter(|address| !address.contains(' '))?;
    Some(Client { user: unescaped(non_empty(user)?), address: address.into(), port: digits(port)? })
}
