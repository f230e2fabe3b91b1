//! A `/proc` that sshd's unit makes read-only, so that `pam_loginuid` refuses each session.

use std::path::Path;

use super::pam_config::{self, ModuleType};
use crate::files;
use crate::limits;

/// The fix for an sshd with a read-only `/proc`.
pub(crate) const READ_ONLY_PROC: &str = "leave /proc writable in sshd's unit (systemctl cat ssh sshd): remove ReadOnlyPaths=/, or add ReadWritePaths=/proc; then restart sshd";

/// Whether `pam_loginuid` cannot write to `/proc` in the mount namespace of a process, and can in this one.
pub(crate) fn has_read_only_proc(root: &Path, process: u32) -> bool {
    let is_read_only = |process: &str| {
        let mounts = files::read_text(&root.join(format!("proc/{process}/mountinfo")), limits::PROC_FILE);
        let mounts = mounts.unwrap_or_default();
        // proc_pid_mountinfo(5). The last one is on top.
        let options = mounts.lines().rev().find_map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            if *fields.get(4)? == "/proc" { fields.get(5).map(|options| (*options).to_owned()) } else { None }
        });
        options.is_some_and(|options| options.split(',').any(|option| option == "ro"))
    };
    root.join("proc/self/loginuid").exists()
        && is_read_only(&process.to_string())
        && !is_read_only("self")
        && pam_config::modules(root, ModuleType::Session)
            .iter()
            .any(|module| module.starts_with("pam_loginuid.so"))
}
