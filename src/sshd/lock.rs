//! Ensures that only one run changes sshd's configuration, and records if a run was interrupted before sshd was
//! reloaded.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{config_tree::ConfigTree, replace::cause};

/// In a directory where only root can create it, so that no other user can hold the lock. A boot removes it; sshd
/// then reads its files when it starts.
const PATH: &str = "/run/eic-keys.lock";

/// How long to wait for another run.
const PATIENCE: Duration = Duration::from_secs(10);

/// The content of the lock file from the first change of sshd's files until sshd is reloaded.
const UNREAD: &[u8] = b"sshd has not been told of the change\n";

/// The lock, held until dropped.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock. Waits up to [`PATIENCE`] for another run to end.
    ///
    /// # Errors
    /// A message for the user.
    pub(super) fn take(tree: &ConfigTree) -> Result<Self, String> {
        let path = tree.locate(Path::new(PATH));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| cause(&path, &error.into()))?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file.into())),
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(format!("another --enable or --disable runs: it holds {}", path.display()));
                }
                Err(error) => return Err(cause(&path, &error.into())),
            }
        }
    }

    /// Whether sshd was not reloaded after a change of its files.
    pub(super) fn is_unread(&self) -> bool {
        self.0.metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Records that files are about to change.
    ///
    /// # Errors
    /// A message for the user.
    pub(super) fn set_unread(&self) -> Result<(), String> {
        self.0.write_all_at(UNREAD, 0).map_err(|error| cause(Path::new(PATH), &error))
    }

    /// Records that sshd was reloaded. If this fails, the next run reloads sshd again, which is harmless.
    pub(super) fn set_read(&self) {
        let _ = self.0.set_len(0);
    }
}
