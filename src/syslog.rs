//! The log: one line per decision, to the system log (facility authpriv) and, if stderr is a terminal, also to stderr.
//!
//! The system log is the socket of syslog(3): a datagram socket, or a stream socket with some old daemons. Messages have the local
//! form of RFC 3164, without host name and time; the daemon adds the time. A log that nobody reads must not delay sshd: a run waits
//! for it at most [`limits::LOG_WAIT`], once.

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
    /// A run failed, or something needs to be fixed.
    Warning = 4,
    /// A record was refused.
    Notice = 5,
    /// A key was provided.
    Info = 6,
}

/// Writes the log.
#[derive(Debug)]
pub struct Syslog {
    /// `None` if there is no log or it stopped accepting messages.
    socket: Mutex<Option<Socket>>,
    terminal: bool,
}

#[derive(Debug)]
enum Socket {
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    /// Opens the system log below `root` (`/`). If there is none, messages to it are dropped.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let socket = Socket::open(&root.join("dev/log")).ok();
        Self { socket: Mutex::new(socket), terminal: io::stderr().is_terminal() }
    }

    /// Logs `text`. The caller must have escaped remote parts with [`crate::escape::Escaped`].
    pub fn log(&self, severity: Severity, text: &str) {
        self.explain(text);
        self.send(severity, text);
    }

    /// Logs `text` to the system log only.
    pub fn send(&self, severity: Severity, text: &str) {
        let Ok(mut socket) = self.socket.lock() else { return };
        #[expect(clippy::as_conversions, reason = "the discriminant is the severity's number")]
        let priority = AUTHPRIV.saturating_mul(8).saturating_add(severity as u8);
        let message = format!("<{priority}>eic-keys[{}]: {text}", process::id());
        if socket.as_ref().is_some_and(|socket| socket.send(&message).is_err()) {
            // The failed send may have waited. Do not wait again for the next line.
            *socket = None;
        }
    }

    /// Writes `text` to the terminal only.
    pub(crate) fn explain(&self, text: &str) {
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

    /// Connects without blocking, which the standard library cannot do. If the daemon does not accept at once, there is no log.
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
            // A NUL ends a message, as in glibc. No message contains one.
            Self::Stream(stream) => (&*stream).write_all(format!("{message}\0").as_bytes()),
        }
    }
}
