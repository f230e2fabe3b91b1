//! Replaces files atomically.
//!
//! The new file is written in the same directory, with the owner, mode, ACL and security label of the old one, and
//! synced before it is renamed. The old file keeps a temporary name until the change is complete, so that a rollback
//! needs no space and no copy.

use std::{
    error::Error,
    ffi::OsStr,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{IFlags, Mode, OFlags, XattrFlags};

use crate::error_text::WithCauses;
use crate::ownership::{self, OwnershipFault};

/// Extended attributes that depend on the contents of the file, or that the kernel maintains. A hash of the old contents would
/// be wrong for the new file.
const NOT_COPIED: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];

/// The kernel's maximum size of an extended attribute (`XATTR_SIZE_MAX`).
const MAX_ATTRIBUTE: usize = 65536;

/// A temporary name in the directory of `path`, with the suffix `what`. It begins with a dot and has another
/// extension, so that no `Include` matches it.
pub(super) fn temp_path(path: &Path, what: &str) -> PathBuf {
    let mut name = b".".to_vec();
    name.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
    name.extend_from_slice(b".eic-keys-");
    name.extend_from_slice(what.as_bytes());
    path.with_file_name(OsStr::from_bytes(&name))
}

/// Why a file cannot be read, replaced or created.
#[derive(Debug)]
pub(super) enum FileError {
    Io(PathBuf, io::Error),
    /// This file or directory is on a file system that is mounted read-only.
    ReadOnly(PathBuf),
    /// Something is mounted on it, so it cannot be renamed or linked.
    MountPoint(PathBuf),
    NoSpace(PathBuf),
    /// The disk quota is used up.
    Quota(PathBuf),
    /// It has the attribute `i` of chattr(1).
    Immutable(PathBuf),
    /// It has the attribute `a` of chattr(1).
    AppendOnly(PathBuf),
    /// Access is denied, and no attribute explains it.
    Denied(PathBuf, io::Error),
    /// It is a symbolic link, with this target if known.
    SymbolicLink(PathBuf, Option<PathBuf>),
    /// It is not a regular file.
    NotAFile(PathBuf),
    Owner(PathBuf, u32),
    /// It is writable by its group or by others, with this mode.
    Writable(PathBuf, u32),
}

impl FileError {
    /// The reason why a system call failed for `path`.
    pub(super) fn new(path: &Path, error: io::Error) -> Self {
        let file = path.to_owned();
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                // If the file does not exist, its directory shows the file system.
                let mut parts = path.ancestors();
                let existing = parts.find(|part| fs::symlink_metadata(part).is_ok());
                Self::ReadOnly(existing.unwrap_or(path).to_owned())
            }
            // link(2) and rename(2) do not work across mounts.
            io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy => Self::MountPoint(file),
            io::ErrorKind::StorageFull => Self::NoSpace(file),
            io::ErrorKind::QuotaExceeded => Self::Quota(file),
            io::ErrorKind::PermissionDenied => [Some(path), path.parent()]
                .into_iter()
                .flatten()
                .find_map(|part| check_attributes(part).err().filter(Self::is_attribute))
                .unwrap_or(Self::Denied(file, error)),
            _ => Self::Io(file, error),
        }
    }

    fn is_attribute(&self) -> bool {
        matches!(self, Self::Immutable(_) | Self::AppendOnly(_))
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, _) => path.display().fmt(f),
            Self::ReadOnly(path) => write!(
                f,
                "{} is on a file system that is mounted read-only: remount it read-write, or make the change in the image",
                path.display()
            ),
            Self::MountPoint(path) => write!(
                f,
                "{} is a mount point, as in some containers, and cannot be replaced: unmount it, change the file that \
                 is mounted there, or mount its directory instead",
                path.display()
            ),
            Self::NoSpace(path) => {
                write!(f, "no space is left on the file system of {}", path.display())
            }
            Self::Quota(path) => write!(f, "the disk quota leaves no room for {}", path.display()),
            Self::Immutable(path) => {
                write!(f, "{} is immutable, which root can change with chattr(1)", path.display())
            }
            Self::AppendOnly(path) => {
                write!(f, "{} is append-only, which root can change with chattr(1)", path.display())
            }
            Self::Denied(path, _) => write!(
                f,
                "a security module, a mount option or a missing capability prevents root from changing {}",
                path.display()
            ),
            Self::SymbolicLink(path, target) => {
                write!(f, "{} is a symbolic link", path.display())?;
                if let Some(target) = target {
                    write!(f, " to {}", target.display())?;
                }
                f.write_str(" and is not replaced: add the lines to its target")
            }
            Self::NotAFile(path) => write!(f, "{} is not a file", path.display()),
            Self::Owner(path, uid) => {
                write!(f, "{} belongs to user {uid}, not to root", path.display())
            }
            Self::Writable(path, mode) => {
                write!(f, "users other than root can write to {} (mode {mode:o})", path.display())
            }
        }
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(_, error) | Self::Denied(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Checks that `path` can be replaced or created: root owns it, only root can write to it, and it is a regular file.
///
/// # Errors
/// The rule that `path` or its directory breaks.
pub(super) fn check(path: &Path) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(path);
    let metadata = fs::metadata(directory).map_err(|error| FileError::new(directory, error))?;
    check_owner(directory, &metadata)?;
    check_attributes(directory)?;
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::new(path, error)),
    };
    if metadata.is_symlink() {
        return Err(FileError::SymbolicLink(path.to_owned(), fs::read_link(path).ok()));
    }
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    check_owner(path, &metadata)?;
    check_attributes(path)
}

/// Checks that no attribute prevents even root from changing a file or directory (chattr(1)).
fn check_attributes(path: &Path) -> Result<(), FileError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // `FileError::new` calls this function, so the error is made by hand.
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| FileError::Io(path.to_owned(), error.into()))?;
    // Some file systems have no attributes.
    let Ok(attributes) = rustix::fs::ioctl_getflags(&file) else { return Ok(()) };
    if attributes.contains(IFlags::IMMUTABLE) {
        Err(FileError::Immutable(path.to_owned()))
    } else if attributes.contains(IFlags::APPEND) {
        Err(FileError::AppendOnly(path.to_owned()))
    } else {
        Ok(())
    }
}

/// sshd trusts files that root owns. Do not write to a file or directory that other users can write to.
fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    let own = rustix::process::geteuid().as_raw();
    ownership::check(metadata, &[0, own]).map_err(|fault| match fault {
        OwnershipFault::Owner(uid) => FileError::Owner(path.to_owned(), uid),
        OwnershipFault::Writable => FileError::Writable(path.to_owned(), metadata.mode() & 0o7777),
    })
}

/// Writes `bytes` to a temporary file for `path` and syncs it. Copies the attributes of the existing file, or else
/// the mode of `model`.
///
/// # Errors
/// The file cannot be written. The temporary file is removed.
pub(super) fn stage(path: &Path, bytes: &[u8], model: &Path) -> Result<(), FileError> {
    let stage = temp_path(path, "new");
    let staged = remove(&stage).and_then(|()| {
        let written = write(&stage, bytes, path, model);
        if written.is_err() {
            remove(&stage)?;
        }
        written
    });
    staged.map_err(|error| FileError::new(path, error))
}

fn write(stage: &Path, bytes: &[u8], path: &Path, model: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(stage)?;
    file.write_all(bytes)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(old) => copy_attributes(&file, &File::from(old))?,
        Err(rustix::io::Errno::NOENT) => {
            let mode = fs::metadata(model)?.mode() & 0o644;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

/// Copies the owner, mode, ACL, security label and other attributes to a new file.
fn copy_attributes(new: &File, old: &File) -> io::Result<()> {
    let metadata = old.metadata()?;
    fchown(new, Some(metadata.uid()), Some(metadata.gid()))?;
    new.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    let mut names = vec![0; MAX_ATTRIBUTE];
    let length = match rustix::fs::flistxattr(old, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !NOT_COPIED.contains(name)) {
        let mut value = vec![0; MAX_ATTRIBUTE];
        let length = rustix::fs::fgetxattr(old, name, &mut value)?;
        value.truncate(length);
        // Skipped if equal: no privilege is needed for a label that the new file got from its directory.
        let mut same = vec![0; MAX_ATTRIBUTE];
        if rustix::fs::fgetxattr(new, name, &mut same).ok().and_then(|length| same.get(..length))
            != Some(value.as_slice())
        {
            rustix::fs::fsetxattr(new, name, &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// A file that was replaced, created or removed. This can be undone.
#[derive(Debug)]
pub(super) struct Committed {
    path: PathBuf,
    /// The temporary name of the old file. `None` if the file did not exist.
    old: Option<PathBuf>,
}

/// Why a file could not be restored.
#[derive(Debug)]
pub(super) struct NotRestored {
    error: FileError,
    /// The old file.
    old: Option<PathBuf>,
}

impl fmt::Display for NotRestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", WithCauses(&self.error))?;
        match &self.old {
            Some(old) => {
                write!(f, " (the old file is {}, which eic-keys removes when it runs again)", old.display())
            }
            None => Ok(()),
        }
    }
}

/// Renames `stage` to `path`, or removes `path` if `stage` is `None`. Keeps the old file until
/// [`Committed::discard_old`].
///
/// # Errors
/// `path` cannot be changed. It is unchanged.
pub(super) fn commit(path: &Path, stage: Option<&Path>) -> Result<Committed, FileError> {
    try_commit(path, stage).map_err(|error| FileError::new(path, error))
}

fn try_commit(path: &Path, stage: Option<&Path>) -> io::Result<Committed> {
    let old = temp_path(path, "old");
    remove(&old)?;
    let old = match fs::hard_link(path, &old) {
        Ok(()) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let moved = match stage {
        Some(stage) => fs::rename(stage, path),
        None => remove(path),
    };
    if let Err(error) = moved {
        if let Some(old) = old {
            remove(&old)?;
        }
        return Err(error);
    }
    let committed = Committed { path: path.to_owned(), old };
    if let Err(error) = sync_directory(path) {
        committed.try_undo()?;
        return Err(error);
    }
    Ok(committed)
}

impl Committed {
    /// Restores the old file.
    ///
    /// # Errors
    /// The file cannot be restored. The old file keeps its temporary name.
    pub(super) fn undo(&self) -> Result<(), NotRestored> {
        let error = |error| NotRestored { error: FileError::new(&self.path, error), old: self.old.clone() };
        self.try_undo().map_err(error)
    }

    fn try_undo(&self) -> io::Result<()> {
        match &self.old {
            Some(old) => fs::rename(old, &self.path)?,
            None => remove(&self.path)?,
        }
        sync_directory(&self.path)
    }

    /// Removes the old file. If this fails, it is harmless under its temporary name, and the next run removes it.
    pub(super) fn discard_old(&self) {
        let _ = self.old.as_deref().map_or(Ok(()), remove);
    }
}

/// Removes the temporary files of [`temp_path`] from a directory.
pub(super) fn remove_temp_files(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ends =
            |what: &&str| name.as_bytes().ends_with([b".eic-keys-", what.as_bytes()].concat().as_slice());
        if name.as_bytes().starts_with(b".") && ["new", "old", "check"].iter().any(ends) {
            // sshd does not read these files. A file that cannot be removed is reported when its name is needed.
            let _ = remove(&entry.path());
        }
    }
}

/// Removes a file if it exists.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_an_existing_path_and_the_fix() {
        let text =
            |path: &str, errno: rustix::io::Errno| FileError::new(Path::new(path), errno.into()).to_string();
        let missing = text("/usr/.x.eic-keys-check", rustix::io::Errno::ROFS);
        assert!(missing.starts_with("/usr is on a file system that is mounted read-only"), "{missing}");
        for errno in [rustix::io::Errno::XDEV, rustix::io::Errno::BUSY] {
            let mounted = text("/usr/bin", errno);
            assert!(
                mounted.starts_with("/usr/bin is a mount point") && !mounted.contains("os error"),
                "{mounted}"
            );
        }
    }
}
