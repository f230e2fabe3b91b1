//! The drop-in file of eic-keys.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The directory of drop-ins, in the directory of the main file.
pub(super) const DIRECTORY: &str = "sshd_config.d";

/// The name of our drop-in after its number.
pub(super) const NAME: &[u8] = b"eic-keys.conf";

/// The possible paths of our drop-in, in order of preference. `ssh` is the directory of the main file.
pub(super) fn drop_in_paths(ssh: &Path) -> impl Iterator<Item = PathBuf> {
    ["10", "05", "01", "00", "000"].into_iter().map(|number| {
        let name = [number.as_bytes(), b"-", NAME].concat();
        ssh.join(DIRECTORY).join(OsStr::from_bytes(&name))
    })
}
