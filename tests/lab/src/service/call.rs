//! A request as received, with a body of limited size.
use crate::http::{decoded, parse_head, read_head};
use std::io::Read;
use std::net::SocketAddr;

/// AWS's limit for a body, in bytes; requests of these APIs have less than a hundredth of it.
pub const MAX_BODY: usize = 1_049_600;

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `POST`, `CONNECT`, ...
    pub method: String,
    /// The path as received; for `CONNECT` host and port.
    pub path: String,
    /// The query as received.
    pub query: String,
    /// The headers as received, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The address of the client.
    pub from: SocketAddr,
}

/// Why a request could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The client closed the connection or was too slow.
    Gone,
    /// It is not HTTP, or its body has no Content-Length.
    Malformed,
    /// The body is longer than [`MAX_BODY`].
    TooLarge,
}

impl Call {
    /// Reads a request; what follows it stays in the buffer.
    pub(crate) fn read(
        stream: &mut impl Read,
        from: SocketAddr,
        buffer: &mut Vec<u8>,
    ) -> Result<Self, Unreadable> {
        let raw = read_head(stream, buffer).ok_or(Unreadable::Gone)?;
        let (method, target, headers) = parse_head(&raw).ok_or(Unreadable::Malformed)?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut call = Self { method, path, query, headers, body: Vec::new(), from };
        if call.header("Transfer-Encoding").is_some() {
            return Err(Unreadable::Malformed);
        }
        let length = call.header("Content-Length").map_or(Ok(0), str::parse::<usize>);
        let length = length.map_err(|_| Unreadable::Malformed)?;
        if length > MAX_BODY {
            return Err(Unreadable::TooLarge);
        }
        while buffer.len() < length {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(some @ 1..) => buffer.extend_from_slice(&chunk[..some]),
                _ => return Err(Unreadable::Gone),
            }
        }
        call.body = buffer.drain(..length).collect();
        Ok(call)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter of the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        parameters(&self.query).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// The parameters of a query, decoded, in order. A `+` is not a space, as in AWS.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The parameters of a form's body, where a `+` is a space.
pub fn form(body: &[u8]) -> Vec<(String, String)> {
    parameters(&String::from_utf8_lossy(body).replace('+', "%20"))
}
