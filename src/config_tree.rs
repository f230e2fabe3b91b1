//! Reads configuration files of sshd, PAM and systemd below a root directory, with an overlay of changes that are not written yet.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use crate::files;
use crate::glob::{glob_matches, is_glob};
use crate::lists;

/// Maximum size of a configuration file. Debian's has 3 KiB; a file with an `AllowUsers` line for each of ten
/// thousand users would fit.
const MAX_SIZE: u64 = 1024 * 1024;

/// A line of a file. Numbers start at 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The path, as in the configuration.
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.path.display(), self.line)
    }
}

/// The files below a root directory, with an overlay of replaced, added and removed files.
#[derive(Clone, Debug)]
pub struct ConfigTree {
    root: PathBuf,
    changed: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

impl ConfigTree {
    /// The files below `root`; `/` is the system itself.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), changed: BTreeMap::new() }
    }

    /// Returns the tree with `path` set to `bytes`, or removed if `None`.
    #[must_use]
    pub fn with(&self, path: &Path, bytes: Option<Vec<u8>>) -> Self {
        let mut tree = self.clone();
        tree.changed.insert(path.to_owned(), bytes);
        tree
    }

    /// The overlay: files that differ from the disk.
    pub(crate) fn changed(&self) -> &BTreeMap<PathBuf, Option<Vec<u8>>> {
        &self.changed
    }

    /// The location of a configuration path on this machine.
    #[must_use]
    pub(crate) fn locate(&self, path: &Path) -> PathBuf {
        files::below(&self.root, path)
    }

    /// Whether two paths lead to the same file, through symbolic or hard links.
    pub(crate) fn same_file(&self, one: &Path, other: &Path) -> bool {
        let identity = |path| fs::metadata(self.locate(path)).map(|file| files::identity(&file)).ok();
        identity(one).is_some_and(|one| identity(other) == Some(one))
    }

    /// Whether a file has other names (hard links).
    pub(crate) fn has_links(&self, path: &Path) -> bool {
        fs::symlink_metadata(self.locate(path)).is_ok_and(|file| file.is_file() && file.nlink() > 1)
    }

    /// Reads a file. A directory and `/dev/null` are empty, as for sshd.
    ///
    /// # Errors
    /// The error of the system call, or an error if the path is neither a file nor a directory, or the file is too
    /// large.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.changed.get(path) {
            Some(Some(bytes)) => return Ok(bytes.clone()),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        let path = self.locate(path);
        if fs::metadata(&path).is_ok_and(|file| file.is_dir() || files::is_null_device(&file)) {
            return Ok(Vec::new());
        }
        files::read(&path, MAX_SIZE)
    }

    /// Expands a pattern as sshd calls glob(3): by name, in byte order. After the directory with which there are more than `max` names,
    /// no other is listed. A pattern that does not begin with `/` would depend on sshd's working directory, and matches nothing here.
    pub(crate) fn glob(&self, pattern: &[u8], max: usize) -> Vec<PathBuf> {
        let Some(pattern) = pattern.strip_prefix(b"/") else { return Vec::new() };
        let mut found = vec![PathBuf::from("/")];
        let mut components = pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
        while let Some(component) = components.next() {
            let last = components.peek().is_none();
            let mut next = Vec::new();
            for directory in found {
                if is_glob(component) {
                    let names =
                        self.names(&directory).into_iter().filter(|name| glob_matches(name, component));
                    next.extend(names.map(|name| directory.join(std::ffi::OsString::from_vec(name))));
                } else {
                    next.push(directory.join(std::ffi::OsStr::from_bytes(component)));
                }
                if next.len() > max {
                    break;
                }
            }
            next.retain(|path| if last { self.exists(path) } else { true });
            found = next;
        }
        // In the order of their bytes: that of paths compares their components.
        let found = found.into_iter().map(PathBuf::into_os_string).collect();
        lists::in_order(found).into_iter().map(PathBuf::from).collect()
    }

    fn names(&self, directory: &Path) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.locate(directory)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_vec()).collect();
        for (path, bytes) in &self.changed {
            if let (true, Some(name)) = (path.parent() == Some(directory), path.file_name()) {
                names.retain(|known| known != name.as_bytes());
                if bytes.is_some() {
                    names.push(name.as_bytes().to_vec());
                }
            }
        }
        names
    }

    fn exists(&self, path: &Path) -> bool {
        match self.changed.get(path) {
            Some(bytes) => bytes.is_some(),
            None => fs::symlink_metadata(self.locate(path)).is_ok(),
        }
    }
}
