//! The lines of sshd and eic-keys in the system log.
//!
//! The journal is asked for lines by fields that the kernel or journald sets. Any local user can have lines written to the files.

pub mod file;
pub mod journal;

/// The log files for authpriv: Debian and Ubuntu; RHEL and Amazon Linux.
pub(crate) const FILES: [&str; 2] = ["var/log/auth.log", "var/log/secure"];

/// The program names of sshd in the log: one program before OpenSSH 9.8, two since 9.8, three since 10.0.
pub(crate) const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

pub(crate) const EIC_KEYS: &str = "eic-keys";

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Microseconds since 1970. `None` if the file has a format that is not known.
    pub time: Option<u64>,
    /// Microseconds since the system started, which the journal has.
    pub monotonic: Option<u64>,
    /// The boot ID, which the journal has.
    pub boot: Option<String>,
    /// `sshd`, `sshd-session`, `sshd-auth` or `eic-keys`; any other name in a file.
    pub program: String,
    /// The process, as text.
    pub pid: String,
    /// The message as the program wrote it.
    pub message: String,
}

/// Whether sshd writes lines by this name.
pub(crate) fn is_sshd(program: &str) -> bool {
    SSHD.contains(&program)
}

/// Undoes the escapes of sshd: it writes a byte that is not printable ASCII as `\ooo`, and a backslash twice. What an
/// unprivileged process of sshd logs is escaped once more. The report escapes it in its own way.
pub(crate) fn unescaped(message: &str) -> String {
    let once = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            rest = more;
            let octal = more
                .get(..3)
                .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
            match (first, more.first(), octal) {
                (b'\\', Some(b'\\'), _) => rest = more.get(1..).unwrap_or_default(),
                (b'\\', _, Some(byte)) => {
                    bytes.push(byte);
                    rest = more.get(3..).unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            bytes.push(*first);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if message.ends_with(" [preauth]") { once(&once(message)) } else { once(message) }
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
        ] {
            assert_eq!(unescaped(escaped), text);
        }
    }
}
