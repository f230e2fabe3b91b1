//! The drop-in file of eic-keys.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::query::admin_config;
use crate::config_tree::ConfigTree;

/// The directory of drop-ins, in the directory of the main file.
pub(super) const DIRECTORY: &str = "sshd_config.d";

/// The number of drop-ins that are looked at.
pub(super) const MAX_DROP_INS: usize = 100;

/// The name of our drop-in after its number.
const NAME: &[u8] = b"-eic-keys.conf";

/// Our drop-ins, with any number, also those that sshd does not read.
pub(crate) fn all_ours(tree: &ConfigTree, main: &Path) -> Vec<PathBuf> {
    files(tree, main, NAME)
}

/// The files in the directory of drop-ins whose names end like this: [`MAX_DROP_INS`] at most.
pub(super) fn files(tree: &ConfigTree, main: &Path, end: &[u8]) -> Vec<PathBuf> {
    let directory = admin_config(main).with_file_name(DIRECTORY);
    tree.glob(&[directory.as_os_str().as_bytes(), b"/*", end].concat(), MAX_DROP_INS)
}

/// The possible paths of our drop-in, in order of preference. `ssh` is the directory of the main file.
pub(super) fn drop_in_paths(ssh: &Path) -> impl Iterator<Item = PathBuf> {
    ["10", "05", "01", "00", "000"].into_iter().map(|number| {
        let name = [number.as_bytes(), NAME].concat();
        ssh.join(DIRECTORY).join(OsStr::from_bytes(&name))
    })
}
