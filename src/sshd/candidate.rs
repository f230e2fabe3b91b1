//! The configuration as it will be, written so that sshd can be asked about it before anything is replaced.

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::effective::Config;

/// A path that cannot be written as an argument of `Include` in every version.
#[derive(Debug)]
pub(super) struct Unwritable(pub(super) PathBuf);

/// The main file of a configuration in which some files are `staged` under other names: where it includes one
/// of those, or a pattern that one of those matches, it names each file. Staged is by the path that a file
/// will have; one that is to go has no stage.
///
/// sshd reads this as it will read the real one; only line numbers differ.
pub(super) fn main(
    after: &Config,
    before: &Config,
    staged: &BTreeMap<PathBuf, Option<PathBuf>>,
) -> Result<Vec<u8>, Unwritable> {
    let mut text = Vec::new();
    let Some(main) = after.main() else { return Ok(text) };
    for (line, (_, statement)) in main.lines().zip(main.statements(after.version())) {
        let arguments = match statement {
            Ok(Some(statement)) if statement.keyword == "include" => statement.arguments,
            _ => Vec::new(),
        };
        let touched = |argument: &Vec<u8>| {
            after
                .included(argument)
                .iter()
                .chain(before.included(argument))
                .any(|path| staged.contains_key(path))
        };
        if !arguments.iter().any(touched) {
            text.extend_from_slice(line);
            continue;
        }
        for path in arguments.iter().flat_map(|argument| after.included(argument)) {
            let path = match staged.get(path) {
                Some(Some(stage)) => stage,
                Some(None) => continue,
                None => path,
            };
            text.extend(include(path)?);
        }
    }
    Ok(text)
}

/// One file, in quotes, which every version takes off; glob(3) must not see more in it, and no version has an
/// escape for that.
fn include(path: &Path) -> Result<Vec<u8>, Unwritable> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.iter().any(|byte| byte.is_ascii_control() || b"\"'\\*?[]#".contains(byte)) {
        return Err(Unwritable(path.to_owned()));
    }
    Ok([b"Include \"", bytes, b"\"\n"].concat())
}
