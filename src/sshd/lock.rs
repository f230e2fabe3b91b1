//! One run at a time; and the word of a run that was cut off before sshd was told.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{config_tree::ConfigTree, replace::cause};

/// Where only root can take it, or anyone could hold it; and gone with a boot, after which sshd has read its files.
const PATH: &str = "/run/eic-keys.lock";

/// How long another run is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands in the file from the first change to sshd's files until sshd was told of the last.
const UNREAD: &[u8] = b"sshd has not been told of the change\n";

/// Keeps others out until it is dropped.
pub(super) struct Lock(File);

impl Lock {
    /// Waits for another run to end, but not for long.
    ///
    /// # Errors
    /// The reason, for people.
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

    /// Whether files were changed that the running sshd has not been told of.
    pub(super) fn is_unread(&self) -> bool {
        self.0.metadata().is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Notes that files are about to be changed.
    ///
    /// # Errors
    /// The reason, for people.
    pub(super) fn set_unread(&self) -> Result<(), String> {
        self.0.write_all_at(UNREAD, 0).map_err(|error| cause(Path::new(PATH), &error))
    }

    /// Notes that sshd was told. Where that fails, the next run tells it once more, which does no harm.
    pub(super) fn set_read(&self) {
        let _ = self.0.set_len(0);
    }
}
