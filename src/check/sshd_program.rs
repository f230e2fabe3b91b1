//! The program of sshd: its version, and what its files contain, which tells how a distribution built it.

use std::path::Path;

use crate::files;
use crate::limits;
use crate::sshd::query::Sshd;
use crate::sshd::version::OpensshVersion;

/// The installed sshd.
#[derive(Clone, Debug)]
pub(crate) struct SshdProgram {
    pub(crate) sshd: Sshd,
    pub(crate) version: OpensshVersion,
}

/// The program of a connection before OpenSSH 9.8, and since.
const FILES: [&str; 3] =
    ["usr/sbin/sshd", "usr/lib/openssh/sshd-session", "usr/libexec/openssh/sshd-session"];

/// Whether sshd has Debian's patches, which add a keyword.
pub(crate) fn is_debian(root: &Path) -> bool {
    contains(root, b"debianbanner")
}

/// Whether sshd is linked with libwrap.
pub(crate) fn has_libwrap(root: &Path) -> bool {
    contains(root, b"libwrap.so")
}

fn contains(root: &Path, text: &[u8]) -> bool {
    FILES.iter().any(|file| {
        let bytes = files::read(&root.join(file), limits::PROGRAM_FILE).unwrap_or_default();
        files::has_text(&bytes, text)
    })
}
