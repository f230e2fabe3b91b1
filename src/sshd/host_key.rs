//! A host key for the check of a configuration, where sshd has none yet.
//!
//! sshd does not check a configuration without a host key. Images ship without keys, which are made at the first boot;
//! that is no fault of the configuration. A key that is made for the check, and removed after it, lets sshd answer.
//! Only the lack of keys is covered up: a key that is there and cannot be used, and anything else that sshd refuses,
//! remains a refusal.

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

/// Root's own, as the directory above it is. The lock keeps other runs out of it.
const DIRECTORY: &str = "/run/eic-keys.check";

/// The best first. FIPS mode takes no ed25519.
const TYPES: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// Where sshd looks for keys when no `HostKey` is set: these, with the names of types in the place of the star.
const DEFAULTS: &[u8] = b"/etc/ssh/ssh_host_*_key";

/// More than there are types of keys.
const MOST_DEFAULTS: usize = 100;

/// A key of 3072 bits takes a slow machine some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A private key in a directory that only root can enter. Both go with the value.
#[derive(Debug)]
pub(super) struct HostKey {
    directory: PathBuf,
    /// As sshd names it.
    path: PathBuf,
}

impl Drop for HostKey {
    fn drop(&mut self) {
        // The next run tries again.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removes a key that a run left that was killed.
pub(super) fn clear_away(tree: &ConfigTree) {
    // The next run tries again.
    let _ = fs::remove_dir_all(tree.locate(Path::new(DIRECTORY)));
}

/// An sshd that refused `config` for lack of host keys, with a key for its checks.
///
/// # Errors
/// The reason why it cannot have one, for people.
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
    // What a run left that was killed.
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
            // It does not take this type.
            Err(error) if error.lacks_host_keys() => last = error.to_string(),
            // What else it says is for the caller.
            _ => return Ok((equipped, key)),
        }
    }
    Err(last)
}

impl HostKey {
    /// A host key of the configuration that is there all the same, so that it is not for lack of keys that sshd
    /// has none. An empty file is as good as none: whatever makes the keys replaces it.
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

/// How `sshd -T` begins the line of a key.
const HOST_KEY: &[u8] = b"hostkey ";
