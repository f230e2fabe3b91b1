//! Replaces files atomically.
//!
//! The new file is written in the same directory, with the owner, mode, ACL and security label of the old one, and
//! synced before it is renamed. The old file keeps a temporary name until the change is complete, so that a rollback
//! needs no space and no copy.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{IFlags, Mode, OFlags, XattrFlags};

/// Attributes that depend on the contents of the file, or that the kernel maintains. A hash of the old contents would
/// be wrong for the new file.
const NOT_COPIED: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];

/// Maximum size of an attribute to copy. It is the kernel's limit (`XATTR_SIZE_MAX`).
const LONGEST_ATTRIBUTE: usize = 65536;

/// A temporary name in the directory of `path`, with the suffix `what`. It begins with a dot and has another
/// extension, so that no `Include` matches it.
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = b".".to_vec();
    name.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
    name.extend_from_slice(b".eic-keys-");
    name.extend_from_slice(what.as_bytes());
    path.with_file_name(OsStr::from_bytes(&name))
}

/// Checks that `path` can be replaced or created: root owns it, only root can write to it, and it is a regular file.
///
/// # Errors
/// A message for the user.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let directory = path.parent().unwrap_or(path);
    let metadata = fs::metadata(directory).map_err(|error| cause(directory, &error))?;
    owned(directory, &metadata)?;
    changeable(directory)?;
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cause(path, &error)),
    };
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_or_else(|_| String::new(), |to| format!(" to {}", to.display()));
        return Err(format!(
            "{} is a symbolic link{target}: whatever manages it would not know of the change; add the lines there",
            path.display()
        ));
    }
    if !metadata.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    owned(path, &metadata)?;
    changeable(path)
}

/// Checks that no attribute prevents changes to a file or directory (chattr(1)).
fn changeable(path: &Path) -> Result<(), String> {
    attributes(path).map_err(|error| cause(path, &error))?.map_or(Ok(()), Err)
}

/// Describes the attribute that prevents changes even by root.
fn attributes(path: &Path) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    // Some file systems have no flags.
    let Ok(flags) = rustix::fs::ioctl_getflags(&file) else { return Ok(None) };
    let path = path.display();
    Ok(if flags.contains(IFlags::IMMUTABLE) {
        Some(format!("{path} is immutable, which root can change with chattr(1)"))
    } else if flags.contains(IFlags::APPEND) {
        Some(format!("{path} is append-only, which root can change with chattr(1)"))
    } else {
        None
    })
}

/// Describes why a file could not be changed, and the fix.
pub(super) fn cause(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            // If the file does not exist, its directory shows the file system.
            let there = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(path);
            let shown = there.display();
            format!(
                "{shown} is on a file system that is mounted read-only: remount it read-write, or make the change in the image"
            )
        }
        // link(2) and rename(2) do not work across mounts.
        io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy => format!(
            "{shown} is a mount of its own, as a container may have one, and cannot be replaced: unmount it, change the file that \
             is mounted there, or mount its directory in its place"
        ),
        io::ErrorKind::StorageFull => format!("no space is left on the file system of {shown}: free some"),
        io::ErrorKind::QuotaExceeded => format!("the disk quota leaves no room for {shown}"),
        io::ErrorKind::PermissionDenied => {
            let near = [Some(path), path.parent()].into_iter().flatten();
            let reason = near.into_iter().find_map(|path| attributes(path).ok().flatten());
            reason.unwrap_or_else(|| {
                format!("{shown}: {error}; root is kept from it by a security module, a mount option or a lack of capabilities")
            })
        }
        _ => format!("{shown}: {error}"),
    }
}

/// sshd trusts files that root owns. Do not write to a file or directory that other users can write to.
fn owned(path: &Path, metadata: &fs::Metadata) -> Result<(), String> {
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != us {
        return Err(format!("{} belongs to user {}, not to root", path.display(), metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!(
            "{} may be written by others than root (mode {:o})",
            path.display(),
            metadata.mode() & 0o7777
        ));
    }
    Ok(())
}

/// Writes `bytes` to a temporary file for `path` and syncs it. Copies the attributes of the existing file, or else
/// the mode of `model`.
///
/// # Errors
/// The error of the system call. The temporary file is removed.
pub(super) fn stage(path: &Path, bytes: &[u8], model: &Path) -> io::Result<PathBuf> {
    let stage = beside(path, "new");
    remove(&stage)?;
    let written = write(&stage, bytes, path, model);
    if written.is_err() {
        remove(&stage)?;
    }
    written.map(|()| stage)
}

fn write(stage: &Path, bytes: &[u8], path: &Path, model: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(stage)?;
    file.write_all(bytes)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(old) => dress(&file, &File::from(old))?,
        Err(rustix::io::Errno::NOENT) => {
            let mode = fs::metadata(model)?.mode() & 0o644;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

/// Copies the owner, mode, ACL, security label and other attributes to a new file.
fn dress(new: &File, old: &File) -> io::Result<()> {
    let metadata = old.metadata()?;
    fchown(new, Some(metadata.uid()), Some(metadata.gid()))?;
    new.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    let mut names = vec![0; LONGEST_ATTRIBUTE];
    let length = match rustix::fs::flistxattr(old, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !NOT_COPIED.contains(name)) {
        let mut value = vec![0; LONGEST_ATTRIBUTE];
        let length = rustix::fs::fgetxattr(old, name, &mut value)?;
        value.truncate(length);
        // Skipped if equal: no privilege is needed for a label that the new file got from its directory.
        let mut same = vec![0; LONGEST_ATTRIBUTE];
        if rustix::fs::fgetxattr(new, name, &mut same).ok().and_then(|length| same.get(..length))
            != Some(value.as_slice())
        {
            rustix::fs::fsetxattr(new, name, &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// A change that was made, which can be undone.
#[derive(Debug)]
pub(super) struct Done {
    path: PathBuf,
    /// The temporary name of the old file. `None` if the file did not exist.
    old: Option<PathBuf>,
}

/// Renames `stage` to `path`, or removes `path` if `stage` is `None`. Keeps the old file until `Done::settle`.
///
/// # Errors
/// The error of the system call. `path` is unchanged.
pub(super) fn commit(path: &Path, stage: Option<&Path>) -> io::Result<Done> {
    let old = beside(path, "old");
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
    let done = Done { path: path.to_owned(), old };
    if let Err(error) = sync_directory(path) {
        done.undo()?;
        return Err(error);
    }
    Ok(done)
}

impl Done {
    /// Restores the old file.
    ///
    /// # Errors
    /// The error of the system call. The old file keeps its temporary name.
    pub(super) fn undo(&self) -> io::Result<()> {
        match &self.old {
            Some(old) => fs::rename(old, &self.path)?,
            None => remove(&self.path)?,
        }
        sync_directory(&self.path)
    }

    /// Removes the old file.
    ///
    /// # Errors
    /// The error of the system call.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.old.as_deref().map_or(Ok(()), remove)
    }
}

/// Removes the temporary files of [`beside`] from a directory.
pub(super) fn clear_away(directory: &Path) {
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
    fn causes_name_what_is_there_and_what_to_do() {
        let words = |path: &str, errno: rustix::io::Errno| cause(Path::new(path), &errno.into());
        let missing = words("/usr/.x.eic-keys-check", rustix::io::Errno::ROFS);
        assert!(missing.starts_with("/usr is on a file system that is mounted read-only"), "{missing}");
        for errno in [rustix::io::Errno::XDEV, rustix::io::Errno::BUSY] {
            let mounted = words("/usr/bin", errno);
            assert!(
                mounted.starts_with("/usr/bin is a mount of its own") && !mounted.contains("os error"),
                "{mounted}"
            );
        }
    }
}
