//! What the packages have to know about a run that an administrator started.

use std::{fs, path::Path};

use super::replace::FileError;
use crate::config_tree::ConfigTree;
use crate::error_text::WithCauses;

/// Where the packages record the state (`packaging/deb/eic-keys.postinst`, `packaging/rpm/eic-keys.spec`): after openssh-server is purged
/// and installed again, they repeat `--enable`, but not after `--disable`.
const STATE_DIRECTORY: &str = "/var/lib/eic-keys";

/// Records `--enable`. The directory exists if a package is installed. Packages record their own runs.
pub(super) fn record_enabled(tree: &ConfigTree) {
    let state = tree.locate(Path::new(STATE_DIRECTORY));
    if state.is_dir() {
        let _ = fs::File::options().append(true).create(true).open(state.join("enabled"));
    }
}

/// Records `--disable`. Returns a note for each file that cannot be removed.
pub(super) fn record_disabled(tree: &ConfigTree) -> Vec<String> {
    let state = tree.locate(Path::new(STATE_DIRECTORY));
    let mut notes = Vec::new();
    for path in ["enable", "later", "enabled"].map(|name| state.join(name)) {
        // Checked first: on a read-only file system, removing a missing file is an error.
        let removed = if fs::symlink_metadata(&path).is_ok() { fs::remove_file(&path) } else { Ok(()) };
        if let Err(error) = removed {
            notes.push(format!(
                "Note: {}. While this file exists, an installation of openssh-server can run --enable again.",
                WithCauses(&FileError::new(&path, error))
            ));
        }
    }
    notes
}
