//! What sshd reads: verified keys, each on its line as it was signed, and behind them what the command behind `--` printed, as
//! it is. In a run of sshd's nothing else writes to standard output.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::keys::VerifiedKey;
use crate::limits;

/// What a pipe takes without waiting once it takes anything (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Writes the keys, in their order.
///
/// # Errors
/// Not all could be written. It is no error if the reader has gone: sshd closes the pipe at the first key that fits.
pub fn keys(keys: &[VerifiedKey<'_>], out: &mut (impl Write + AsFd)) -> io::Result<()> {
    let mut lines = Vec::new();
    for key in keys {
        lines.extend_from_slice(key.line().as_bytes());
        lines.push(b'\n');
    }
    bytes(&lines, out)
}

/// Writes what the command behind `--` printed.
///
/// # Errors
/// As for [`keys`].
pub fn bytes(bytes: &[u8], out: &mut (impl Write + AsFd)) -> io::Result<()> {
    // So no write waits for its reader.
    for chunk in bytes.chunks(PIPE_BUF) {
        let written = await_reader(out).and_then(|()| out.write_all(chunk)).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

fn await_reader(out: &impl AsFd) -> io::Result<()> {
    let wait = PollTimeout::try_from(limits::READER_WAIT).unwrap_or(PollTimeout::ZERO);
    loop {
        match poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLOUT)], wait) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
