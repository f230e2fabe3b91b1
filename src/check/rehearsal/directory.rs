//! The directory of a rehearsal: its key, and the configuration of its sshd.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::files;
use crate::path_walk::resolve;

/// Only root can create files in `/run`, so no other user can create this directory first. The name is fixed so that
/// the next rehearsal finds and removes what a killed one left.
const PATH: &str = "/run/eic-keys-rehearsal";

/// The directory, locked. It is removed when this value is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates the directory. `None` if another rehearsal is running.
    ///
    /// # Errors
    /// Fails if the directory cannot be created, or if users other than root could change it.
    pub(super) fn create() -> io::Result<Option<Self>> {
        resolve(Path::new(PATH), &[0]).map_err(io::Error::other)?;
        // The previous holder of the lock can remove the directory between `mkdir` and `flock`.
        for _ in 0..10 {
            match DirBuilder::new().mode(0o711).create(PATH) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rustix::fs::open(PATH, flags, Mode::empty()) {
                Err(rustix::io::Errno::NOENT) => continue,
                file => File::from(file?),
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                result => result?,
            }
            let locked = files::identity(&file.metadata()?);
            if fs::symlink_metadata(PATH).is_ok_and(|metadata| files::identity(&metadata) == locked) {
                let directory = Self { path: PATH.into(), _lock: file };
                remove_contents();
                // USER can reach the public key by its name, and cannot list the directory, whatever the umask is.
                fs::set_permissions(PATH, Permissions::from_mode(0o711))?;
                return Ok(Some(directory));
            }
        }
        Err(io::Error::other(format!("{PATH} was replaced repeatedly")))
    }

    /// The key of the login.
    pub(super) fn private_key(&self) -> PathBuf {
        self.path("key")
    }

    /// The path of a file in the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, content: &[u8], mode: u32) -> io::Result<PathBuf> {
        let path = self.path(name);
        // With its mode from the beginning, and then whatever the umask is.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        remove_contents();
        let _ = fs::remove_dir(PATH);
    }
}

/// Removes the files in the directory. If this fails, the next rehearsal tries again.
fn remove_contents() {
    for entry in fs::read_dir(PATH).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
}
