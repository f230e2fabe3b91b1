//! A copy of the changed configuration, so that sshd can check it before any file is replaced.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    config::Config,
    config_file::{Malformed, Statement},
};

/// Why there is no such copy.
#[derive(Debug)]
pub(super) enum IncludeNameError {
    /// This path cannot be written as an `Include` argument for all versions.
    Name(PathBuf),
    /// A file to be changed is included by this one, which is not the main file.
    Nested { file: PathBuf, by: PathBuf },
}

impl fmt::Display for IncludeNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(file) => {
                write!(f, "{} has a name that cannot be written in an Include line", file.display())
            }
            Self::Nested { file, by } => write!(
                f,
                "{} is included by {}: sshd can check a change of it only if the main file includes it",
                file.display(),
                by.display()
            ),
        }
    }
}

impl Error for IncludeNameError {}

/// The main file of a configuration in which some files are `staged` under temporary names. An include of such a
/// file, or of a pattern that matches one, is replaced with an include of each file. The keys of `staged` are the
/// final paths; the value is `None` for a file to be removed.
///
/// sshd reads this file as it will read the real one, except for line numbers.
pub(super) fn main(
    after: &Config,
    before: &Config,
    staged: &BTreeMap<PathBuf, Option<PathBuf>>,
) -> Result<Vec<u8>, IncludeNameError> {
    let mut text = Vec::new();
    let Some(main) = after.main() else { return Ok(text) };
    let affected = |argument: &Vec<u8>| {
        let mut paths = after.included(argument).iter().chain(before.included(argument));
        paths.find(|path| staged.contains_key(*path)).cloned()
    };
    for file in after.files().filter(|file| file.path() != main.path()) {
        for (_, statement) in file.statements(after.version()) {
            if let Some(file_to_change) = include_arguments(statement).iter().find_map(affected) {
                return Err(IncludeNameError::Nested { file: file_to_change, by: file.path().to_owned() });
            }
        }
    }
    for (line, (_, statement)) in main.lines().zip(main.statements(after.version())) {
        let arguments = include_arguments(statement);
        if arguments.iter().find_map(affected).is_none() {
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

/// The arguments of an `Include` line; none for another line.
fn include_arguments(statement: Result<Option<Statement>, Malformed>) -> Vec<Vec<u8>> {
    match statement {
        Ok(Some(statement)) if statement.keyword == "include" => statement.arguments,
        _ => Vec::new(),
    }
}

/// Includes one file. All versions remove the quotes. The path must not contain a glob(3) pattern, because no version
/// can escape one here.
fn include(path: &Path) -> Result<Vec<u8>, IncludeNameError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.iter().any(|byte| byte.is_ascii_control() || b"\"'\\*?[]#".contains(byte)) {
        return Err(IncludeNameError::Name(path.to_owned()));
    }
    Ok([b"Include \"", bytes, b"\"\n"].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::super::version::OpensshVersion;
    use super::*;
    use crate::config_tree::ConfigTree;

    #[test]
    fn a_file_that_the_main_file_does_not_include_is_named() {
        let ours = Path::new("/etc/ssh/ours.conf");
        let text = |lines: &str| Some(lines.as_bytes().to_vec());
        let candidate = |main_file: &str, other: &str| {
            let tree = ConfigTree::new(Path::new("/nowhere"))
                .with(Path::new("/etc/ssh/sshd_config"), text(main_file))
                .with(Path::new("/etc/ssh/other.conf"), text(other))
                .with(ours, text("UsePAM yes\n"));
            let config =
                Config::read(&tree, Path::new("/etc/ssh/sshd_config"), OpensshVersion::newest()).unwrap();
            let staged = BTreeMap::from([(ours.to_owned(), Some(PathBuf::from("/etc/ssh/new")))]);
            main(&config, &config, &staged).map(|text| String::from_utf8(text).unwrap())
        };
        let text =
            candidate("Include /etc/ssh/ours.conf\nInclude /etc/ssh/other.conf\n", "Port 22\n").unwrap();
        assert_eq!(text, "Include \"/etc/ssh/new\"\nInclude /etc/ssh/other.conf\n");
        let error = candidate("Include /etc/ssh/other.conf\n", "Include /etc/ssh/ours.conf\n").unwrap_err();
        assert!(
            error.to_string().starts_with("/etc/ssh/ours.conf is included by /etc/ssh/other.conf"),
            "{error}"
        );
    }
}
