//! One HTTP connection of the metadata service. Written by hand, because faults need control over every byte.
use crate::utc;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A request, and when it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// The target as received.
    pub path: String,
    /// The headers as received, in order.
    pub headers: Vec<(String, String)>,
    /// The bytes of the request line and the headers.
    pub raw: Vec<u8>,
    /// The number of its connection, counted from 1.
    pub connection: usize,
    /// The address of the client.
    pub from: SocketAddr,
    /// The status of the reply, before any fault.
    pub status: u16,
    /// When it had been read.
    pub arrived: Instant,
    /// When its reply began to be sent.
    pub answered: Option<Instant>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The number of rounds: the longest sequence of requests of which each one came after the reply to the one before.
///
/// Distinguishes rounds from concurrent requests if every reply is delayed, see [`crate::imds::Imds::pace`].
pub fn rounds(requests: &[Request]) -> usize {
    let mut spans: Vec<_> = requests.iter().filter_map(|r| Some((r.answered?, r.arrived))).collect();
    spans.sort();
    let mut count = 0;
    let mut free = None;
    for (answered, arrived) in spans {
        if free.is_none_or(|free| arrived >= free) {
            count += 1;
            free = Some(answered);
        }
    }
    count
}

/// A reply, before it is written.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Usually `HTTP/1.1`.
    pub version: &'static str,
    /// Its status.
    pub status: u16,
    /// Its headers in order, without Content-Length.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A reply of EC2's server; it closes the connection.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = [("Content-Type", "text/plain"), ("Connection", "close"), ("Server", "EC2ws")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { version: "HTTP/1.1", status, headers, body: body.into() }
    }

    /// An error with the page that EC2's server sends.
    pub fn error(status: u16) -> Self {
        let title = format!("{status} - {}", reason(status));
        let page = format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 \
             Transitional//EN\"\n\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n<html \
             xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n <head>\n  <title>{title}</title>\n \
             </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
        );
        Self::new(status, page).with("Content-Type", "text/html")
    }

    /// Adds the Date header.
    pub fn dated(self, at: i64) -> Self {
        self.with("Date", &date(at))
    }

    /// Sets a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Status line and headers without the empty line, so that more can follow.
    pub fn open_head(&self) -> Vec<u8> {
        let mut head = format!("{} {} {}\r\n", self.version, self.status, reason(self.status));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head.into_bytes()
    }

    /// The whole head, with this Content-Length.
    pub fn head(&self, length: impl std::fmt::Display) -> Vec<u8> {
        [self.open_head(), format!("Content-Length: {length}\r\n\r\n").into_bytes()].concat()
    }
}

/// Seconds since the epoch in the form of RFC 9110, section 5.6.7.
pub fn date(at: i64) -> String {
    utc(at).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unnamed",
    }
}

/// Stops threads that wait.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Ends all current and future waits.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap() = true;
        self.changed.notify_all();
    }

    /// Waits for this time, or until stopped, which is an error.
    ///
    /// # Errors
    /// Interrupted, if stopped.
    pub fn wait(&self, time: Duration) -> std::io::Result<()> {
        let stopped = self.stopped.lock().unwrap();
        let (stopped, _) = self.changed.wait_timeout_while(stopped, time, |stopped| !*stopped).unwrap();
        if *stopped { Err(std::io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// The maximum size of a request's head; those of eic-keys are a tenth of it.
const MAX_HEAD: usize = 65_536;

/// Reads up to the empty line; what follows it stays in the buffer. `None` if there is no empty line.
pub(crate) fn read_head(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            return Some(buffer.drain(..at + 4).collect());
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(length @ 1..) if buffer.len() <= MAX_HEAD => buffer.extend_from_slice(&chunk[..length]),
            _ => return None,
        }
    }
}

/// Names and values in order.
pub(crate) type Headers = Vec<(String, String)>;

/// Method, target and headers of a request's head.
pub(crate) fn parse_head(raw: &[u8]) -> Option<(String, String, Headers)> {
    let text = String::from_utf8_lossy(raw);
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    Some((method, target, headers))
}

/// Decodes `%XX`.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape =
            tail.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let (byte, after) = match (first, escape) {
            (b'%', Some(byte)) => (byte, &tail[2..]),
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    /// Its number, counted from 1.
    pub number: usize,
    stream: Arc<TcpStream>,
    from: SocketAddr,
    stop: Arc<Stop>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(number: usize, stream: Arc<TcpStream>, from: SocketAddr, stop: Arc<Stop>) -> Self {
        Self { number, stream, from, stop, buffer: Vec::new() }
    }

    /// The next request, or `None` if the client sends no more, or something else.
    pub(crate) fn read(&mut self) -> Option<Request> {
        let raw = read_head(&mut &*self.stream, &mut self.buffer)?;
        let (method, path, headers) = parse_head(&raw)?;
        let (connection, from) = (self.number, self.from);
        let arrived = Instant::now();
        Some(Request { method, path, headers, raw, connection, from, status: 0, arrived, answered: None })
    }

    /// Writes bytes at once.
    ///
    /// # Errors
    /// If the client has closed the connection or the laboratory ends.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// Writes single bytes, with this pause after each.
    ///
    /// # Errors
    /// If the client has closed the connection or the laboratory ends.
    pub fn drip(&mut self, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
        bytes.iter().try_for_each(|byte| {
            self.write(&[*byte])?;
            self.wait(pause)
        })
    }

    /// Waits.
    ///
    /// # Errors
    /// If the laboratory ends.
    pub fn wait(&self, time: Duration) -> std::io::Result<()> {
        self.stop.wait(time)
    }

    /// Waits until the client closes the connection or the laboratory ends.
    ///
    /// # Errors
    /// Always.
    pub fn hang(&self) -> std::io::Result<()> {
        let mut nothing = [0; 1024];
        while (&*self.stream).read(&mut nothing)? != 0 {}
        Err(std::io::ErrorKind::ConnectionAborted.into())
    }

    /// Makes the connection end with a reset. Returns the error that closes it.
    pub fn reset(&mut self) -> std::io::Error {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(&self.stream, sockopt::Linger, &at_once);
        std::io::ErrorKind::ConnectionReset.into()
    }

    /// Ends the reply.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_have_the_form_of_http() {
        for (at, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_738_233_600, "Thu, 30 Jan 2025 10:40:00 GMT"),
        ] {
            assert_eq!(date(at), text);
        }
    }
}
