//! What a line of sshd or eic-keys says about a login.
//!
//! A client chooses its user name and some words of its disconnection, so that a line can contain any text. A message is read from its
//! beginning, and from its end where the text in between is a name.

use crate::keys::Fingerprint;
use crate::log_lines::{PROVIDED_FOR, PROVIDING, REFUSED};
use crate::system_log::{EIC_KEYS, Entry, is_sshd, unescaped};

/// One of these is in every line that [`event`] reads.
pub(super) const WORDS: [&str; 6] = [
    "eic-keys[",
    "]: Accepted ",
    "]: Partial publickey ",
    "(sshd:session): session closed ",
    " from user ",
    " by user ",
];

/// The same for the option `--grep` of journalctl, which searches messages only.
pub(super) const PATTERN: &str = "^Accepted |^Partial publickey |^pam_unix.sshd:session.: session closed |\
    ^(Disconnected|Connection (closed|reset)|Timeout, client not responding) (from|by) |\
    ^Providing ssh key |^Provided SHA256:|^Refused a record ";

/// What eic-keys logs of a record: its fingerprint, request ID and IAM principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Push {
    pub(super) fingerprint: String,
    pub(super) request: Option<String>,
    pub(super) principal: Option<String>,
}

/// The client of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) user: String,
    pub(super) address: String,
    pub(super) port: u16,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// eic-keys printed a key.
    Provided(Push),
    /// The user for whom it printed it, by the same process.
    ProvidedFor { fingerprint: String, user: String },
    /// eic-keys refused a record.
    Refused { user: String, reason: String, push: Option<Push> },
    /// sshd accepted a key.
    Accepted { client: Client, fingerprint: String },
    /// sshd accepted a key, and wants another method as well.
    Partial { client: Client, fingerprint: String },
    /// sshd accepted another method.
    AcceptedOther(Client),
    /// PAM closed the session of a user.
    Closed { user: String },
    /// A connection ended. sshd names the user since version 7.5.
    Disconnected { user: Option<String>, address: String, port: u16 },
}

/// Reads a line. `None` for one that says nothing about a login.
pub(super) fn event(entry: &Entry) -> Option<Event> {
    match entry.program.as_str() {
        EIC_KEYS => ours(&entry.message),
        program if is_sshd(program) => sshds(&entry.message),
        _ => None,
    }
}

fn ours(message: &str) -> Option<Event> {
    if let Some(rest) = message.strip_prefix(PROVIDING) {
        return push(rest.strip_prefix(FINGERPRINT)?).map(Event::Provided);
    }
    if let Some(rest) = message.strip_prefix(PROVIDED_FOR) {
        let (fingerprint, user) = rest.split_once(" for ")?;
        let fingerprint = is_fingerprint(fingerprint)?;
        return Some(Event::ProvidedFor { fingerprint, user: user.to_owned() });
    }
    let (user, reason) = message.strip_prefix(REFUSED)?.split_once(": ")?;
    let described = format!(",{FINGERPRINT}");
    let parts = reason.split_once(&described).and_then(|(reason, rest)| Some((reason, push(rest)?)));
    let (reason, push) = parts.map_or((reason, None), |(reason, push)| (reason, Some(push)));
    Some(Event::Refused { user: user.to_owned(), reason: reason.to_owned(), push })
}

const FINGERPRINT: &str = " fingerprint: ";
const REQUEST: &str = ", request-id: ";
const PRINCIPAL: &str = ", for IAM principal: ";

/// Reads what follows `fingerprint: `.
fn push(text: &str) -> Option<Push> {
    let (text, principal) = match text.rsplit_once(PRINCIPAL) {
        Some((text, principal)) => (text, Some(principal.to_owned())),
        None => (text, None),
    };
    let (fingerprint, request) = match text.split_once(REQUEST) {
        Some((fingerprint, request)) => (fingerprint, Some(request.to_owned())),
        None => (text, None),
    };
    Some(Push { fingerprint: is_fingerprint(fingerprint)?, request, principal })
}

fn is_fingerprint(text: &str) -> Option<String> {
    Fingerprint::parse(text.as_bytes()).ok().flatten().map(|_| text.to_owned())
}

fn sshds(message: &str) -> Option<Event> {
    if let Some(rest) = message.strip_prefix("Accepted publickey for ") {
        return key(rest).map(|(client, fingerprint)| Event::Accepted { client, fingerprint });
    }
    if let Some(rest) = message.strip_prefix("Partial publickey for ") {
        return key(rest).map(|(client, fingerprint)| Event::Partial { client, fingerprint });
    }
    if let Some(rest) = message.strip_prefix("Accepted ") {
        let (_, rest) = rest.split_once(" for ")?;
        return client(rest.strip_suffix(" ssh2")?).map(Event::AcceptedOther);
    }
    if let Some(user) = message.strip_prefix("pam_unix(sshd:session): session closed for user ") {
        return Some(Event::Closed { user: unescaped(user) });
    }
    let ends = [
        "Disconnected from ",
        "Connection closed by ",
        "Connection reset by ",
        "Timeout, client not responding from ",
    ];
    let rest = ends.iter().find_map(|begin| message.strip_prefix(begin))?;
    let (who, port) = rest.rsplit_once(" port ")?;
    let (user, address) = match who.rsplit_once(' ') {
        Some((user, address)) => (Some(unescaped(user.strip_prefix("user ")?)), address),
        None => (None, who),
    };
    Some(Event::Disconnected { user, address: address.to_owned(), port: port.parse().ok()? })
}

/// Reads `USER from ADDRESS port PORT ssh2: TYPE FINGERPRINT`. A certificate has more words, some of which its owner chooses.
fn key(text: &str) -> Option<(Client, String)> {
    let (who, key) = text.rsplit_once(" ssh2: ")?;
    let (_, fingerprint) = key.split_once(' ')?;
    Some((client(who)?, is_fingerprint(fingerprint)?))
}

/// Reads `USER from ADDRESS port PORT`. A user name can contain ` from `; what follows it cannot.
fn client(text: &str) -> Option<Client> {
    let (user, from) = text.rsplit_once(" from ")?;
    let (address, port) = from.split_once(" port ")?;
    let is_address = !address.is_empty() && !address.contains(' ');
    let port = port.parse().ok()?;
    is_address.then(|| Client { user: unescaped(user), address: address.to_owned(), port })
}
