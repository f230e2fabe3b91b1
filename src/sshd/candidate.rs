//! A copy of the changed configuration, so that sshd can check it before any file is replaced.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::effective::Config;

/// A path that cannot be written as an `Include` argument for all versions.
#[derive(Debug)]
pub(super) struct NotIncludable(PathBuf);

impl fmt::Display for NotIncludable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has a name that cannot be written in an Include line", self.0.display())
    }
}

impl Error for NotIncludable {}

/// The main file of a configuration in which some files are `staged` under temporary names. An include of such a
/// file, or of a pattern that matches one, is replaced with an include of each file. The keys of `staged` are the
/// final paths; the value is `None` for a file to be removed.
///
/// sshd reads this file as it will read the real one, except for line numbers.
pub(super) fn main(
    after: &Config,
    before: &Config,
    staged: &BTreeMap<PathBuf, Option<PathBuf>>,
) -> Result<Vec<u8>, NotIncludable> {
    let mut text = Vec::new();
    let Some(main) = after.main() else { return Ok(text) };
    for (line, (_, statement)) in main.lines().zip(main.statements(after.version())) {
        let arguments = match statement {
            Ok(Some(statement)) if statement.keyword == "include" => statement.arguments,
            _ => Vec::new(),
        };
        let is_affected = |argument: &Vec<u8>| {
            after
                .included(argument)
                .iter()
                .chain(before.included(argument))
                .any(|path| staged.contains_key(path))
        };
        if !arguments.iter().any(is_affected) {
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

/// Includes one file. All versions remove the quotes. The path must not contain a glob(3) pattern, because no version
/// can escape one here.
fn include(path: &Path) -> Result<Vec<u8>, NotIncludable> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.iter().any(|byte| byte.is_ascii_control() || b"\"'\\*?[]#".contains(byte)) {
        return Err(NotIncludable(path.to_owned()));
    }
    Ok([b"Include \"", bytes, b"\"\n"].concat())
}
