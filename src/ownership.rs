//! The rule of OpenSSH for files that it trusts: who owns them, and who can write to them.
//!
//! Which components of a path it applies to differs (`safe_path` for programs and for `StrictModes`, `safely_chroot`), so each caller
//! walks the path itself.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Why a file or directory is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnershipFault {
    Owner(u32),
    /// Its group or others can write to it.
    Writable,
}

/// Checks that a file or directory belongs to one of `owners` and is writable by its owner only. ACLs need no check: an entry that
/// lets others write also shows in the group's mode.
///
/// # Errors
/// Returns the first part of the rule that it breaks.
pub(crate) fn check(metadata: &Metadata, owners: &[u32]) -> Result<(), OwnershipFault> {
    if !owners.contains(&metadata.uid()) {
        return Err(OwnershipFault::Owner(metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(OwnershipFault::Writable);
    }
    Ok(())
}
