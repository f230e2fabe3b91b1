//! The log: a line a decision, to the system's log (facility authpriv) and, by hand on a terminal, to stderr as well.
//!
//! The system's log is a datagram socket, with some old daemons a stream, as syslog(3) knows it (RFC 3164; the local form
//! without host name, and without a time, which every daemon then takes from its clock). A log that nobody reads must not
//! hold up sshd: it may make us wait [`limits::LOG_WAIT`], once.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process;
use std::sync::Mutex;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::limits;

/// RFC 3164 section 4.1.1: facility "security/authorization messages", which is authpriv.
const AUTHPRIV: u8 = 10;

/// RFC 3164 section 4.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A run failed, or something is wrong that somebody should fix.
    Warning = 4,
    /// A record was refused.
    Notice = 5,
    /// A key was provided.
    Info = 6,
}

/// Writes the log.
#[derive(Debug)]
pub struct Syslog {
    /// `None` where there is no log, or it does not take what it gets.
    socket: Mutex<Option<Socket>>,
    terminal: bool,
}

#[derive(Debug)]
enum Socket {
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    /// Opens the system's log below `root` (`/`); without one everything goes on.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let socket = Socket::open(&root.join("dev/log")).ok();
        Self { socket: Mutex::new(socket), terminal: io::stderr().is_terminal() }
    }

    /// Logs `text`, whose remote parts are [`Escaped`].
    pub fn log(&self, severity: Severity, text: &str) {
        self.explain(text);
        self.send(severity, text);
    }

    /// Logs `text` to the system's log alone.
    pub fn send(&self, severity: Severity, text: &str) {
        let Ok(mut socket) = self.socket.lock() else { return };
        #[expect(clippy::as_conversions, reason = "the discriminant is the severity's number")]
        let priority = AUTHPRIV.saturating_mul(8).saturating_add(severity as u8);
        let message = format!("<{priority}>eic-keys[{}]: {text}", process::id());
        if socket.as_ref().is_some_and(|socket| socket.send(&message).is_err()) {
            // It has waited once; the next line would wait again.
            *socket = None;
        }
    }

    /// Says `text` on a terminal, and nowhere else.
    pub fn explain(&self, text: &str) {
        if self.terminal {
            let _ = writeln!(io::stderr(), "eic-keys: {text}");
        }
    }
}

impl Socket {
    fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match socket.connect(path) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PROTOTYPE) => {
                Self::stream(path).map(Self::Stream)
            }
            Err(error) => Err(error),
            Ok(()) => {
                socket.set_write_timeout(Some(limits::LOG_WAIT))?;
                Ok(Self::Datagram(socket))
            }
        }
    }

    /// Connects without waiting, which the standard library cannot: a daemon that accepts nobody has no log.
    fn stream(path: &Path) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(limits::LOG_WAIT))?;
        Ok(stream)
    }

    fn send(&self, message: &str) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(message.as_bytes()).map(drop),
            // A NUL ends a message, as glibc has it; no message has one in it.
            Self::Stream(stream) => (&*stream).write_all(format!("{message}\0").as_bytes()),
        }
    }
}

/// Remote text, made harmless and short: nothing that moves a cursor, forges a line or turns the direction of writing,
/// and at most [`limits::LOGGED`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        'all: for chunk in self.0.utf8_chunks() {
            let valid = chunk.valid().chars().map(|char| {
                if is_harmless(char) { char.to_string() } else { char.escape_default().to_string() }
            });
            let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
            for piece in valid.chain(invalid) {
                if text.len().saturating_add(piece.len()) > limits::LOGGED {
                    break 'all;
                }
                text.push_str(&piece);
            }
        }
        f.write_str(&text)
    }
}

fn is_harmless(char: char) -> bool {
    let marks = matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    char != '\\' && !char.is_control() && !marks
}

#[cfg(test)]
mod tests {
    use super::Escaped;
    use crate::limits;

    #[test]
    fn remote_text_is_harmless() {
        for (text, escaped) in [
            (&b"arn:aws:iam::1:role/a"[..], "arn:aws:iam::1:role/a"),
            ("Zoë".as_bytes(), "Zoë"),
            (b"a\nb\rc\x1b[2Jd\0e\x7f", "a\\nb\\rc\\u{1b}[2Jd\\u{0}e\\u{7f}"),
            (b"back\\slash", "back\\\\slash"),
            (b"not \xff\xfe UTF-8", "not \\xff\\xfe UTF-8"),
            ("\u{85}\u{202e}\u{2028}\u{feff}".as_bytes(), "\\u{85}\\u{202e}\\u{2028}\\u{feff}"),
        ] {
            assert_eq!(Escaped(text).to_string(), escaped);
        }
    }

    #[test]
    fn remote_text_is_cut_between_characters() {
        let text = "é".repeat(2000);
        let escaped = Escaped(text.as_bytes()).to_string();
        assert_eq!(escaped, "é".repeat(limits::LOGGED / 2));
        let escaped = Escaped(&[0x1b; 2000]).to_string();
        assert!(escaped.len() <= limits::LOGGED && escaped.ends_with("\\u{1b}"), "{escaped}");
    }
}
