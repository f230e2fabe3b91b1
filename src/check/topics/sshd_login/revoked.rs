//! The list of revoked keys, and the smallest RSA key.

use std::fs;
use std::path::Path;

use crate::check::revoked_keys::{RevokedKeys, UnreadableList};
use crate::check::runner::Answer;
use crate::check::settings::Settings;
use crate::files::{self, below};
use crate::limits;

/// sshd refuses each key if it cannot read the list of revoked keys.
pub(super) fn revoked(settings: &Settings, root: &Path) -> Answer<()> {
    let least = *limits::RSA_BITS.start();
    let list = settings.one("revokedkeys");
    let config = settings.source.config.as_ref();
    let place = config.and_then(|config| config.place("revokedkeys", &settings.source.connection));
    // sshd knows that word outside of blocks only.
    if list == "none" && place.is_some_and(|line| line.block.is_some()) && !root.join("none").exists() {
        return settings.refuses(
            "revokedkeys",
            "RevokedKeys none in a Match block is the name of a file, which does not exist, so that sshd refuses each key",
            "set RevokedKeys /dev/null in that block, or remove the line",
        );
    }
    // sshd reads it as an empty list.
    let is_null = fs::metadata(below(root, Path::new(list))).is_ok_and(|file| files::is_null_device(&file));
    let refuses = |what: &str, change: &str| {
        let note = format!("RevokedKeys {list} {what}, so that sshd refuses each key");
        settings.refuses("revokedkeys", &note, &format!("{change}, or remove RevokedKeys"))
    };
    if !matches!(list, "" | "none") && !is_null {
        match RevokedKeys::read(root, Path::new(list)).map(|list| list.unreadable()) {
            Ok(None) => {}
            Ok(Some(UnreadableList::Truncated)) => {
                return refuses("is truncated", &format!("generate it again with ssh-keygen -k: {list}"));
            }
            Ok(Some(UnreadableList::Line(line))) => {
                let what = format!("line {line} is not a public key");
                return refuses(&what, &format!("remove that line from {list}"));
            }
            Err(error) => {
                let note =
                    format!("RevokedKeys {list} cannot be read, so that sshd refuses each key: {error}");
                let change = format!("create {list} (it can be empty), or remove RevokedKeys");
                return settings.refuses("revokedkeys", &note, &change);
            }
        }
    }
    match settings.one("requiredrsasize").parse::<u32>() {
        Ok(size) if size > least => settings.warns(
            "requiredrsasize",
            format!("RequiredRSASize is {size}: sshd refuses pushed RSA keys with fewer bits"),
            &format!("push an ed25519 key, or set RequiredRSASize {least}"),
        ),
        _ if matches!(list, "" | "none") => Answer::ok("sshd has no list of revoked keys", ()),
        _ => Answer::ok(format!("sshd can read the list of revoked keys {list}"), ()),
    }
}
