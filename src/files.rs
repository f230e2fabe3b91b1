//! Reads files of the system without blocking, and up to a limit.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::limits;

/// The location of an absolute path on a system with this root directory.
pub(crate) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Opens a regular file for reading. Does not block if another kind of file is there, such as a pipe without a writer.
///
/// # Errors
/// Fails if the file cannot be opened or is not a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a file")) }
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// Fails if the file cannot be read, is not a regular file or is larger.
pub(crate) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let bytes = read_beginning(path, max.saturating_add(1))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > max) {
        return Err(io::Error::other(format!("larger than {} KiB", max.div_ceil(1024))));
    }
    Ok(bytes)
}

/// Reads up to the first `max` bytes of a regular file.
///
/// # Errors
/// Fails if the file cannot be read or is not a regular file.
pub(crate) fn read_beginning(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Like [`read`], as text. Other bytes than UTF-8 are replaced.
pub(crate) fn read_text(path: &Path, max: u64) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path, max)?).into_owned())
}

/// A text file of the system with this root directory, such as `/etc/passwd`. Empty if it cannot be read.
pub(crate) fn system_text(root: &Path, path: &str) -> String {
    read_text(&below(root, Path::new(path)), limits::SYSTEM_FILE).unwrap_or_default()
}

/// What tells a file from all others: its device and its inode.
pub(crate) fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Whether this is a file that somebody can execute.
pub(crate) fn is_program(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.mode() & 0o111 != 0
}

/// Whether a path leads to a program. A link counts as its target.
pub(crate) fn is_program_at(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| is_program(&metadata))
}

/// Whether a path is on a file system that is mounted read-only.
pub(crate) fn is_read_only(path: &Path) -> bool {
    is_mounted_with(path, StatVfsMountFlags::RDONLY)
}

/// Whether a path is on a file system that is mounted so that no program of it can be executed.
pub(crate) fn is_not_executable(path: &Path) -> bool {
    is_mounted_with(path, StatVfsMountFlags::NOEXEC)
}

fn is_mounted_with(path: &Path, flag: StatVfsMountFlags) -> bool {
    statvfs(path).is_ok_and(|found| found.f_flag.contains(flag))
}

/// Whether the content of a file has this text.
pub(crate) fn has_text(content: &[u8], text: &[u8]) -> bool {
    content.windows(text.len()).any(|part| part == text)
}

/// Whether a file is `/dev/null`, by its number: major 1, minor 3.
pub(crate) fn is_null_device(file: &Metadata) -> bool {
    const NUMBER: u64 = 0x103;
    file.file_type().is_char_device() && file.rdev() == NUMBER
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{read, read_text};

    #[test]
    fn a_file_that_is_not_read() {
        let directory = std::env::temp_dir().join(format!("eic-keys-files-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (file, pipe) = (directory.join("file"), directory.join("pipe"));
        fs::write(&file, [vec![b'a'; 1024], b"\xff".to_vec()].concat()).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let error = |path: &Path, max| read(path, max).map_err(|error| error.to_string());
        let found = [error(&file, 1024), error(&pipe, 1024), error(&directory, 1024)];
        let text = read_text(&file, 1025);
        fs::remove_dir_all(&directory).unwrap();
        let errors = ["larger than 1 KiB", "not a file", "not a file"];
        assert_eq!(found, errors.map(|text| Err(text.to_owned())));
        assert!(text.unwrap().ends_with("a\u{fffd}"));
        assert!(read(Path::new("/dev/zero"), 3).is_err());
    }
}
