//! What a line of sshd or eic-keys says about a login.
//!
//! A client chooses its user name and some words of its disconnection, so that a line can contain any text. A message is read from its
//! beginning, and from its end where the text in between is a name.

use std::borrow::Cow;

use memchr::memchr;

use crate::limits;
use crate::log_lines::OwnLine;
use crate::seconds::digits;
use crate::system_log::accepted::{ACCEPTED_KEY, Client, accepted_key, client, key};
use crate::system_log::{EIC_KEYS, Entry, is_sshd, split, split_last, unescaped};

/// Whether [`event`] can read this line of a file. This is called for every line, so it decides by the first bytes of the message.
pub(super) fn can_matter(line: &[u8]) -> bool {
    let Some(message) = memchr(b']', line).and_then(|at| line.get(at..)?.strip_prefix(b"]: ")) else {
        return false;
    };
    let begins: &[&[u8]] = match message.first() {
        Some(b'A') => &[b"Accepted "],
        Some(b'C') => &[b"Connection closed by ", b"Connection reset by "],
        Some(b'D') => &[b"Disconnected from "],
        Some(b'P') => &[b"Providing ssh key ", b"Provided SHA256:", b"Partial publickey "],
        Some(b'R') => &[b"Refused a record "],
        Some(b'T') => &[b"Timeout, client not "],
        Some(b'p') => &[b"pam_unix(sshd:session): session closed "],
        _ => return false,
    };
    begins.iter().any(|begin| message.starts_with(begin)) && !message.ends_with(b"[preauth]")
}

/// The messages that [`event`] can read, for the option `--grep` of journalctl.
pub(super) const PATTERN: &str = "^Accepted |^Partial publickey |^pam_unix.sshd:session.: session closed |\
    ^(Disconnected|Connection (closed|reset)|Timeout, client not responding) (from|by) |\
    ^Providing ssh key |^Provided SHA256:|^Refused a record ";

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// What eic-keys wrote.
    Own(OwnLine<'a>),
    /// sshd accepted a key.
    Accepted { client: Client<Cow<'a, str>>, fingerprint: &'a str },
    /// sshd accepted a key, and wants another method as well.
    Partial { client: Client<Cow<'a, str>>, fingerprint: &'a str },
    /// sshd accepted another method.
    AcceptedOther(Client<Cow<'a, str>>),
    /// PAM closed the session of a user.
    Closed { user: &'a str },
    /// A connection ended. sshd names the user since version 7.5.
    Disconnected { user: Option<Cow<'a, str>>, address: &'a str, port: u16 },
}

/// Reads a line. `None` for one that says nothing about a login, or that is longer than [`limits::LOG_MESSAGE`].
pub(super) fn event<'a>(entry: &'a Entry<'_>) -> Option<Event<'a>> {
    if entry.message.len() > limits::LOG_MESSAGE {
        return None;
    }
    match &*entry.program {
        EIC_KEYS => OwnLine::read(&entry.message).map(Event::Own),
        program if is_sshd(program) => sshds(&entry.message),
        _ => None,
    }
}

fn sshds(message: &str) -> Option<Event<'_>> {
    if message.starts_with(ACCEPTED_KEY) {
        return accepted_key(message).map(|(client, fingerprint)| Event::Accepted { client, fingerprint });
    }
    if let Some(rest) = message.strip_prefix("Partial publickey for ") {
        return key(rest).map(|(client, fingerprint)| Event::Partial { client, fingerprint });
    }
    if let Some(rest) = message.strip_prefix("Accepted ") {
        let (_, rest) = split(rest, " for ")?;
        return client(rest.strip_suffix(" ssh2")?).map(Event::AcceptedOther);
    }
    // PAM escapes nothing.
    if let Some(user) = message.strip_prefix("pam_unix(sshd:session): session closed for user ") {
        return Some(Event::Closed { user });
    }
    let ends = [
        "Disconnected from ",
        "Connection closed by ",
        "Connection reset by ",
        "Timeout, client not responding from ",
    ];
    let rest = ends.iter().find_map(|begin| message.strip_prefix(begin))?;
    let (who, port) = split_last(rest, " port ")?;
    let (user, address) = match split_last(who, " ") {
        Some((user, address)) => (Some(unescaped(user.strip_prefix("user ")?)), address),
        None => (None, who),
    };
    Some(Event::Disconnected { user, address, port: digits(port)? })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{Client, Event, PATTERN, can_matter, event};
    use crate::log_lines::{OwnLine, PROVIDED, PROVIDED_FOR, Push, REFUSED};
    use crate::system_log::Entry;

    const KEY: &str = "SHA256:l7S43MrBPCBjXSsRirNHeJ1ORrzDpsL5ffbwKfpkmdc";

    /// Asserts what a line says.
    #[track_caller]
    fn check(program: &str, message: &str, expected: Option<&Event<'_>>) {
        let entry = Entry { program: program.into(), message: message.into(), ..Entry::default() };
        assert_eq!(event(&entry).as_ref(), expected, "{message}");
    }

    fn client<'a>(user: &'a str, address: &'a str) -> Client<Cow<'a, str>> {
        Client { user: user.into(), address: address.into(), port: 50_022 }
    }

    fn push(request: Option<&str>, principal: Option<&str>) -> Push {
        let (request, principal) = (request.map(str::to_owned), principal.map(str::to_owned));
        Push { fingerprint: KEY.to_owned(), request, principal }
    }

    #[test]
    fn a_login() {
        for (program, user, address, written) in [
            ("sshd", "alice", "192.0.2.1", "alice from 192.0.2.1"),
            ("sshd-session", "alice", "2001:db8::1", "alice from 2001:db8::1"),
            ("sshd", "alice", "UNKNOWN", "alice from UNKNOWN"),
            ("sshd", "zo\u{eb}", "192.0.2.1", r"zo\303\253 from 192.0.2.1"),
            ("sshd", r"DOM\zoe", "192.0.2.1", r"DOM\\zoe from 192.0.2.1"),
            ("sshd", "a b", "192.0.2.1", "a b from 192.0.2.1"),
            (
                "sshd",
                "bob from 203.0.113.9 port 5 ssh2: ED25519 x",
                "192.0.2.1",
                "bob from 203.0.113.9 port 5 ssh2: ED25519 x from 192.0.2.1",
            ),
        ] {
            let message = format!("Accepted publickey for {written} port 50022 ssh2: ED25519 {KEY}");
            let accepted = Event::Accepted { client: client(user, address), fingerprint: KEY };
            check(program, &message, Some(&accepted));
        }
    }

    #[test]
    fn what_is_no_login_with_a_key() {
        for (program, message) in [
            ("su", format!("Accepted publickey for alice from 192.0.2.1 port 50022 ssh2: ED25519 {KEY}")),
            (
                "eic-keys",
                format!("Accepted publickey for alice from 192.0.2.1 port 50022 ssh2: ED25519 {KEY}"),
            ),
            // A client chooses the name of a user that does not exist.
            (
                "sshd",
                format!(
                    "Invalid user Accepted publickey for root from 192.0.2.1 port 50022 ssh2: ED25519 {KEY} from 192.0.2.1 port 5"
                ),
            ),
            ("sshd", format!("Failed publickey for x from 192.0.2.1 port 5 ssh2: ED25519 {KEY}")),
            // The owner of a certificate chooses its ID.
            (
                "sshd",
                format!(
                    "Accepted publickey for alice from 192.0.2.1 port 50022 ssh2: ED25519-CERT SHA256:x ID root from 192.0.2.2 port 6 ssh2: RSA {KEY} (serial 0) CA ED25519 {KEY}"
                ),
            ),
            ("sshd", "Accepted publickey for alice from 192.0.2.1 port 50022 ssh2: RSA MD5:aa".to_owned()),
            ("sshd", "Accepted publickey for alice from 192.0.2.1 port 50022 ssh2".to_owned()),
            ("sshd", format!("Accepted publickey for alice from 192.0.2.1 port 99999 ssh2: RSA {KEY}")),
            ("sshd", format!("Accepted publickey for alice from  port 5 ssh2: RSA {KEY}")),
            ("sshd", format!("Accepted publickey for  from 192.0.2.1 port 50022 ssh2: RSA {KEY}")),
            ("sshd", String::new()),
        ] {
            check(program, &message, None);
        }
    }

    #[test]
    fn more_than_one_method() {
        let partial = format!("Partial publickey for alice from 192.0.2.1 port 50022 ssh2: RSA {KEY}");
        let client = client("alice", "192.0.2.1");
        check("sshd", &partial, Some(&Event::Partial { client: client.clone(), fingerprint: KEY }));
        let other = "Accepted keyboard-interactive/pam for alice from 192.0.2.1 port 50022 ssh2";
        check("sshd", other, Some(&Event::AcceptedOther(client)));
    }

    #[test]
    fn the_end_of_a_session() {
        let closed = "pam_unix(sshd:session): session closed for user alice";
        check("sshd", closed, Some(&Event::Closed { user: "alice" }));
        for (message, user) in [
            ("Disconnected from user alice 192.0.2.1 port 50022", Some("alice")),
            ("Connection closed by user alice 192.0.2.1 port 50022", Some("alice")),
            ("Connection reset by user a b 192.0.2.1 port 50022", Some("a b")),
            ("Timeout, client not responding from user alice 192.0.2.1 port 50022", Some("alice")),
            ("Disconnected from 192.0.2.1 port 50022", None),
        ] {
            let user = user.map(Cow::from);
            check("sshd", message, Some(&Event::Disconnected { user, address: "192.0.2.1", port: 50_022 }));
        }
        for message in [
            "Disconnected from authenticating user alice 192.0.2.1 port 50022 [preauth]",
            "Disconnected from authenticating user alice 192.0.2.1 port 50022",
            "Disconnected from invalid user user alice 192.0.2.1 port 50022",
            "Received disconnect from 192.0.2.1 port 50022:11: disconnected by user alice 192.0.2.1 port 50022",
            "pam_unix(cron:session): session closed for user alice",
        ] {
            check("sshd", message, None);
        }
    }

    #[test]
    fn what_eic_keys_logs() {
        let words = "Providing ssh key from EC2 Instance Connect with fingerprint:";
        for (message, expected) in [
            (format!("{words} {KEY}"), push(None, None)),
            (format!("{words} {KEY}, request-id: r-1"), push(Some("r-1"), None)),
            (format!("{words} {KEY}, for IAM principal: arn:a"), push(None, Some("arn:a"))),
            (
                format!("{words} {KEY}, request-id: r-1, for IAM principal: arn:a"),
                push(Some("r-1"), Some("arn:a")),
            ),
            (format!("{words} {KEY}, request-id: , for IAM principal: "), push(None, None)),
        ] {
            check("eic-keys", &message, Some(&Event::Own(OwnLine::Provided(expected))));
            check("sshd", &message, None);
        }
        let message = format!("Provided {KEY} for alice to process 7");
        let provided = Event::Own(OwnLine::ProvidedFor { fingerprint: KEY, user: "alice", sshd: 7 });
        check("eic-keys", &message, Some(&provided));
        let user = "alice";
        let words = "Refused a record of active keys for alice: it expired 1 s ago";
        let reason = "it expired 1 s ago";
        check("eic-keys", words, Some(&Event::Own(OwnLine::Refused { user, reason, push: None })));
        let described = format!("{words}, fingerprint: {KEY}, request-id: r, for IAM principal: p");
        let push = Some(push(Some("r"), Some("p")));
        check("eic-keys", &described, Some(&Event::Own(OwnLine::Refused { user, reason, push })));
        for message in [
            &format!("Provided {KEY}x"),
            "Provided SHA256:x for alice to process 7",
            &format!("Provided {KEY} for alice"),
            &format!("Provided {KEY} for alice to process +7"),
            &format!("Provided {KEY} for  to process 7"),
            "Refused a record of active keys for : it expired 1 s ago",
            "Refused a record of active keys for alice: ",
            &format!("Refused a record of active keys for alice: , fingerprint: {KEY}"),
        ] {
            check("eic-keys", message, None);
        }
    }

    #[test]
    fn the_lines_of_eic_keys_can_matter() {
        for begin in [PROVIDED, PROVIDED_FOR, REFUSED] {
            let line = format!("Nov 21 12:00:00 host eic-keys[7]: {begin}SHA256:x");
            assert!(can_matter(line.as_bytes()), "{begin}");
            let is_its = |pattern: &str| {
                pattern
                    .strip_prefix('^')
                    .is_some_and(|text| begin.starts_with(text) || text.starts_with(begin))
            };
            assert!(PATTERN.split('|').any(is_its), "{begin}");
        }
    }

    #[test]
    fn the_lines_that_can_matter() {
        for message in [
            "sshd[7]: Accepted publickey for a",
            "sshd[7]: Accepted password for a",
            "sshd[7]: Partial publickey for a",
            "sshd[7]: pam_unix(sshd:session): session closed for user a",
            "sshd[7]: Disconnected from user a",
            "sshd[7]: Disconnected from 192.0.2.1 port 5",
            "sshd[7]: Connection closed by user a",
            "sshd[7]: Connection reset by user a",
            "sshd[7]: Timeout, client not responding from user a",
        ] {
            assert!(can_matter(format!("Nov 21 12:00:00 host {message}").as_bytes()), "{message}");
        }
        for message in [
            "sshd[7]: Connection closed by authenticating user a 192.0.2.1 port 5 [preauth]",
            "sshd[7]: Invalid user Accepted publickey for a",
            "sshd: Accepted publickey for a",
            "CRON[7]: pam_unix(cron:session): session closed for user a",
            "",
        ] {
            assert!(!can_matter(message.as_bytes()), "{message}");
        }
    }
}
