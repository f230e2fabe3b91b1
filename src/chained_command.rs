//! The command behind `--`: the AuthorizedKeysCommand that was there before us.
//!
//! sshd has room for one AuthorizedKeysCommand, so we run the other: at once, side by side with our own work, without a
//! shell, in the environment that sshd gave us. As with sshd itself, what it printed counts only if it succeeds.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::limits;
use crate::safe_path;

/// The other command, running.
#[derive(Debug)]
pub struct ChainedCommand {
    child: Child,
    stdout: ChildStdout,
}

/// How the other command ended, if it did not fail.
#[derive(Debug)]
pub enum Ending {
    /// It succeeded, and printed this.
    Keys(Vec<u8>),
    /// Whoever reads our output went away, so it was stopped.
    Unwanted,
}

/// Why the other command's keys do not count.
#[derive(Debug)]
pub enum Failure {
    /// It could not be started, or not be read.
    Io(io::Error),
    /// It ended with another status than 0, or by a signal.
    Status(ExitStatus),
    /// It printed more than [`limits::CHAINED_OUTPUT`].
    TooMuch,
}

impl Failure {
    /// The exit status that stands for this, as shells write it.
    #[must_use]
    pub fn status(&self) -> u8 {
        let status = match self {
            Self::Status(status) => {
                status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)))
            }
            Self::Io(_) | Self::TooMuch => None,
        };
        status.and_then(|status| u8::try_from(status).ok()).unwrap_or(126)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "could not be run: {error}"),
            Self::Status(status) => write!(f, "failed: {status}"),
            Self::TooMuch => write!(f, "printed more than {} MiB", limits::CHAINED_OUTPUT / (1024 * 1024)),
        }
    }
}

impl ChainedCommand {
    /// Starts `command`, the program and its arguments, if sshd would: its path is absolute, and only root can change it.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(root: &Path, command: &[OsString]) -> Result<Self, Failure> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Failure::Io(io::ErrorKind::NotFound.into()))?;
        safe_path::program(root, Path::new(program)).map_err(Failure::Io)?;
        let mut child =
            Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().map_err(Failure::Io)?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::Io(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { child, stdout })
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the command is done, or until nobody reads `output`, our own standard output, any more.
    ///
    /// There is no time limit: there was none when sshd ran it.
    ///
    /// # Errors
    /// It failed, so what it printed does not count.
    pub fn finish(&mut self, output: &impl AsFd) -> Result<Ending, Failure> {
        let mut keys = Vec::new();
        let mut open = true;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if !open {
                match self.child.try_wait().map_err(Failure::Io)? {
                    Some(status) if status.success() => return Ok(Ending::Keys(keys)),
                    Some(status) => return Err(Failure::Status(status)),
                    None => {}
                }
            }
            let mut descriptors = vec![PollFd::new(output.as_fd(), PollFlags::empty())];
            if open {
                descriptors.push(PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN));
            }
            // A command that closed its output still has its status to give, and that comes without an event.
            let wait = if open { PollTimeout::NONE } else { PollTimeout::from(20_u8) };
            match poll(&mut descriptors, wait) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::Io(errno.into())),
            }
            let mut events =
                descriptors.iter().map(|descriptor| descriptor.revents().unwrap_or(PollFlags::empty()));
            if events.next().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
            {
                return Ok(Ending::Unwanted);
            }
            if events.next().is_some_and(|events| !events.is_empty()) {
                match self.stdout.read(&mut buffer) {
                    Ok(0) => open = false,
                    Ok(length) => keys.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Failure::Io(error)),
                }
            }
            if keys.len() > limits::CHAINED_OUTPUT {
                return Err(Failure::TooMuch);
            }
        }
    }
}

impl Drop for ChainedCommand {
    /// A command that is still running is stopped, where a run ends by itself.
    ///
    /// Where a signal ends it, nobody does that: a command whose run was killed goes on, and finds nobody to read what it prints
    /// (SIGPIPE). A parent-death signal could be set by nobody but the child between fork and exec, which takes `unsafe`. sshd
    /// itself signals the whole process group.
    fn drop(&mut self) {
        // Who may not be stopped, as he has taken another user's rights, is not waited for either.
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}
