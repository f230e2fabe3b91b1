//! The lines that a run logs about records and keys.

use crate::ec2::UserName;
use crate::escape::Escaped;
use crate::keys::{Refusal, SignedKey};
use crate::syslog::{Severity, Syslog};

/// How the line begins that [`provided`] returns.
pub(crate) const PROVIDING: &str = "Providing ssh key from EC2 Instance Connect with";

/// How the line begins that [`provided_for`] returns.
pub(crate) const PROVIDED_FOR: &str = "Provided ";

/// How the line begins that [`refuse`] logs.
pub(crate) const REFUSED: &str = "Refused a record of active keys for ";

/// Logs that a record is refused. `key` is its description by [`describe`], or empty if it cannot be read.
pub(crate) fn refuse(syslog: &Syslog, user: &UserName, reason: &Refusal, key: &str) {
    syslog.log(Severity::Notice, &format!("{REFUSED}{user}: {reason}{key}"));
}

/// Describes a key in the format of the success line.
pub(crate) fn describe(key: &SignedKey<'_>) -> String {
    let field = |name, value: Option<&[u8]>| match value {
        Some(value) if !value.is_empty() => format!(", {name}: {}", Escaped(value)),
        _ => String::new(),
    };
    let request = field("request-id", key.request());
    let caller = field("for IAM principal", key.caller());
    format!(", fingerprint: {}{request}{caller}", key.fingerprint())
}

/// The success line of AWS's ec2-instance-connect package. Log filters match it.
pub(crate) fn provided(key: &SignedKey<'_>) -> String {
    format!("{PROVIDING}{}", describe(key).trim_start_matches(','))
}

/// The line after the success line, which has no user: without it, nothing would tell a login with a pushed key from
/// one of another user who has the same key in an `authorized_keys` file.
pub(crate) fn provided_for(key: &SignedKey<'_>, user: &UserName) -> String {
    format!("{PROVIDED_FOR}{} for {user}", key.fingerprint())
}
