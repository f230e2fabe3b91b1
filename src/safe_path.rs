//! Whether sshd would run a program.

use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Why sshd would not run a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// It is not named from the root directory on.
    NotAbsolute(PathBuf),
    /// It is no file that may be executed.
    NotAProgram(PathBuf),
    /// It, or a directory above it, belongs to this user.
    Owner(PathBuf, u32),
    /// It, or a directory above it, may be written by group or others.
    Writable(PathBuf),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute(path) => write!(f, "{} is not an absolute path", path.display()),
            Self::NotAProgram(path) => write!(f, "{} is not a program", path.display()),
            Self::Owner(part, uid) => write!(f, "{} belongs to user {uid}, not to root", part.display()),
            Self::Writable(part) => write!(f, "{} may be written by others than root", part.display()),
        }
    }
}

/// Checks a program as sshd checks `AuthorizedKeysCommand` (`safe_path` in OpenSSH's `misc.c`): it and every
/// directory above it, up to `root`, belong to root and may be written by root alone.
///
/// # Errors
/// `NotFound` when there is none; otherwise the reason sshd would not run it, for people.
pub(crate) fn program(root: &Path, path: &Path) -> io::Result<()> {
    match distrust(root, path)? {
        None => Ok(()),
        Some(reason) => Err(io::Error::new(io::ErrorKind::PermissionDenied, reason.to_string())),
    }
}

/// The same, with what is wrong as a value.
///
/// # Errors
/// It cannot be looked at, `NotFound` when there is none.
pub(crate) fn distrust(root: &Path, path: &Path) -> io::Result<Option<Distrust>> {
    if !path.is_absolute() {
        return Ok(Some(Distrust::NotAbsolute(path.to_owned())));
    }
    let root = fs::canonicalize(root)?;
    let file = fs::canonicalize(root.join(path.strip_prefix("/").unwrap_or(path)))?;
    let metadata = fs::metadata(&file)?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Ok(Some(Distrust::NotAProgram(path.to_owned())));
    }
    // From the root directory on: below a directory that others may write to, nothing is worth a look.
    let parts: Vec<_> = file.ancestors().take_while(|part| part.starts_with(&root)).collect();
    for part in parts.into_iter().rev() {
        let metadata = fs::metadata(part)?;
        if metadata.uid() != 0 {
            return Ok(Some(Distrust::Owner(part.to_owned(), metadata.uid())));
        }
        if metadata.mode() & 0o022 != 0 {
            return Ok(Some(Distrust::Writable(part.to_owned())));
        }
    }
    Ok(None)
}
