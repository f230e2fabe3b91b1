//! The system log: a socket at /dev/log that keeps what programs write to it.
use crate::namespace::Namespace;
use jiff::Timestamp;
use nix::sys::socket::{Shutdown, shutdown};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, fs};

const SOCKET: &str = "/dev/log";

/// What is at /dev/log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logger {
    /// A logger that reads.
    Reading,
    /// A logger that no longer reads, with a full queue: a blocking write to it never returns.
    Stuck,
    /// A logger that reads a line every 50 ms, with a queue of ten.
    Slow,
    /// A socket without a listener: connection refused.
    Dead,
    /// Nothing.
    Absent,
}

/// A message as it was received.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// The whole message.
    pub raw: Vec<u8>,
    /// syslog's severity, 0 to 7: 4 is warning, 5 notice, 6 info.
    pub severity: u8,
    /// syslog's facility: 10 is authpriv.
    pub facility: u8,
    /// The part after the time and host of the header: `tag[pid]: text`.
    pub text: String,
    /// When it was received.
    pub received: Timestamp,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}> {:?}", self.facility, self.severity, self.text)
    }
}

impl Line {
    fn parse(raw: &[u8], received: Timestamp) -> Self {
        let text = String::from_utf8_lossy(raw).into_owned();
        let (priority, rest) = text
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .and_then(|(number, rest)| Some((number.parse::<u16>().ok()?, rest)))
            .unwrap_or((0, &text));
        // RFC 3164: `Mmm dd hh:mm:ss `, 16 characters.
        let dated = rest.len() > 16 && rest.is_char_boundary(16) && rest.as_bytes()[9] == b':';
        let message = if dated { &rest[16..] } else { rest };
        let (severity, facility) = ((priority & 7) as u8, (priority >> 3) as u8);
        Self { raw: raw.to_vec(), severity, facility, text: message.to_owned(), received }
    }

    /// `info`, `notice`, `warning`, ...
    pub fn severity_name(&self) -> &'static str {
        ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"][usize::from(self.severity)]
    }

    /// The text after the tag.
    pub fn message(&self) -> &str {
        self.text.split_once(": ").map_or(&self.text, |(_, message)| message)
    }

    /// The line of a log file, with a time of RFC 3339 as rsyslog writes it.
    pub fn filed(&self) -> String {
        format!("{} instance {}\n", self.received.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00"), self.text)
    }
}

#[derive(Debug, Default)]
struct Kept {
    messages: Mutex<Vec<(Timestamp, Vec<u8>)>>,
    arrived: Condvar,
}

/// The collected log.
#[derive(Debug)]
pub struct Journal {
    kept: Arc<Kept>,
    reader: Mutex<Option<Reader>>,
}

/// Marks a point in the stream: what was written before the mark has been read once the mark is read.
const MARK: &[u8] = b"eic-lab mark";

impl Journal {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let journal = Self { kept: Arc::default(), reader: Mutex::new(None) };
        journal.set(namespace, Logger::Reading);
        journal
    }

    pub(crate) fn set(&self, namespace: &Namespace, logger: Logger) {
        let mut reader = self.reader.lock().unwrap();
        *reader = None;
        namespace.remove(SOCKET);
        *reader = match logger {
            Logger::Reading => Some(Reader::start(&self.kept, Duration::ZERO)),
            Logger::Slow => Some(Reader::start(&self.kept, Duration::from_millis(50))),
            Logger::Stuck => {
                let socket = bind();
                fill();
                Some(Reader { socket, thread: None })
            }
            Logger::Dead => {
                drop(bind());
                None
            }
            Logger::Absent => None,
        };
    }

    /// Everything that was logged so far, in its order.
    pub fn lines(&self) -> Vec<Line> {
        self.synchronize();
        self.kept.messages.lock().unwrap().iter().map(|(at, raw)| Line::parse(raw, *at)).collect()
    }

    /// What eic-keys logged so far, without the lines of sshd and others.
    pub fn eic_keys(&self) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.text.starts_with("eic-keys")).collect()
    }

    /// Whether eic-keys logged a line that contains this text.
    pub fn says(&self, words: &str) -> bool {
        self.eic_keys().iter().any(|line| line.text.contains(words))
    }

    /// Discards what was logged so far.
    pub fn clear(&self) {
        self.synchronize();
        self.kept.messages.lock().unwrap().clear();
    }

    fn synchronize(&self) {
        let reader = self.reader.lock().unwrap();
        if reader.as_ref().is_none_or(|reader| reader.thread.is_none()) {
            return;
        }
        let is_mark = |(_, message): &(Timestamp, Vec<u8>)| message == MARK;
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(MARK, SOCKET).expect("the log socket is there");
        let messages = self.kept.messages.lock().unwrap();
        let (mut messages, waited) = self
            .kept
            .arrived
            .wait_timeout_while(messages, Duration::from_secs(60), |m| !m.iter().any(is_mark))
            .unwrap();
        assert!(!waited.timed_out(), "the log's reader is stuck");
        messages.retain(|message| !is_mark(message));
    }
}

/// The socket at /dev/log, and the thread that reads it.
#[derive(Debug)]
struct Reader {
    socket: UnixDatagram,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(kept: &Arc<Kept>, pause: Duration) -> Self {
        let (socket, kept) = (bind(), Arc::clone(kept));
        let inner = socket.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            loop {
                match inner.recv(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => {
                        kept.messages.lock().unwrap().push((clock(), buffer[..length].to_vec()));
                        kept.arrived.notify_all();
                        std::thread::sleep(pause);
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => (),
                    Err(_) => break,
                }
            }
        });
        Self { socket, thread: Some(thread) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn clock() -> Timestamp {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
    Timestamp::from_microsecond(unix.as_micros() as i64).expect("a time in the years -9999 to 9999")
}

fn bind() -> UnixDatagram {
    let socket = UnixDatagram::bind(SOCKET).unwrap_or_else(|e| panic!("{SOCKET}: {e}"));
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
    socket
}

fn fill() {
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"<13>eic-lab: nobody reads this", SOCKET).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_into_its_fields() {
        let line = Line::parse(b"<86>Nov 20 07:10:00 eic-keys[12]: Providing: this", Timestamp::UNIX_EPOCH);
        assert_eq!((line.facility, line.severity), (10, 6));
        assert_eq!(line.text, "eic-keys[12]: Providing: this");
        assert_eq!(line.message(), "Providing: this");
        assert_eq!(line.filed(), "1970-01-01T00:00:00.000000+00:00 instance eic-keys[12]: Providing: this\n");
    }

    #[test]
    fn a_line_in_another_format_is_kept_whole() {
        let line = Line::parse(b"no header \xff at all", Timestamp::UNIX_EPOCH);
        assert_eq!((line.facility, line.severity), (0, 0));
        assert_eq!(line.text, "no header \u{fffd} at all");
    }
}
