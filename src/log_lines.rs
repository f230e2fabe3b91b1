//! The lines that eic-keys logs, and how `--logins` and `--check` read them.

use std::fmt::Display;

use crate::ec2::UserName;
use crate::escape::Escaped;
use crate::keys::{Fingerprint, Refusal, UnverifiedKey};
use crate::lists;
use crate::run_log::RunLog;
use crate::seconds::digits;
use crate::syslog::Severity;
use crate::system_log::{non_empty, split, split_last};

/// The beginning of the success line, which is that of AWS's ec2-instance-connect package. Log filters match it.
pub(crate) const PROVIDED: &str = "Providing ssh key from EC2 Instance Connect with";

/// The beginning of the line after the success line, which names the user.
pub(crate) const PROVIDED_FOR: &str = "Provided ";

/// What that line has between the key and the user, and between the user and the process of sshd.
const FOR: &str = " for ";
const TO_PROCESS: &str = " to process ";

/// The beginning of the line about a refused record. The user follows.
pub(crate) const REFUSED: &str = "Refused a record of active keys for ";

/// The beginning of the line about a client that offers another key than those that are pushed. The user follows.
const NOT_PUSHED: &str = "No pushed key is offered for ";

/// What that line has before the offered key.
const OFFERS: &str = "the client offers ";

/// The beginning of the line about a run that failed. The user follows.
const NO_KEY: &str = "No key for ";

/// The beginning of the line about a chained command that failed.
const CHAINED: &str = "The chained command ";

/// The line about a machine that is not an EC2 instance.
pub(crate) const NOT_EC2: &str = "This is not an EC2 instance: no keys were requested";

/// The beginning of the line about wrong arguments.
const WRONG_COMMAND_LINE: &str = "Wrong command line: ";

/// The line about a rehearsal.
pub(crate) fn rehearsal(user: &str) -> String {
    format!("Rehearsal: --check --rehearse logs in as {user} from 127.0.0.1")
}

/// What is before each field in a description of a key.
const FINGERPRINT: &str = " fingerprint: ";
const REQUEST: &str = ", request-id: ";
const PRINCIPAL: &str = ", for IAM principal: ";

/// Logs that a record is refused. `key` is its description by [`describe`], if it can be read.
pub(crate) fn refuse(log: &RunLog, user: &UserName, reason: &Refusal, key: Option<&str>) {
    let key = key.map(|key| format!(",{key}")).unwrap_or_default();
    log.write(Severity::Notice, &format!("{REFUSED}{user}: {reason}{key}"));
}

/// The line about a client that offers another key than those that are pushed. A client with several keys causes one for each key
/// before the pushed one.
pub(crate) fn not_pushed(user: &UserName, offered: &Fingerprint, pushed: &[UnverifiedKey<'_>]) -> String {
    /// More than a person pushes in a minute.
    const SHOWN: usize = 3;
    // A key can be pushed again and again, also after another one.
    let mut keys = lists::unique(pushed.iter().map(|key| key.fingerprint().to_string()));
    keys.truncate(SHOWN);
    format!("{NOT_PUSHED}{user}: {OFFERS}{offered}, and {} is pushed", keys.join(" or "))
}

/// The line about a run that failed.
pub(crate) fn failed(user: Escaped<'_>, reason: &dyn Display) -> String {
    format!("{NO_KEY}{user}: {reason}")
}

/// The line about a chained command that failed.
pub(crate) fn chained_failed(reason: &dyn Display) -> String {
    format!("{CHAINED}{reason}")
}

/// The line about wrong arguments.
#[must_use]
pub fn wrong_command_line(reason: Escaped<'_>) -> String {
    format!("{WRONG_COMMAND_LINE}{reason}")
}

/// Describes a key in the format of the success line. [`Push::read`] reads it.
pub(crate) fn describe(key: &UnverifiedKey<'_>) -> String {
    let field = |name, value: Option<&[u8]>| match value {
        Some(value) if !value.is_empty() => format!("{name}{}", Escaped(value)),
        _ => String::new(),
    };
    let (request, principal) = (field(REQUEST, key.request()), field(PRINCIPAL, key.principal()));
    format!("{FINGERPRINT}{}{request}{principal}", key.fingerprint())
}

/// The success line.
pub(crate) fn provided(key: &UnverifiedKey<'_>) -> String {
    format!("{PROVIDED}{}", describe(key))
}

/// The line after the success line, which names neither the user nor the connection: without it, nothing would tell a login with a
/// pushed key from one with the same key in an `authorized_keys` file. `parent` is the process that ran eic-keys: it is the one
/// with which sshd logs that it accepted the key.
pub(crate) fn provided_for(key: &UnverifiedKey<'_>, user: &UserName, parent: u32) -> String {
    format!("{PROVIDED_FOR}{}{FOR}{user}{TO_PROCESS}{parent}", key.fingerprint())
}

/// What a line says of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Push {
    pub(crate) fingerprint: String,
    pub(crate) request: Option<String>,
    pub(crate) principal: Option<String>,
}

/// What a line of eic-keys says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnLine<'a> {
    /// It printed a key.
    Provided(Push),
    /// The user for whom it printed the key, and the process of sshd that ran it.
    ProvidedFor { fingerprint: &'a str, user: &'a str, sshd: u32 },
    /// It refused a record.
    Refused { user: &'a str, reason: &'a str, push: Option<Push> },
    /// The client offered another key than those that are pushed for the user. `words` tells which.
    NotPushed { user: &'a str, offered: &'a str, words: &'a str },
    /// A run for the user failed.
    Failed { user: &'a str },
    /// The chained command failed.
    ChainedFailed,
    /// This machine is not an EC2 instance.
    NotEc2,
    /// The arguments were wrong.
    WrongCommandLine,
}

impl<'a> OwnLine<'a> {
    /// Reads the message of a line.
    pub(crate) fn read(message: &'a str) -> Option<Self> {
        if let Some(key) = message.strip_prefix(PROVIDED) {
            return Push::read(key.strip_prefix(FINGERPRINT)?).map(Self::Provided);
        }
        if let Some(rest) = message.strip_prefix(PROVIDED_FOR) {
            let (fingerprint, rest) = split(rest, FOR)?;
            let (user, sshd) = split_last(rest, TO_PROCESS)?;
            let (fingerprint, user) = (fingerprint_of(fingerprint)?, non_empty(user)?);
            return Some(Self::ProvidedFor { fingerprint, user, sshd: digits(sshd)? });
        }
        if let Some(rest) = message.strip_prefix(REFUSED) {
            let (user, reason) = split(rest, ": ")?;
            let described = format!(",{FINGERPRINT}");
            let parts = split(reason, &described).and_then(|(reason, key)| Some((reason, Push::read(key)?)));
            let (reason, push) = parts.map_or((reason, None), |(reason, push)| (reason, Some(push)));
            return Some(Self::Refused { user: non_empty(user)?, reason: non_empty(reason)?, push });
        }
        if let Some(rest) = message.strip_prefix(NOT_PUSHED) {
            let (user, words) = split(rest, ": ")?;
            let (offered, _) = split(words.strip_prefix(OFFERS)?, ", ")?;
            return Some(Self::NotPushed { user, offered, words });
        }
        if let Some(rest) = message.strip_prefix(NO_KEY) {
            return split(rest, ": ").map(|(user, _)| Self::Failed { user });
        }
        if message.starts_with(CHAINED) {
            return Some(Self::ChainedFailed);
        }
        if message == NOT_EC2 {
            return Some(Self::NotEc2);
        }
        message.starts_with(WRONG_COMMAND_LINE).then_some(Self::WrongCommandLine)
    }
}

impl Push {
    /// Reads what [`describe`] wrote after [`FINGERPRINT`].
    fn read(text: &str) -> Option<Self> {
        let (text, principal) = match split_last(text, PRINCIPAL) {
            Some((text, principal)) => (text, non_empty(principal)),
            None => (text, None),
        };
        let (fingerprint, request) = match split(text, REQUEST) {
            Some((fingerprint, request)) => (fingerprint, non_empty(request)),
            None => (text, None),
        };
        let [request, principal] = [request, principal].map(|name| name.map(str::to_owned));
        Some(Self { fingerprint: fingerprint_of(fingerprint)?.to_owned(), request, principal })
    }
}

fn fingerprint_of(text: &str) -> Option<&str> {
    Fingerprint::is_sha256(text.as_bytes()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{NOT_EC2, OwnLine, chained_failed, failed, wrong_command_line};
    use crate::escape::Escaped;

    #[test]
    fn lines_of_runs_without_a_key() {
        let words = "the client offers SHA256:a, and SHA256:b or SHA256:c is pushed";
        let not_pushed = format!("No pushed key is offered for alice: {words}");
        for (line, read) in [
            (failed(Escaped(b"alice"), &"latest: late"), OwnLine::Failed { user: "alice" }),
            (chained_failed(&"failed: exit status: 1"), OwnLine::ChainedFailed),
            (wrong_command_line(Escaped(b"--x")), OwnLine::WrongCommandLine),
            (NOT_EC2.to_owned(), OwnLine::NotEc2),
            (not_pushed, OwnLine::NotPushed { user: "alice", offered: "SHA256:a", words }),
        ] {
            assert_eq!(OwnLine::read(&line), Some(read), "{line}");
        }
        for line in ["No key for alice", "No pushed key is offered for alice: x", "no key for alice: x", ""] {
            assert_eq!(OwnLine::read(line), None, "{line}");
        }
    }
}
