//! The tunnel: binary frames of a WebSocket on one side, an instance's port on the other.
use super::endpoint::Stream;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// The maximum size of a frame; the AWS CLI's have 65,000 bytes.
const MAX_FRAME: usize = 1 << 20;
/// The maximum size of one read from the instance.
const CHUNK: usize = 32_768;
/// How long the service waits for the client's close.
const GOODBYE: Duration = Duration::from_secs(2);

/// Carries bytes in both directions until one side ends or the time is over. Without a target it is closed at once.
pub(crate) fn run(stream: Stream, early: Vec<u8>, target: Option<TcpStream>, duration: Duration) {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_FRAME)).max_frame_size(Some(MAX_FRAME));
    let nonblocking = stream.get_ref().set_nonblocking(true);
    let socket = WebSocket::from_partially_read(stream, early, Role::Server, Some(config));
    let Ok(()) = nonblocking else { return };
    let mut client = Client { socket, flushed: true };
    let end = match target {
        None => End::Close(CloseCode::Error, "Unable to connect to target"),
        Some(target) if target.set_nonblocking(true).is_err() => End::Gone,
        Some(mut target) => {
            let end = carry(&mut client, &mut target, Instant::now() + duration);
            let _ = target.shutdown(Shutdown::Both);
            end
        }
    };
    if let End::Close(code, reason) = end {
        client.say_goodbye(code, reason);
    }
}

/// Why a tunnel ends.
enum End {
    /// The client closed it, or its connection.
    Gone,
    /// The service closes it with this code and reason.
    Close(CloseCode, &'static str),
}

fn carry(client: &mut Client, target: &mut TcpStream, until: Instant) -> End {
    let mut outgoing = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let Some(left) = until.checked_duration_since(Instant::now()) else {
            return End::Close(CloseCode::Away, "Maximum tunnel duration reached");
        };
        let mut moved = false;
        // Read from one side only what the other side can take.
        if outgoing.is_empty() {
            match client.receive() {
                Ok(Some(bytes)) => (outgoing, moved) = (bytes, true),
                Ok(None) => (),
                Err(end) => return end,
            }
        }
        if !outgoing.is_empty() {
            let Ok(written) = attempt(|| target.write(&outgoing)) else {
                return End::Close(CloseCode::Normal, "");
            };
            moved |= written.is_some();
            outgoing.drain(..written.unwrap_or(0));
        }
        if client.flushed {
            match attempt(|| target.read(&mut chunk)) {
                Ok(Some(0)) | Err(_) => return End::Close(CloseCode::Normal, ""),
                Ok(Some(length)) => {
                    moved = true;
                    if let Err(end) = client.send(Message::binary(chunk[..length].to_vec())) {
                        return end;
                    }
                }
                Ok(None) => (),
            }
        }
        if let Err(end) = client.flush() {
            return end;
        }
        if !moved {
            wait(client, target, !outgoing.is_empty(), left);
        }
    }
}

/// Waits until a side is ready.
fn wait(client: &Client, target: &TcpStream, has_outgoing: bool, left: Duration) {
    let flags = |reading, writing| {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, reading);
        flags.set(PollFlags::POLLOUT, writing);
        flags
    };
    let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    let mut both = [
        PollFd::new(client.socket.get_ref().get_ref().as_fd(), flags(!has_outgoing, !client.flushed)),
        PollFd::new(target.as_fd(), flags(client.flushed, has_outgoing)),
    ];
    let _ = poll(&mut both, left);
}

/// `None`: not ready.
fn attempt<T>(act: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<Option<T>> {
    match act() {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        other => other.map(Some),
    }
}

/// The client's side.
struct Client {
    socket: WebSocket<Stream>,
    /// Whether all that was queued has been sent.
    flushed: bool,
}

impl Client {
    /// The content of a received frame; it may be empty.
    fn receive(&mut self) -> Result<Option<Vec<u8>>, End> {
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => Ok(Some(bytes.to_vec())),
            Ok(Message::Text(_)) => Err(End::Close(CloseCode::Unsupported, "Binary frames only")),
            // The answer to a ping or a close is sent with the next flush.
            Ok(_) => {
                self.flushed = false;
                Ok(Some(Vec::new()))
            }
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                Err(End::Gone)
            }
            Err(Error::Protocol(_) | Error::Utf8(_)) => {
                Err(End::Close(CloseCode::Protocol, "Protocol error"))
            }
            Err(Error::Capacity(_)) => Err(End::Close(CloseCode::Size, "Message too big")),
            Err(_) => Err(End::Gone),
        }
    }

    fn send(&mut self, message: Message) -> Result<(), End> {
        self.flushed = false;
        self.result(|socket| socket.write(message)).map(drop)
    }

    fn flush(&mut self) -> Result<(), End> {
        if !self.flushed {
            self.flushed = self.result(WebSocket::flush)?;
        }
        Ok(())
    }

    /// Returns whether all of it is done.
    fn result(&mut self, act: impl FnOnce(&mut WebSocket<Stream>) -> Result<(), Error>) -> Result<bool, End> {
        match act(&mut self.socket) {
            Ok(()) => Ok(true),
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(End::Gone),
        }
    }

    /// Closes the WebSocket and waits briefly for the other side's close.
    fn say_goodbye(&mut self, code: CloseCode, reason: &'static str) {
        let stream = self.socket.get_ref().get_ref();
        let blocking = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(GOODBYE)));
        if blocking.is_err() {
            return;
        }
        let deadline = Instant::now() + GOODBYE;
        let frame = CloseFrame { code, reason: reason.into() };
        if self.socket.close(Some(frame)).and_then(|()| self.socket.flush()).is_ok() {
            while Instant::now() < deadline && self.socket.read().is_ok() {}
        }
    }
}
