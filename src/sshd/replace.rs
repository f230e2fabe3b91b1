//! Replaces files so that at every moment there is the old one or the new one, whole.
//!
//! The new file is written beside the old one, with its owner, mode, ACL and security label, and reaches the
//! disk before it takes the name. The old one waits under a third name until all is well, so that putting it
//! back needs neither space nor its bytes.

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

/// Attributes that belong to the bytes of a file, or are the kernel's own: a hash of the old bytes would be
/// wrong on the new ones.
const NOT_COPIED: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];

/// The longest attribute that is copied; the kernel's own limit (`XATTR_SIZE_MAX`).
const LONGEST_ATTRIBUTE: usize = 65536;

/// The name beside `path` that ends in `what`. It begins with a dot and ends otherwise than the file, so that
/// no `Include` reads it.
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = b".".to_vec();
    name.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
    name.extend_from_slice(b".eic-keys-");
    name.extend_from_slice(what.as_bytes());
    path.with_file_name(OsStr::from_bytes(&name))
}

/// Makes sure that a file, or the lack of one, may be replaced: nothing that is somebody else's, or not what
/// it seems.
///
/// # Errors
/// The reason, for people.
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

/// Whether a file, or the entries of a directory, may be changed at all (chattr(1)).
fn changeable(path: &Path) -> Result<(), String> {
    attributes(path).map_err(|error| cause(path, &error))?.map_or(Ok(()), Err)
}

/// The attribute that keeps even root from changing a file or a directory, and what to do about it.
fn attributes(path: &Path) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    // Not every file system has flags.
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

/// Why a file could not be changed, in words that tell what to do.
pub(super) fn cause(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            // A file that is not there is on no file system; its directory is.
            let there = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(path);
            let shown = there.display();
            format!(
                "{shown} is on a file system that is mounted read-only: remount it read-write, or make the change in the image"
            )
        }
        // Neither link(2) nor rename(2) crosses a mount.
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

/// sshd trusts root's files; a file or directory that others may write is not made into one by writing to it.
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

/// Writes `bytes` to the disk beside `path`. The attributes are those of the file that is there, or else the
/// mode of `model`.
///
/// # Errors
/// The system's; what was begun is gone then.
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

/// Gives one file the owner, mode, ACL, security label and other attributes of another.
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
        // A label that it has by its place needs no right to set it.
        let mut same = vec![0; LONGEST_ATTRIBUTE];
        if rustix::fs::fgetxattr(new, name, &mut same).ok().and_then(|length| same.get(..length))
            != Some(value.as_slice())
        {
            rustix::fs::fsetxattr(new, name, &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// A change that was made to the disk, and how to take it back.
#[derive(Debug)]
pub(super) struct Done {
    path: PathBuf,
    /// The old file under its third name; `None` where there was none.
    old: Option<PathBuf>,
}

/// Gives `stage` the name `path`, or takes `path` away without one. The old file is kept until `Done::settle`.
///
/// # Errors
/// The system's; then `path` is as it was.
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
    /// Puts back what was there.
    ///
    /// # Errors
    /// The system's; the old file then still has its third name.
    pub(super) fn undo(&self) -> io::Result<()> {
        match &self.old {
            Some(old) => fs::rename(old, &self.path)?,
            None => remove(&self.path)?,
        }
        sync_directory(&self.path)
    }

    /// Lets go of the old file.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.old.as_deref().map_or(Ok(()), remove)
    }
}

/// Removes the files of a directory that have a name of [`beside`].
pub(super) fn clear_away(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ends =
            |what: &&str| name.as_bytes().ends_with([b".eic-keys-", what.as_bytes()].concat().as_slice());
        if name.as_bytes().starts_with(b".") && ["new", "old", "check"].iter().any(ends) {
            // sshd reads none of them. What cannot be removed here is named where it is in the way.
            let _ = remove(&entry.path());
        }
    }
}

/// Removes a file, which may be gone already.
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
