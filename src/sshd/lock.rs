//! Ensures that only one run changes sshd's configuration, and records if a run was interrupted before sshd was
//! reloaded.

use std::{
    error::Error,
    fmt,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{config_tree::ConfigTree, replace::FileError};

/// In a directory where only root can create it, so that no other user can hold the lock. A boot removes it; sshd
/// then reads its files when it starts.
const PATH: &str = "/run/eic-keys.lock";

/// How long to wait for another run.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The content of the lock file from the first change of sshd's files until sshd is reloaded.
const RELOAD_PENDING: &[u8] = b"sshd has not been reloaded since its configuration was changed\n";

/// Why the lock could not be taken or written.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another run holds this file.
    Held(PathBuf),
    /// The lock file cannot be used.
    File(FileError),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(path) => {
                write!(f, "another --enable or --disable is running: it holds {}", path.display())
            }
            Self::File(error) => error.fmt(f),
        }
    }
}

impl Error for LockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Held(_) => None,
            Self::File(error) => error.source(),
        }
    }
}

/// The lock, held until dropped.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock. Waits up to [`TIMEOUT`] for another run to end.
    ///
    /// # Errors
    /// Another run holds the lock, or the file cannot be opened or locked.
    pub(super) fn take(tree: &ConfigTree) -> Result<Self, LockError> {
        let path = tree.locate(Path::new(PATH));
        let failed = |error: rustix::io::Errno| LockError::File(FileError::new(&path, error.into()));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file.into())),
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < TIMEOUT => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(path.clone())),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Whether an earlier run changed files and did not reload sshd.
    pub(super) fn is_reload_pending(&self) -> bool {
        self.0.metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Records that files are about to change, and that sshd must be reloaded then.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn set_reload_pending(&self) -> Result<(), LockError> {
        let written = self.0.write_all_at(RELOAD_PENDING, 0);
        written.map_err(|error| LockError::File(FileError::new(Path::new(PATH), error)))
    }

    /// Records that sshd was reloaded. If this fails, the next run reloads sshd again, which is harmless.
    pub(super) fn clear_reload_pending(&self) {
        let _ = self.0.set_len(0);
    }
}
