//! Follows a path component by component, and checks that no other user can redirect it.

use std::collections::VecDeque;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::{fmt, io};

use rustix::io::Errno;

use crate::ownership::{self, OwnershipFault};

/// The number of symbolic links that Linux follows in one path.
const MAX_LINKS: usize = 40;

/// Why another user could redirect a path.
#[derive(Debug)]
pub(crate) enum UnsafePath {
    /// It is not absolute, or contains `..`.
    NotAbsolute(PathBuf),
    /// This component belongs to this user, who can redirect the path.
    Owner(PathBuf, u32),
    /// This component is writable by its group or by others.
    Writable(PathBuf),
    /// This component is a symbolic link that a user other than root can create or change.
    Link(PathBuf),
    /// This component is not the last one and not a directory.
    NotADirectory(PathBuf),
    /// This component cannot be examined.
    Unknown(PathBuf, io::Error),
}

impl fmt::Display for UnsafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute(path) => write!(f, "{} is not an absolute path", path.display()),
            Self::Owner(part, uid) => write!(f, "{} is owned by uid {uid}", part.display()),
            Self::Writable(part) => write!(f, "users other than the owner can write to {}", part.display()),
            Self::Link(part) => {
                write!(f, "{} is a symbolic link that users other than root can change", part.display())
            }
            Self::NotADirectory(part) => write!(f, "{} is not a directory", part.display()),
            Self::Unknown(part, _) => write!(f, "{} cannot be examined", part.display()),
        }
    }
}

impl Error for UnsafePath {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unknown(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The target of a path that only the given owners can redirect.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) path: PathBuf,
    /// The metadata of the last component; `None` if it does not exist. Its owner and mode are not checked.
    pub(crate) last: Option<Metadata>,
}

/// Follows `path`. Every directory on it must belong to one of `owners` and be writable by its owner only. A symbolic link is
/// followed only if root owns it and its directory; any other link is an [`UnsafePath`].
///
/// # Errors
/// Returns the first component, from the root directory on, that breaks these rules.
pub(crate) fn resolve(path: &Path, owners: &[u32]) -> Result<Resolved, UnsafePath> {
    let mut remaining = components(path).ok_or_else(|| UnsafePath::NotAbsolute(path.to_owned()))?;
    let (mut here, mut links) = (PathBuf::from("/"), 0_usize);
    let mut metadata = metadata_of(&here)?.ok_or_else(|| UnsafePath::NotADirectory(here.clone()))?;
    while let Some(name) = remaining.pop_front() {
        check_directory(&here, &metadata, owners)?;
        if name == ".." {
            here.pop();
            metadata = metadata_of(&here)?.ok_or_else(|| UnsafePath::NotADirectory(here.clone()))?;
            continue;
        }
        let next = here.join(&name);
        match metadata_of(&next)? {
            None if remaining.is_empty() => return Ok(Resolved { path: next, last: None }),
            None => return Err(UnsafePath::Unknown(next, io::ErrorKind::NotFound.into())),
            Some(found) if found.is_symlink() => {
                links = links.saturating_add(1);
                if metadata.uid() != 0 || found.uid() != 0 {
                    return Err(UnsafePath::Link(next));
                }
                if links > MAX_LINKS {
                    return Err(UnsafePath::Unknown(next, Errno::LOOP.into()));
                }
                let target =
                    fs::read_link(&next).map_err(|error| UnsafePath::Unknown(next.clone(), error))?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                    metadata = metadata_of(&here)?.ok_or_else(|| UnsafePath::NotADirectory(here.clone()))?;
                }
                for component in target.components().rev() {
                    match component {
                        Component::Normal(name) => remaining.push_front(name.to_owned()),
                        Component::ParentDir => remaining.push_front("..".into()),
                        _ => {}
                    }
                }
            }
            Some(found) => (here, metadata) = (next, found),
        }
    }
    Ok(Resolved { path: here, last: Some(metadata) })
}

/// Like [`resolve`], but the last component must also belong to root and be writable by root only.
///
/// # Errors
/// Returns the first component that breaks these rules, including the last one.
pub(crate) fn resolve_root_only(path: &Path) -> Result<Resolved, UnsafePath> {
    let resolved = resolve(path, &[0])?;
    match &resolved.last {
        None => Err(UnsafePath::Unknown(resolved.path, io::ErrorKind::NotFound.into())),
        Some(last) => check_owner(&resolved.path, last, &[0]).map(|()| resolved),
    }
}

/// The components of an absolute path; `None` if it is not absolute or contains `..`.
fn components(path: &Path) -> Option<VecDeque<OsString>> {
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return None;
    }
    components
        .map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

/// The metadata of a path, without following it. `None` if it does not exist.
fn metadata_of(path: &Path) -> Result<Option<Metadata>, UnsafePath> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(UnsafePath::Unknown(path.to_owned(), error)),
    }
}

/// Checks that `part` is a directory that only `owners` can change.
fn check_directory(part: &Path, metadata: &Metadata, owners: &[u32]) -> Result<(), UnsafePath> {
    if !metadata.is_dir() {
        return Err(UnsafePath::NotADirectory(part.to_owned()));
    }
    check_owner(part, metadata, owners)
}

/// Checks that `part` belongs to one of `owners` and is writable by its owner only.
fn check_owner(part: &Path, metadata: &Metadata, owners: &[u32]) -> Result<(), UnsafePath> {
    ownership::check(metadata, owners).map_err(|fault| match fault {
        OwnershipFault::Owner(uid) => UnsafePath::Owner(part.to_owned(), uid),
        OwnershipFault::Writable => UnsafePath::Writable(part.to_owned()),
    })
}
