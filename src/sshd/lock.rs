//! Ensures that only one run changes sshd's configuration, and records if a run was interrupted before sshd was
//! reloaded.

use std::{
    error::Error,
    fmt,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::replace::FileError;
use crate::config_tree::ConfigTree;
use crate::files;

/// In a directory where only root can create it, so that no other user can hold the lock. A run that completes removes
/// it, because `/run` of an image that is being built is part of the image. A boot removes it, too; sshd then reads its
/// files when it starts.
const PATH: &str = "/run/eic-keys.lock";

/// How long to wait for another run.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

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
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock. Waits up to [`LOCK_TIMEOUT`] for another run to end.
    ///
    /// # Errors
    /// Another run holds the lock, or the file cannot be opened or locked.
    pub(super) fn take(tree: &ConfigTree) -> Result<Self, LockError> {
        let path = tree.locate(Path::new(PATH));
        let failed = |error: rustix::io::Errno| LockError::File(FileError::new(&path, error.into()));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let start = Instant::now();
        loop {
            let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let file = File::from(file);
                    if is_at(&file, &path) {
                        return Ok(Self { file, path });
                    }
                    // The run that held this file has removed it, and a third one can hold a new file.
                }
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < LOCK_TIMEOUT => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(path.clone())),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Whether an earlier run changed files and did not reload sshd.
    pub(super) fn is_reload_pending(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Records that files are about to change, and that sshd must be reloaded then.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn set_reload_pending(&self) -> Result<(), LockError> {
        let written = self.file.write_all_at(RELOAD_PENDING, 0);
        written.map_err(|error| LockError::File(FileError::new(Path::new(PATH), error)))
    }

    /// Records that sshd was reloaded. If this fails, the next run reloads sshd again, which is harmless.
    pub(super) fn clear_reload_pending(&self) {
        let _ = self.file.set_len(0);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock is still held here. If a reload is pending, the file stays: the next run must see that.
        if !self.is_reload_pending() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the path still names this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let opened = file.metadata().map(|file| files::identity(&file));
    let named = fs::symlink_metadata(path).map(|file| files::identity(&file));
    matches!((opened, named), (Ok(opened), Ok(named)) if opened == named)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_run_at_a_time_has_the_lock_although_each_removes_the_file() {
        let root = std::env::temp_dir().join(format!("eic-keys-lock-{}", std::process::id()));
        fs::create_dir_all(root.join("run")).unwrap();
        let tree = ConfigTree::new(&root);
        let holders = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = Lock::take(&tree).unwrap();
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!root.join("run/eic-keys.lock").exists());
        let lock = Lock::take(&tree).unwrap();
        lock.set_reload_pending().unwrap();
        drop(lock);
        let lock = Lock::take(&tree).unwrap();
        assert!(lock.is_reload_pending());
        lock.clear_reload_pending();
        drop(lock);
        assert!(!root.join("run/eic-keys.lock").exists());
        fs::remove_dir_all(root).unwrap();
    }
}
