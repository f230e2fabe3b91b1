//! A temporary host key for checking the configuration.
//!
//! sshd does not check a configuration without a host key. Images have no keys, because the first boot generates them;
//! this is not an error in the configuration. A key that is generated for the check and removed afterwards makes the
//! check possible. It replaces missing keys only: if an existing key is unusable, or sshd rejects anything else, the
//! check still fails.

use std::{
    error::Error,
    ffi::OsStr,
    fmt, fs, io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    query::{Dump, QueryError, Sshd},
    replace::FileError,
};
use crate::config_tree::ConfigTree;
use crate::process::TrustedCommand;

/// A directory that only root can write to, like its parent. The lock keeps other runs out.
const DIRECTORY: &str = "/run/eic-keys.check";

/// The types for ssh-keygen, in order of preference. FIPS mode does not accept ed25519.
const KEYGEN_TYPES: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// The keys that sshd uses if no `HostKey` is set, with `*` for the key type.
const DEFAULT_KEYS: &[u8] = b"/etc/ssh/ssh_host_*_key";

/// More than the number of key types.
const MAX_DEFAULT_KEYS: usize = 100;

/// The keys that exist and that sshd uses if no `HostKey` is set.
pub(crate) fn default_host_keys(tree: &ConfigTree) -> Vec<PathBuf> {
    tree.glob(DEFAULT_KEYS, MAX_DEFAULT_KEYS)
}

/// On a slow machine, generating a 3072-bit key takes some seconds.
const KEYGEN_TIMEOUT: Duration = Duration::from_secs(60);

/// A private key in a directory that only root can enter. Dropping it removes both.
#[derive(Debug)]
pub(super) struct HostKey {
    directory: PathBuf,
    /// The path of the key, for sshd.
    path: PathBuf,
}

impl Drop for HostKey {
    fn drop(&mut self) {
        // If this fails, the next run removes it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removes the key of a run that was killed.
pub(super) fn remove_leftover(tree: &ConfigTree) {
    // If this fails, the next run tries again.
    let _ = fs::remove_dir_all(tree.locate(Path::new(DIRECTORY)));
}

/// Why no temporary host key could be generated.
#[derive(Debug)]
pub(super) enum HostKeyError {
    NoKeygen,
    /// The directory for the key cannot be created.
    File(FileError),
    /// ssh-keygen could not be run.
    Run(io::Error),
    /// ssh-keygen failed with this message.
    Keygen(String),
    /// sshd does not accept a key of any type.
    Rejected(QueryError),
}

impl fmt::Display for HostKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeygen => f.write_str(
                "there is no ssh-keygen. Install it (openssh-client, or openssh), or run --enable again when the host keys exist",
            ),
            Self::File(error) => error.fmt(f),
            Self::Run(_) => f.write_str("ssh-keygen could not be run"),
            Self::Keygen(message) => write!(f, "ssh-keygen reports: {message}"),
            Self::Rejected(error) => error.fmt(f),
        }
    }
}

impl Error for HostKeyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoKeygen | Self::Keygen(_) => None,
            Self::File(error) => error.source(),
            Self::Run(error) => Some(error),
            Self::Rejected(error) => error.source(),
        }
    }
}

/// Adds a temporary host key to an sshd that rejected `config` for lack of host keys.
///
/// # Errors
/// No key can be generated, or sshd accepts no key.
pub(super) fn add(
    sshd: &Sshd,
    keygen: Option<TrustedCommand>,
    config: &Path,
    tree: &ConfigTree,
) -> Result<(Sshd, HostKey), HostKeyError> {
    let keygen = keygen.ok_or(HostKeyError::NoKeygen)?;
    let directory = tree.locate(Path::new(DIRECTORY));
    let failed = |error: io::Error| HostKeyError::File(FileError::new(&directory, error));
    // The key of a run that was killed.
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
    let mut key = HostKey { directory: directory.clone(), path: PathBuf::new() };
    let mut last_error = HostKeyError::NoKeygen;
    for kind in KEYGEN_TYPES {
        key.path = Path::new(DIRECTORY).join(kind);
        let keygen = keygen.clone().with(["-q", "-t", kind, "-N", "", "-C", "", "-f"]).with([&key.path]);
        let output = keygen.run(KEYGEN_TIMEOUT).map_err(HostKeyError::Run)?;
        if !output.status.success() {
            last_error = HostKeyError::Keygen(output.error_text());
            continue;
        }
        let with_key = sshd.clone().with_host_key(&key.path);
        match with_key.accepts(config) {
            // sshd does not accept this key type.
            Err(error) if error.lacks_host_keys() => last_error = HostKeyError::Rejected(error),
            // The caller handles other errors.
            _ => return Ok((with_key, key)),
        }
    }
    Err(last_error)
}

impl HostKey {
    /// A configured or default host key that exists, and that sshd therefore cannot use. An empty file does not count:
    /// the tool that generates the keys replaces it.
    pub(super) fn unusable_key(&self, dump: &Dump, tree: &ConfigTree) -> Option<PathBuf> {
        let values = dump.values("hostkey").map(|value| PathBuf::from(OsStr::from_bytes(value)));
        let mut keys: Vec<PathBuf> = values.filter(|path| *path != self.path).collect();
        if keys.is_empty() {
            keys = default_host_keys(tree);
        }
        let exists = |path: &PathBuf| match fs::metadata(tree.locate(path)) {
            Ok(metadata) => metadata.len() > 0,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        keys.into_iter().find(exists)
    }
}
