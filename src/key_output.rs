//! Output for sshd: the verified keys, each on its line as signed, then the unchanged output of the chained command. When sshd
//! runs the program, nothing else writes to standard output.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::keys::AuthorizedKey;
use crate::limits;

/// Number of bytes that a pipe accepts without blocking when poll(2) reports it writable (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Writes the keys in the given order.
///
/// # Errors
/// Fails if not all keys can be written. A closed pipe is not an error: sshd closes it after the first matching key.
pub(crate) fn keys(keys: &[AuthorizedKey<'_>], out: &mut (impl Write + AsFd)) -> io::Result<()> {
    let mut lines = Vec::new();
    for key in keys {
        lines.extend_from_slice(key.line().as_bytes());
        lines.push(b'\n');
    }
    let start = Instant::now();
    write(&lines, out, || limits::READER_WAIT.saturating_sub(start.elapsed()))
}

/// Writes the output of the chained command, for as long as the reader reads: neither sshd nor eic-keys limits its time.
///
/// # Errors
/// As for [`keys`].
pub(crate) fn bytes(bytes: &[u8], out: &mut (impl Write + AsFd)) -> io::Result<()> {
    write(bytes, out, || limits::READER_WAIT)
}

/// `wait` is how long to wait for the reader now.
fn write(bytes: &[u8], out: &mut (impl Write + AsFd), wait: impl Fn() -> Duration) -> io::Result<()> {
    // With this chunk size, a write to a pipe that is ready never blocks.
    for chunk in bytes.chunks(PIPE_BUF) {
        let written =
            await_reader(out, wait()).and_then(|()| out.write_all(chunk)).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

fn await_reader(out: &impl AsFd, wait: Duration) -> io::Result<()> {
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    loop {
        match poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(&wait)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
