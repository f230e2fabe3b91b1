//! Faults of replies: each one is a way to write a reply.
use crate::http::{Connection, Reply};
use std::io::Result;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The requests to which a fault applies.
#[derive(Debug)]
pub struct On {
    path: Path,
    from: usize,
    to: usize,
    seen: AtomicUsize,
}

#[derive(Debug)]
enum Path {
    Any,
    Is(String),
    Within(String),
}

impl On {
    /// Every request.
    pub fn any() -> Self {
        Self::matching(Path::Any)
    }

    /// The requests for a token.
    pub fn token() -> Self {
        Self::path("api/token")
    }

    /// The requests whose path ends with these whole segments, with or without a final slash.
    pub fn path(end: &str) -> Self {
        Self::matching(Path::Is(format!("/{}", end.trim_matches('/'))))
    }

    /// The requests for paths below these segments.
    pub fn within(segments: &str) -> Self {
        Self::matching(Path::Within(format!("/{}/", segments.trim_matches('/'))))
    }

    /// Only the one of them with this number, counted from 1.
    pub fn nth(self, number: usize) -> Self {
        Self { from: number, to: number, ..self }
    }

    /// Only the first ones of them, up to this number.
    pub fn first(self, count: usize) -> Self {
        Self { from: 1, to: count, ..self }
    }

    /// Only those of them from this number on, counted from 1.
    pub fn from(self, number: usize) -> Self {
        Self { from: number, ..self }
    }

    fn matching(path: Path) -> Self {
        Self { path, from: 1, to: usize::MAX, seen: AtomicUsize::new(0) }
    }

    /// Whether the fault applies to this request. Counts the requests that match the path.
    pub(crate) fn applies_to(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let concerned = match &self.path {
            Path::Any => true,
            Path::Is(end) => path.ends_with(end.as_str()),
            Path::Within(segments) => path.contains(segments.as_str()),
        };
        concerned && (self.from..=self.to).contains(&(self.seen.fetch_add(1, Ordering::SeqCst) + 1))
    }
}

/// A way to write a reply: wrong, late, or not at all.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Another status, with its error page (204: without).
    Status(u16),
    /// 302 to this location.
    Redirect(String),
    /// Another body.
    Body(Vec<u8>),
    /// A header, added or replaced.
    Header(String, String),
    /// The reply after this time.
    Delay(Duration),
    /// No reply; the connection stays open.
    Hang,
    /// Half of the head; the connection stays open.
    HangInHead,
    /// Half of the body; the connection stays open.
    HangInBody,
    /// The head byte by byte, with this pause.
    DripHead(Duration),
    /// The body byte by byte, with this pause.
    DripBody(Duration),
    /// An endless body in chunks.
    EndlessChunks,
    /// An endless body without a length.
    EndlessBody,
    /// An endless body with a length of 2^62.
    EndlessLength,
    /// An endless body in chunks of one byte, with this pause.
    DripChunks(Duration),
    /// Endless headers.
    EndlessHeaders,
    /// An endless header line.
    EndlessHeaderLine,
    /// An endless status line.
    EndlessStatusLine,
    /// A header with a value of this length.
    LargeHeader(usize),
    /// This number of headers.
    ManyHeaders(usize),
    /// A body of this size, with its length.
    LargeBody(usize),
    /// A body of this size, without its length.
    LargeBodyWithoutLength(usize),
    /// A wrong Content-Length, then the end of the connection.
    Length(String),
    /// Two different Content-Length headers.
    TwoLengths,
    /// Both Content-Length and chunks.
    LengthAndChunks,
    /// The right length, but only this many bytes of the body.
    CutBody(usize),
    /// Half of the head only.
    CutHead,
    /// The body in chunks of this size. This is correct HTTP/1.1.
    Chunks(usize),
    /// A chunk whose size is not a number.
    BadChunk,
    /// Chunks without the last.
    CutChunks,
    /// No length; the end of the connection ends the body. This is correct too.
    UntilClose,
    /// The connection is closed without a reply.
    Close,
    /// The connection is reset without a reply.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetInBody,
    /// These bytes instead of a reply.
    Raw(Vec<u8>),
    /// The body without any head, as in HTTP/0.9.
    Http09,
    /// HTTP/1.0 in the status line. This is correct.
    Http10,
    /// `100 Continue` again and again.
    Continues,
    /// This number of `103 Early Hints`, then the reply.
    EarlyHints(usize),
    /// The right reply, followed by another one that was not requested.
    Another,
}

impl Fault {
    /// An SSH server's first bytes.
    pub fn ssh_banner() -> Self {
        Self::Raw(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec())
    }

    /// A TLS server's first bytes.
    pub fn tls_alert() -> Self {
        Self::Raw(vec![0x15, 3, 1, 0, 2, 2, 0x28])
    }

    /// An HTTP/2 server's first bytes: its settings.
    pub fn http2() -> Self {
        Self::Raw(vec![0, 0, 0, 4, 0, 0, 0, 0, 0])
    }

    /// Meaningless bytes, the same every time.
    pub fn garbage() -> Self {
        Self::Raw((0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect())
    }

    /// An empty body.
    pub fn empty() -> Self {
        Self::Body(Vec::new())
    }

    /// A body that claims to be compressed.
    pub fn compressed() -> Self {
        Self::Header("Content-Encoding".into(), "gzip".into())
    }

    /// A cookie, which the client must not send back.
    pub fn cookie() -> Self {
        Self::Header("Set-Cookie".into(), "session=1; Path=/".into())
    }

    /// Writes the reply in this way. After an error, or `false`, the connection cannot be used again.
    #[expect(clippy::too_many_lines, reason = "one line a fault; there is nothing to take apart")]
    pub(crate) fn write(&self, mut reply: Reply, to: &mut Connection) -> Result<bool> {
        let length = reply.body.len();
        let half = length / 2;
        let chunked =
            |reply: &Reply| [reply.open_head(), b"Transfer-Encoding: chunked\r\n\r\n".to_vec()].concat();
        let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        match self {
            Self::Status(204) => to.write(&Reply { status: 204, body: vec![], ..reply }.head(0))?,
            Self::Status(status) => return plain(&Reply::error(*status), to),
            Self::Redirect(place) => return plain(&Reply::error(302).with("Location", place), to),
            Self::Body(body) => return plain(&Reply { body: body.clone(), ..reply }, to),
            Self::Header(name, value) => return plain(&reply.with(name, value), to),
            Self::Delay(time) => {
                to.wait(*time)?;
                return plain(&reply, to);
            }
            Self::Hang => to.hang()?,
            Self::HangInHead => {
                let head = reply.head(length);
                to.write(&head[..head.len() / 2])?;
                to.hang()?;
            }
            Self::HangInBody => {
                to.write(&reply.head(length))?;
                to.write(&reply.body[..half])?;
                to.hang()?;
            }
            Self::DripHead(pause) => {
                to.drip(&reply.head(length), *pause)?;
                to.write(&reply.body)?;
            }
            Self::DripBody(pause) => {
                to.write(&reply.head(length))?;
                to.drip(&reply.body, *pause)?;
            }
            Self::EndlessChunks => {
                to.write(&chunked(&reply))?;
                forever(to, &chunk(&[b'A'; 4096]))?;
            }
            Self::EndlessBody => {
                to.write(&[reply.open_head(), b"\r\n".to_vec()].concat())?;
                forever(to, &[b'A'; 4096])?;
            }
            Self::EndlessLength => {
                to.write(&reply.head(1_u64 << 62))?;
                forever(to, &[b'A'; 4096])?;
            }
            Self::DripChunks(pause) => {
                to.write(&chunked(&reply))?;
                loop {
                    to.write(&chunk(b"A"))?;
                    to.wait(*pause)?;
                }
            }
            Self::EndlessHeaders => {
                to.write(&reply.open_head())?;
                forever(to, &b"X-More: and more\r\n".repeat(200))?;
            }
            Self::EndlessHeaderLine => {
                to.write(&[reply.open_head(), b"X-Long: ".to_vec()].concat())?;
                forever(to, &[b'A'; 4096])?;
            }
            Self::EndlessStatusLine => {
                to.write(b"HTTP/1.1 200 ")?;
                forever(to, &[b'A'; 4096])?;
            }
            Self::LargeHeader(size) => return plain(&reply.with("X-Large", &"A".repeat(*size)), to),
            Self::ManyHeaders(count) => {
                reply.headers.extend((0..*count).map(|n| (format!("X-{n}"), "A".to_owned())));
                return plain(&reply, to);
            }
            Self::LargeBody(size) => return plain(&Reply { body: vec![b'A'; *size], ..reply }, to),
            Self::LargeBodyWithoutLength(size) => {
                to.write(&[reply.open_head(), b"\r\n".to_vec(), vec![b'A'; *size]].concat())?;
            }
            Self::Length(wrong) => to.write(&[reply.head(wrong), reply.body].concat())?,
            Self::TwoLengths => {
                let extra = reply.clone().with("Content-Length", &(length + 1).to_string());
                to.write(&[extra.head(length), reply.body].concat())?;
            }
            Self::LengthAndChunks => {
                let both = reply.with("Transfer-Encoding", "chunked");
                to.write(&[both.head(length), chunk(&both.body), b"0\r\n\r\n".to_vec()].concat())?;
            }
            Self::CutBody(kept) => {
                to.write(&[reply.head(length), reply.body[..length.min(*kept)].to_vec()].concat())?;
            }
            Self::CutHead => {
                let head = reply.head(length);
                to.write(&head[..head.len() / 2])?;
            }
            Self::Chunks(size) => {
                let chunks: Vec<u8> = reply.body.chunks(*size).flat_map(chunk).collect();
                to.write(&[chunked(&reply), chunks, b"0\r\n\r\n".to_vec()].concat())?;
                return Ok(true);
            }
            Self::BadChunk => to.write(&[chunked(&reply), b"xyz\r\n".to_vec(), reply.body].concat())?,
            Self::CutChunks => to.write(&[chunked(&reply), chunk(&reply.body)].concat())?,
            Self::UntilClose => to.write(&[reply.open_head(), b"\r\n".to_vec(), reply.body].concat())?,
            Self::Close => (),
            Self::Reset => return Err(to.reset()),
            Self::ResetInBody => {
                to.write(&[reply.head(length), reply.body[..half].to_vec()].concat())?;
                // The client must receive the data before the reset discards it.
                to.wait(Duration::from_millis(20))?;
                return Err(to.reset());
            }
            Self::Raw(bytes) => to.write(bytes)?,
            Self::Http09 => to.write(&reply.body)?,
            Self::Http10 => return plain(&Reply { version: "HTTP/1.0", ..reply }, to).map(|_| false),
            Self::Continues => forever(to, &b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100))?,
            Self::EarlyHints(count) => {
                to.write(&b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n".repeat(*count))?;
                return plain(&reply, to);
            }
            Self::Another => {
                plain(&reply, to)?;
                plain(&Reply::new(200, "another one"), to)?;
            }
        }
        Ok(false)
    }
}

/// Writes a correct reply. The connection may then serve another request.
pub(crate) fn plain(reply: &Reply, to: &mut Connection) -> Result<bool> {
    let head = reply.head(reply.body.len());
    // Usually one packet. A large body is not copied first, so that the client gets the length at once.
    if reply.body.len() <= 65_536 {
        to.write(&[&head, reply.body.as_slice()].concat())?;
    } else {
        to.write(&head)?;
        to.write(&reply.body)?;
    }
    Ok(true)
}

fn forever(to: &mut Connection, bytes: &[u8]) -> Result<()> {
    loop {
        to.write(bytes)?;
    }
}
