//! Looks up users without the name service library.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsStr,
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::plan::UserSource;
use crate::files;
use crate::limits;
use crate::process::TrustedCommand;

/// The users of a system. Each is looked up once, because a query to an unresponsive directory server is slow.
pub(super) struct UserLookup {
    root: PathBuf,
    found: RefCell<BTreeMap<Vec<u8>, Option<UserSource>>>,
}

impl UserLookup {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), found: RefCell::default() }
    }

    pub(super) fn find(&self, user: &[u8]) -> Option<UserSource> {
        *self.found.borrow_mut().entry(user.to_vec()).or_insert_with(|| find_user(&self.root, user))
    }
}

/// Where a user was found: in a local file, as for users of packages, or in a name service. For a file that is too large, `getent`
/// is used.
pub(super) fn find_user(root: &Path, user: &[u8]) -> Option<UserSource> {
    // Image-based systems use the second path.
    let local = ["etc/passwd", "usr/lib/passwd"].iter().any(|path| {
        let text = files::read(&root.join(path), limits::SYSTEM_FILE).unwrap_or_default();
        text.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b':').next() == Some(user))
    });
    if local {
        return Some(UserSource::Local);
    }
    // In a separate process, because a static binary must not load a name service library. It works only for the
    // running system.
    (root == Path::new("/") && is_in_name_service(user)).then_some(UserSource::NameService)
}

/// Whether a name service knows a user. Also true if it does not answer in time.
fn is_in_name_service(user: &[u8]) -> bool {
    let getent = TrustedCommand::new("getent").with(["passwd", "--"]).with([OsStr::from_bytes(user)]);
    match getent.run(NAME_SERVICE_TIMEOUT) {
        Ok(output) => output.status.success() && output.stdout.starts_with(&[user, b":"].concat()),
        Err(error) => error.kind() == ErrorKind::TimedOut,
    }
}

/// An unresponsive directory server must not block an installation.
const NAME_SERVICE_TIMEOUT: Duration = Duration::from_secs(10);
