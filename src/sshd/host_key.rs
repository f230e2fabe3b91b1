//! A temporary host key for checking the configuration.
//!
//! sshd does not check a configuration without a host key. Images have no keys, because the first boot generates them;
//! this is not an error in the configuration. A key that is generated for the check and removed afterwards makes the
//! check possible. It replaces missing keys only: if an existing key is unusable, or sshd rejects anything else, the
//! check still fails.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    config_tree::ConfigTree,
    query::{Dump, Sshd},
    replace::cause,
};
use crate::process::run;

/// A directory that only root can write to, like its parent. The lock keeps other runs out.
const DIRECTORY: &str = "/run/eic-keys.check";

/// In order of preference. FIPS mode does not accept ed25519.
const TYPES: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// The keys that sshd uses if no `HostKey` is set, with `*` for the key type.
const DEFAULTS: &[u8] = b"/etc/ssh/ssh_host_*_key";

/// More than the number of key types.
const MOST_DEFAULTS: usize = 100;

/// On a slow machine, generating a 3072-bit key takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

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
pub(super) fn clear_away(tree: &ConfigTree) {
    // If this fails, the next run tries again.
    let _ = fs::remove_dir_all(tree.locate(Path::new(DIRECTORY)));
}

/// Adds a host key to an sshd that rejected `config` for lack of host keys.
///
/// # Errors
/// Why no key can be added; a message for the user.
pub(super) fn supply(
    sshd: &Sshd,
    keygen: &[OsString],
    config: &Path,
    tree: &ConfigTree,
) -> Result<(Sshd, HostKey), String> {
    make(sshd, keygen, config, tree).map_err(|reason| {
        format!("sshd has no host keys yet, and no key could be made for the check: {reason}")
    })
}

fn make(
    sshd: &Sshd,
    keygen: &[OsString],
    config: &Path,
    tree: &ConfigTree,
) -> Result<(Sshd, HostKey), String> {
    if keygen.is_empty() {
        return Err("there is no ssh-keygen. Install it (openssh-client, or openssh), \
                    or run --enable again when the host keys are there"
            .into());
    }
    let directory = tree.locate(Path::new(DIRECTORY));
    let told = |error: io::Error| cause(&directory, &error);
    // The key of a run that was killed.
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(told(error)),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&directory).map_err(told)?;
    let mut key = HostKey { directory: directory.clone(), path: PathBuf::new() };
    let mut last = String::new();
    for kind in TYPES {
        key.path = Path::new(DIRECTORY).join(kind);
        let words = ["-q", "-t", kind, "-N", "", "-C", "", "-f"].map(OsStr::new);
        let ran = run(keygen, &[&words[..], &[key.path.as_os_str()]].concat(), PATIENCE)
            .map_err(|error| format!("ssh-keygen could not be run: {error}"))?;
        if !ran.status.success() {
            last = format!("ssh-keygen says: {}", ran.complaint());
            continue;
        }
        let equipped = sshd.clone().with_host_key(&key.path);
        match equipped.accepts(config) {
            // sshd does not accept this key type.
            Err(error) if error.lacks_host_keys() => last = error.to_string(),
            // The caller handles other errors.
            _ => return Ok((equipped, key)),
        }
    }
    Err(last)
}

impl HostKey {
    /// A configured or default host key that exists, which means that sshd rejected it. An empty file does not count:
    /// the tool that generates the keys replaces it.
    pub(super) fn covers_up(&self, dump: &Dump, tree: &ConfigTree) -> Option<PathBuf> {
        let values = dump.others.iter().filter_map(|line| {
            let (keyword, value) = line.split_at_checked(HOST_KEY.len())?;
            keyword.eq_ignore_ascii_case(HOST_KEY).then(|| PathBuf::from(OsStr::from_bytes(value)))
        });
        let mut keys: Vec<PathBuf> = values.filter(|path| *path != self.path).collect();
        if keys.is_empty() {
            keys = tree.glob(DEFAULTS, MOST_DEFAULTS);
        }
        let there = |path: &PathBuf| match fs::metadata(tree.locate(path)) {
            Ok(metadata) => metadata.len() > 0,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        keys.into_iter().find(there)
    }
}

/// How a host key line in the output of `sshd -T` begins.
const HOST_KEY: &[u8] = b"hostkey ";
