//! Whether sshd would run a program.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// Checks a program as sshd checks `AuthorizedKeysCommand` (`safe_path` in OpenSSH's `misc.c`): it and every
/// directory above it, up to `root`, belong to root and may be written by root alone.
///
/// # Errors
/// `NotFound` when there is none; otherwise the reason sshd would not run it, for people.
pub fn program(root: &Path, path: &Path) -> io::Result<()> {
    let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    if !path.is_absolute() {
        return refuse(format!("{} is not an absolute path", path.display()));
    }
    let root = fs::canonicalize(root)?;
    let file = fs::canonicalize(root.join(path.strip_prefix("/").unwrap_or(path)))?;
    let metadata = fs::metadata(&file)?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return refuse(format!("{} is not a program", path.display()));
    }
    for part in file.ancestors().take_while(|part| part.starts_with(&root)) {
        let metadata = fs::metadata(part)?;
        if metadata.uid() != 0 {
            return refuse(format!("{} belongs to user {}, not to root", part.display(), metadata.uid()));
        }
        if metadata.mode() & 0o022 != 0 {
            return refuse(format!("{} may be written by others than root", part.display()));
        }
    }
    Ok(())
}
