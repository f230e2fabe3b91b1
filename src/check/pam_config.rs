//! The PAM modules of sshd (pam.d(5)).

use std::path::Path;

use crate::files;
use crate::limits;

/// The modules of one type, such as `account`, that sshd uses, with their arguments. Empty if sshd has no PAM service
/// file.
pub(crate) fn modules(root: &Path, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    read(root, "sshd", kind, limits::PAM_INCLUDES, &mut found);
    found
}

fn read(root: &Path, service: &str, kind: &str, left: usize, found: &mut Vec<String>) {
    let Some(left) = left.checked_sub(1) else { return };
    let places = ["etc/pam.d", "usr/lib/pam.d", "usr/share/pam.d"];
    let text = places
        .iter()
        .find_map(|place| files::read_text(&root.join(place).join(service), limits::SYSTEM_FILE).ok());
    for line in text.unwrap_or_default().lines() {
        let line = line.split('#').next().unwrap_or_default();
        // A control in brackets can contain blanks.
        let line = line
            .split_once('[')
            .and_then(|(head, rest)| Some((head, rest.split_once(']')?.1)))
            .map_or_else(|| line.to_owned(), |(head, rest)| format!("{head} control {rest}"));
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["@include", service] => read(root, service, kind, left, found),
            [type_name, control, module, arguments @ ..] if type_name.trim_start_matches('-') == kind => {
                if matches!(*control, "include" | "substack") {
                    read(root, module, kind, left, found);
                } else {
                    let name = module.rsplit('/').next().unwrap_or_default();
                    found.push([&[name], arguments].concat().join(" "));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;

    use super::modules;

    #[test]
    fn included_files_are_read() {
        let root = std::env::temp_dir().join(format!("eic-keys-pam-{}", std::process::id()));
        fs::create_dir_all(root.join("etc/pam.d")).unwrap();
        let files = [
            (
                "sshd",
                "# account required pam_no.so\nauth required pam_a.so\n@include common\naccount include password-auth\n",
            ),
            (
                "common",
                "-account [success=1 new_authtok_reqd=done] /lib/security/pam_unix.so x\n@include common\n",
            ),
            ("password-auth", "account\trequired\tpam_access.so\n"),
        ];
        for (name, text) in files {
            fs::write(root.join("etc/pam.d").join(name), text).unwrap();
        }
        let mut found = modules(&root, "account");
        found.dedup();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["pam_unix.so x", "pam_access.so"]);
    }
}
