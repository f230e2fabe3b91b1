//! One limited request per connection.
//!
//! IMDS closes the connection after each reply. hyper implements the protocol; it follows no redirects and uses no proxy, cookies or
//! compression.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{DATE, HOST, HeaderName, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_tcp_quickack};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect as begin_to_connect, socket_with};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use crate::limits;

/// The default port of HTTP, which a Host header leaves out (RFC 9110 section 4.2.1), and the port of IMDS.
pub(super) const DEFAULT_PORT: u16 = 80;

/// A request.
pub(super) struct HttpRequest<'a> {
    pub(super) method: Method,
    /// Path of the URL. It is checked text that needs no encoding.
    pub(super) path: &'a str,
    pub(super) header: (HeaderName, HeaderValue),
    /// Maximum size of the body in bytes.
    pub(super) limit: usize,
}

/// A reply. The body is read only for status 200, and is always complete.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) date: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// Why there is no reply. Each text ends a sentence that begins with "the metadata service".
#[derive(Debug)]
pub(super) enum HttpError {
    /// The address cannot be reached.
    Connect(io::Error),
    /// The connection was not established in time.
    ConnectTimedOut,
    /// The reply was not complete in time.
    TimedOut,
    /// The connection broke, or the reply is not HTTP.
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The body is larger than the limit.
    TooLarge(usize),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(_) => f.write_str("cannot be reached"),
            Self::ConnectTimedOut => f.write_str("cannot be reached: no connection in time"),
            Self::TimedOut => f.write_str("did not answer in time"),
            Self::Broken(_) => f.write_str("closed the connection, or sent no valid HTTP"),
            Self::TooLarge(limit) => write!(f, "sent more than {limit} bytes, the limit for this"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Broken(error) => Some(error.as_ref()),
            Self::ConnectTimedOut | Self::TimedOut | Self::TooLarge(_) => None,
        }
    }
}

/// Connections to one address, started before they are needed. They are established while the process does other work, and have
/// socket options that the sandbox forbids to set later.
///
/// IMDS accepts 1,024 packets per second, and a request normally takes ten. The socket options avoid some: the kernel sends the last
/// packet of the handshake with the request, and the acknowledgement of the reply with the close; and it closes with a reset, which
/// is not acknowledged. Data that the reset could discard has been read before or is not needed.
#[derive(Debug, Default)]
pub struct Connections {
    address: Option<SocketAddr>,
    begun: Mutex<VecDeque<TcpStream>>,
}

impl Connections {
    /// Starts `count` connections to the first of `addresses`. One that fails at once is left out; its request then connects itself.
    #[must_use]
    pub fn begin(addresses: &[SocketAddr], count: usize) -> Self {
        let Some(&address) = addresses.first() else { return Self::default() };
        let begun = (0..count).filter_map(|_| begin(address).ok()).collect();
        Self { address: Some(address), begun: Mutex::new(begun) }
    }

    fn take(&self, address: SocketAddr) -> Option<TcpStream> {
        if self.address == Some(address) { self.begun.lock().ok()?.pop_front() } else { None }
    }
}

fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_tcp_quickack(&socket, false)?;
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    match begin_to_connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => TcpStream::from_std(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends a request to `address`. Returns within `time`.
pub(super) async fn send(
    address: SocketAddr,
    connections: &Connections,
    request: HttpRequest<'_>,
    time: Duration,
) -> Result<Reply, HttpError> {
    let end = tokio::time::Instant::now().checked_add(time).ok_or(HttpError::TimedOut)?;
    let stream = timeout(time, connect(address, connections.take(address)))
        .await
        .map_err(|_| HttpError::ConnectTimedOut)??;
    tokio::time::timeout_at(end, exchange(stream, address, request)).await.map_err(|_| HttpError::TimedOut)?
}

/// Connects, and retries until the caller's time limit. IMDS drops packets over its 1,024 per second, and the kernel resends a lost SYN
/// only after a second (RFC 6298 section 2), which is the whole time of a request.
async fn connect(address: SocketAddr, mut begun: Option<TcpStream>) -> Result<TcpStream, HttpError> {
    loop {
        let stream = async {
            match begun.take() {
                Some(stream) => connected(stream).await,
                None => TcpStream::connect(address).await,
            }
        };
        if let Ok(stream) = timeout(limits::CONNECT_ATTEMPT, stream).await {
            return stream.map_err(HttpError::Connect);
        }
    }
}

/// Waits until the connection is established (connect(2), `EINPROGRESS`).
async fn connected(stream: TcpStream) -> io::Result<TcpStream> {
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// A stream for hyper that ignores shutdown. hyper would shut down our half first, and the service would acknowledge that.
struct Connection(TokioIo<TcpStream>);

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn exchange(
    stream: TcpStream,
    address: SocketAddr,
    request: HttpRequest<'_>,
) -> Result<Reply, HttpError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits::REPLY_HEAD)
        .handshake(Connection(TokioIo::new(stream)))
        .await
        .map_err(broken)?;
    let limit = request.limit;
    let request = into_hyper(request, address).map_err(broken)?;
    let reply = async {
        let reply = sender.send_request(request).await.map_err(broken)?;
        let status = reply.status();
        let date = reply.headers().get(DATE).cloned();
        if status != StatusCode::OK {
            return Ok(Reply { status, date, body: Bytes::new() });
        }
        let mut incoming = reply.into_body();
        let mut body = Vec::new();
        // Copy each frame: keeping the received pieces could take forty bytes per byte.
        while let Some(frame) = incoming.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                if data.len() > limit.saturating_sub(body.len()) {
                    return Err(HttpError::TooLarge(limit));
                }
                body.extend_from_slice(&data);
            }
        }
        Ok(Reply { status, date, body: body.into() })
    };
    // `connection` does the I/O. If it ends first, `reply` still returns the data that was read, or the error.
    tokio::pin!(reply);
    tokio::select! {
        biased;
        reply = &mut reply => reply,
        _ = connection => reply.await,
    }
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HttpError {
    HttpError::Broken(error.into())
}

fn into_hyper(
    request: HttpRequest<'_>,
    address: SocketAddr,
) -> Result<hyper::Request<Empty<Bytes>>, hyper::http::Error> {
    let host = match address {
        SocketAddr::V4(v4) if v4.port() == DEFAULT_PORT => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.port() == DEFAULT_PORT => format!("[{}]", v6.ip()),
        with_port => with_port.to_string(),
    };
    let (name, value) = request.header;
    hyper::Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(HOST, host)
        .header(name, value)
        .body(Empty::new())
}
