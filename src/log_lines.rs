//! The lines that a run logs about records and keys.

use crate::ec2::UserName;
use crate::escape::Escaped;
use crate::keys::{Refusal, SignedKey};
use crate::syslog::{Severity, Syslog};

/// Logs that a record is refused. `key` is its description by [`describe`], or empty if it cannot be read.
pub(crate) fn refuse(syslog: &Syslog, user: &UserName, reason: &Refusal, key: &str) {
    syslog.log(Severity::Notice, &format!("Refused a record of active keys for {user}: {reason}{key}"));
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
    format!("Providing ssh key from EC2 Instance Connect with{}", describe(key).trim_start_matches(','))
}
