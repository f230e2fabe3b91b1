//! The lines of sshd and eic-keys in the system log.
//!
//! The journal is asked for lines by fields that the kernel or journald sets. [`ANYBODY`] can have lines written to the files.
//! `journal` and `file` read the two; `scan` reads the lines of a large output; `accepted` reads the message about an accepted key.

use std::borrow::Cow;

use memchr::{memchr_iter, memrchr_iter};

pub(crate) mod accepted;
pub mod file;
pub mod journal;
pub(crate) mod scan;

/// The log files for authpriv: Debian and Ubuntu; RHEL and Amazon Linux.
pub(crate) const FILES: [&str; 2] = ["var/log/auth.log", "var/log/secure"];

/// Why no line can be read.
pub(crate) const NO_LOG: &str = "there is no log to read: neither a journal nor /var/log/auth.log or secure";

/// The program names of sshd in the log: one program before OpenSSH 9.8, two since 9.8, three since 10.0.
pub(crate) const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

pub(crate) const EIC_KEYS: &str = "eic-keys";

/// Who can have lines written to log files. A program can log what its client sent, with the ends of lines, and a syslog daemon can take
/// messages from the network.
pub(crate) const ANYBODY: &str = "any local user, and a client of some services,";
/// The same as a sentence of its own.
pub(crate) const ANYBODY_WRITES: &str =
    "Any local user, and a client of some services, can have such lines written to log files";

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Microseconds since 1970. `None` if the file has a format that is not known.
    pub time: Option<u64>,
    /// Microseconds since the system started, which the journal has.
    pub monotonic: Option<u64>,
    /// The boot ID, which the journal has.
    pub boot: Option<Cow<'a, str>>,
    /// The name of the system, which a file has.
    pub host: Option<Cow<'a, str>>,
    /// The user who wrote it, which the journal has.
    pub uid: Option<u32>,
    /// `sshd`, `sshd-session`, `sshd-auth` or `eic-keys`.
    pub program: Cow<'a, str>,
    /// The process.
    pub pid: u32,
    /// The message as the program wrote it.
    pub message: Cow<'a, str>,
}

/// Whether sshd writes lines by this name.
pub(crate) fn is_sshd(program: &str) -> bool {
    SSHD.contains(&program)
}

/// What is before and after the first `separator`, as [`str::split_once`] finds it. That one prepares a search, which takes longer than to
/// look through a line.
pub(crate) fn split<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let first = separator.as_bytes().first()?;
    memchr_iter(*first, text.as_bytes()).find_map(|at| split_at(text, at, separator))
}

/// What is before and after the last `separator`.
pub(crate) fn split_last<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let first = separator.as_bytes().first()?;
    memrchr_iter(*first, text.as_bytes()).find_map(|at| split_at(text, at, separator))
}

fn split_at<'a>(text: &'a str, at: usize, separator: &str) -> Option<(&'a str, &'a str)> {
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, rest.strip_prefix(separator)?))
}

/// Neither sshd nor eic-keys writes an empty name, reason or address.
pub(crate) fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Undoes the escapes of sshd, which are those of vis(3) with `VIS_CSTYLE` and `VIS_OCTAL`: a byte that is not printable ASCII is a letter
/// or `\ooo`, and a backslash is written twice. What an unprivileged process of sshd logs is escaped once more. The report escapes it in
/// its own way.
pub(crate) fn unescaped(message: &str) -> Cow<'_, str> {
    if !message.contains('\\') {
        return message.into();
    }
    let once = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, more @ ..] = rest {
            let (byte, length) = match more {
                [code, ..] if *first == b'\\' => escaped(*code, more).unwrap_or((*first, 0)),
                _ => (*first, 0),
            };
            bytes.push(byte);
            rest = more.get(length..).unwrap_or_default();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if message.ends_with(" [preauth]") { once(&once(message)) } else { once(message) }.into()
}

/// The byte of an escape, and the length of what follows the backslash. `code` is the first byte of `text`.
fn escaped(code: u8, text: &[u8]) -> Option<(u8, usize)> {
    let byte = match code {
        b'\\' => b'\\',
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        _ => {
            let digits = text.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
            return Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?, 3));
        }
    };
    Some((byte, 1))
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn sshds_escapes() {
        for (escaped, text) in [
            (r"Invalid user \303\251v\033[2J x\\y", "Invalid user \u{e9}v\u{1b}[2J x\\y"),
            (r"user \\303\\251v x\\\\y [preauth]", "user \u{e9}v x\\y [preauth]"),
            (r"a\9b\", r"a\9b\"),
            (r"\a\b\t\n\v\f\r\177", "\u{7}\u{8}\t\n\u{b}\u{c}\r\u{7f}"),
            (r"\+12 \-12 \400 \18x \x \12", r"\+12 \-12 \400 \18x \x \12"),
        ] {
            assert_eq!(unescaped(escaped), text);
        }
    }
}
