//! The lines that a run logs.

use crate::ec2::UserName;
use crate::escape::Escaped;
use crate::keys::{Fingerprint, Refusal, UnverifiedKey};
use crate::lists;
use crate::syslog::{Severity, Syslog};

/// The beginning of the success line, which is that of AWS's ec2-instance-connect package. Log filters match it.
pub(crate) const PROVIDED: &str = "Providing ssh key from EC2 Instance Connect with";

/// The beginning of the line after the success line, which names the user.
pub(crate) const PROVIDED_FOR: &str = "Provided ";

/// What that line has between the user and the process of sshd.
pub(crate) const TO_PROCESS: &str = " to process ";

/// The beginning of the line about a refused record. The user follows.
pub(crate) const REFUSED: &str = "Refused a record of active keys for ";

/// The beginning of the line about a client that offers another key than those that are pushed. The user follows.
pub(crate) const NOT_PUSHED: &str = "No pushed key is offered for ";

/// The beginning of the line about a run that failed. The user follows.
pub(crate) const NO_KEY: &str = "No key for ";

/// The beginning of the line about a chained command that failed.
pub(crate) const CHAINED: &str = "The chained command ";

/// The line about a machine that is not an EC2 instance.
pub(crate) const NOT_EC2: &str = "This is not an EC2 instance: no keys were requested";

/// The beginning of the line about wrong arguments.
pub const WRONG_COMMAND_LINE: &str = "Wrong command line: ";

/// Logs that a record is refused. `key` is its description by [`describe`], or empty if it cannot be read.
pub(crate) fn refuse(syslog: &Syslog, user: &UserName, reason: &Refusal, key: &str) {
    syslog.log(Severity::Notice, &format!("{REFUSED}{user}: {reason}{key}"));
}

/// The line about a client that offers another key than those that are pushed. A client with several keys causes one for each key
/// before the pushed one.
pub(crate) fn not_pushed(user: &UserName, offered: &Fingerprint, pushed: &[UnverifiedKey<'_>]) -> String {
    /// More than a person pushes in a minute.
    const SHOWN: usize = 3;
    // A key can be pushed again and again, also after another one.
    let mut keys = lists::unique(pushed.iter().map(|key| key.fingerprint().to_string()));
    keys.truncate(SHOWN);
    format!("{NOT_PUSHED}{user}: the client offers {offered}, and {} is pushed", keys.join(" or "))
}

/// Describes a key in the format of the success line.
pub(crate) fn describe(key: &UnverifiedKey<'_>) -> String {
    let field = |name, value: Option<&[u8]>| match value {
        Some(value) if !value.is_empty() => format!(", {name}: {}", Escaped(value)),
        _ => String::new(),
    };
    let request = field("request-id", key.request());
    let caller = field("for IAM principal", key.caller());
    format!(", fingerprint: {}{request}{caller}", key.fingerprint())
}

/// The success line.
pub(crate) fn provided(key: &UnverifiedKey<'_>) -> String {
    format!("{PROVIDED}{}", describe(key).trim_start_matches(','))
}

/// The line after the success line, which names neither the user nor the connection: without it, nothing would tell a login with a
/// pushed key from one with the same key in an `authorized_keys` file. `parent` is the process that ran eic-keys: it is the one
/// with which sshd logs that it accepted the key.
pub(crate) fn provided_for(key: &UnverifiedKey<'_>, user: &UserName, parent: u32) -> String {
    format!("{PROVIDED_FOR}{} for {user}{TO_PROCESS}{parent}", key.fingerprint())
}
