//! Writes to the system log (facility authpriv).
//!
//! It is the socket of syslog(3): a datagram socket, or a stream socket with some old daemons. Messages have the local
//! form of RFC 3164, without host name and time; the daemon adds the time. A log that is read slowly or not at all must not delay
//! sshd: a run waits for it at most [`limits::LOG_WAIT`] in all.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

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

/// The system log.
#[derive(Debug)]
pub struct Syslog {
    /// `None` if there is no log or it stopped accepting messages.
    socket: Mutex<Option<Socket>>,
}

#[derive(Debug)]
struct Socket {
    descriptor: OwnedFd,
    /// A NUL ends a message, as in glibc. No message contains one.
    stream: bool,
    /// How long messages can still wait for the daemon.
    wait: Duration,
}

impl Syslog {
    /// Opens the system log below `root` (`/`). If there is none, messages to it are dropped.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let socket = Socket::open(&root.join("dev/log")).ok();
        Self { socket: Mutex::new(socket) }
    }

    /// Logs `text`. The caller must have escaped remote parts with [`crate::escape::Escaped`].
    pub fn send(&self, severity: Severity, text: &str) {
        let Ok(mut socket) = self.socket.lock() else { return };
        #[expect(clippy::as_conversions, reason = "the discriminant is the severity's number")]
        let priority = AUTHPRIV.saturating_mul(8).saturating_add(severity as u8);
        let message = format!("<{priority}>eic-keys[{}]: {text}", process::id());
        if socket.as_mut().is_some_and(|socket| socket.send(message).is_err()) {
            *socket = None;
        }
    }
}

impl Socket {
    fn open(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let connected = |kind| {
            // If a daemon does not accept a stream at once, there is no log.
            let socket =
                socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
            connect(&socket, &address).map(|()| socket)
        };
        let (descriptor, stream) = match connected(SocketType::DGRAM) {
            Err(Errno::PROTOTYPE) => (connected(SocketType::STREAM)?, true),
            other => (other?, false),
        };
        Ok(Self { descriptor, stream, wait: limits::LOG_WAIT })
    }

    fn send(&mut self, mut message: String) -> io::Result<()> {
        if self.stream {
            message.push('\0');
        }
        let mut rest = message.as_bytes();
        while !rest.is_empty() {
            match send(&self.descriptor, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.await_daemon()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn await_daemon(&mut self) -> io::Result<()> {
        let start = Instant::now();
        let wait = Timespec::try_from(self.wait).map_err(io::Error::other)?;
        let ready = poll(&mut [PollFd::new(&self.descriptor, PollFlags::OUT)], Some(&wait));
        self.wait = self.wait.saturating_sub(start.elapsed());
        match ready {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            _ if self.wait.is_zero() => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
