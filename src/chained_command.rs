//! The chained command: the AuthorizedKeysCommand that follows `--`.
//!
//! sshd runs only one AuthorizedKeysCommand, so eic-keys runs the other one: in parallel with its own work, without a shell, in
//! the environment that sshd set. As in sshd, the output of the command counts only if it succeeds.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::limits;
use crate::safe_path;

/// How often to look whether a command that has closed its output has ended: every 20 ms.
const EXIT_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A running chained command.
#[derive(Debug)]
pub(crate) struct ChainedCommand {
    child: Child,
    stdout: ChildStdout,
}

/// How the chained command ended, if it did not fail.
#[derive(Debug)]
pub(crate) enum ChainedOutput {
    /// It succeeded and printed this.
    Keys(Vec<u8>),
    /// The reader of our output closed it, so the command was stopped.
    ReaderClosed,
}

/// Why the keys of the chained command do not count. Each text ends a sentence that begins with "the chained command".
#[derive(Debug)]
pub(crate) enum ChainedError {
    /// It could not be started or read.
    Io(io::Error),
    /// It ended with a status other than 0 or by a signal.
    Status(ExitStatus),
    /// It printed more than [`limits::CHAINED_OUTPUT`].
    TooMuch,
}

impl ChainedError {
    /// The exit status for this failure, with the numbers that shells use.
    #[must_use]
    pub(crate) fn status(&self) -> u8 {
        let status = match self {
            Self::Status(status) => {
                status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)))
            }
            Self::Io(_) | Self::TooMuch => None,
        };
        status.and_then(|status| u8::try_from(status).ok()).unwrap_or(126)
    }
}

impl fmt::Display for ChainedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("could not be run"),
            Self::Status(status) => write!(f, "failed: {status}"),
            Self::TooMuch => {
                let most = limits::CHAINED_OUTPUT / (1024 * 1024);
                write!(f, "printed more than {most} MiB")
            }
        }
    }
}

impl std::error::Error for ChainedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Status(_) | Self::TooMuch => None,
        }
    }
}

impl ChainedCommand {
    /// Starts `command`, a program and its arguments, if sshd would run it: its path is absolute and only root can change it.
    ///
    /// # Errors
    /// Fails if the command cannot be started.
    #[expect(clippy::disallowed_methods, reason = "it is checked here, and keeps sshd's environment")]
    pub(crate) fn start(root: &Path, command: &[OsString]) -> Result<Self, ChainedError> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| ChainedError::Io(io::ErrorKind::NotFound.into()))?;
        let program = safe_path::program(root, Path::new(program)).map_err(ChainedError::Io)?;
        let mut child = Command::new(program.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(ChainedError::Io)?;
        let stdout = child.stdout.take().ok_or_else(|| ChainedError::Io(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { child, stdout })
    }

    #[must_use]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the command ends, or until the reader of `output`, our standard output, closes it.
    ///
    /// There is no time limit, because sshd sets none either.
    ///
    /// # Errors
    /// The command failed, so its output does not count.
    pub(crate) fn finish(&mut self, output: &impl AsFd) -> Result<ChainedOutput, ChainedError> {
        let mut keys = Vec::new();
        let mut open = true;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if !open {
                match self.child.try_wait().map_err(ChainedError::Io)? {
                    Some(status) if status.success() => return Ok(ChainedOutput::Keys(keys)),
                    Some(status) => return Err(ChainedError::Status(status)),
                    None => {}
                }
            }
            let mut descriptors = vec![PollFd::new(output, PollFlags::empty())];
            if open {
                descriptors.push(PollFd::new(&self.stdout, PollFlags::IN));
            }
            // After the command has closed its output, no event reports its exit.
            let wait = (!open).then_some(EXIT_POLL);
            match poll(&mut descriptors, wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(ChainedError::Io(errno.into())),
            }
            let mut events = descriptors.iter().map(PollFd::revents);
            if events.next().is_some_and(|events| events.intersects(PollFlags::ERR | PollFlags::HUP)) {
                return Ok(ChainedOutput::ReaderClosed);
            }
            if events.next().is_some_and(|events| !events.is_empty()) {
                match self.stdout.read(&mut buffer) {
                    Ok(0) => open = false,
                    Ok(length) => keys.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(ChainedError::Io(error)),
                }
            }
            if keys.len() > limits::CHAINED_OUTPUT {
                return Err(ChainedError::TooMuch);
            }
        }
    }
}

impl Drop for ChainedCommand {
    /// Stops a command that is still running when the run ends.
    ///
    /// If a signal ends the run, this code does not execute. The command continues, and gets SIGPIPE when it prints. Only the child
    /// could set a parent-death signal, between fork and exec, which needs `unsafe`. sshd signals the whole process group.
    fn drop(&mut self) {
        // A command that changed its user cannot be killed, so do not wait for it.
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}
