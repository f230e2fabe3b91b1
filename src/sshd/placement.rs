//! Chooses the place of our lines.

use std::{
    error::Error,
    ffi::OsStr,
    fmt, fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    config::{Config, ReadError, Setting, Values},
    config_file::ConfigFile,
    criteria::ConnectionSpec,
    drop_in::{self, drop_in_paths},
    managed_lines::render,
    query::admin_config,
};
use crate::config_tree::ConfigTree;

/// Why there is no place for our lines.
#[derive(Debug)]
pub(super) enum PlacementError {
    /// The configuration with our lines cannot be read.
    Read(ReadError),
    NoMainFile,
    /// This main file is the vendor's, which is not changed, and it overrides each drop-in.
    VendorFile(PathBuf),
    /// Other lines would override our lines at any place in this main file.
    Overridden(PathBuf),
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(_) => f.write_str("the configuration with the change cannot be read"),
            Self::NoMainFile => f.write_str("there is no main file"),
            Self::VendorFile(main) => {
                let admin = admin_config(main);
                write!(
                    f,
                    "{0} belongs to the vendor and is not changed, and no file in {1} would be effective: \
                     copy {0} to {2}, then run --enable again",
                    main.display(),
                    admin.with_file_name(drop_in::DIRECTORY).display(),
                    admin.display()
                )
            }
            Self::Overridden(main) => {
                write!(
                    f,
                    "at each place in {}, other lines would override the lines of eic-keys: see which lines set \
                     AuthorizedKeysCommand or its user (grep -ri authorizedkeyscommand /etc/ssh), and remove or move \
                     the first of them",
                    main.display()
                )
            }
        }
    }
}

impl Error for PlacementError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::NoMainFile | Self::VendorFile(_) | Self::Overridden(_) => None,
        }
    }
}

/// A configuration without our lines, and what to add.
pub(super) struct Placement<'a> {
    /// The main file, as in sshd's configuration.
    pub(super) main: &'a Path,
    /// The files without our lines.
    pub(super) without: &'a ConfigTree,
    /// That configuration, parsed.
    pub(super) base: &'a Config,
    pub(super) wanted: &'a Values,
    pub(super) comments: &'a [Vec<u8>],
}

impl Placement<'_> {
    /// The configuration with our lines in a place where they are effective: a drop-in if possible, else the main
    /// file, before all lines that would override them.
    pub(super) fn place(&self) -> Result<ConfigTree, PlacementError> {
        let Values { command, user } = self.wanted;
        let lines = render(
            self.comments,
            command.as_deref().unwrap_or_default(),
            user.as_deref().unwrap_or_default(),
        );
        let main = self.base.main().ok_or(PlacementError::NoMainFile)?;
        for path in self.drop_ins(main) {
            if self.without.read(&path).is_ok() {
                continue;
            }
            let after = self.without.with(&path, Some(lines.clone()));
            if self.is_effective(&after, &path)? {
                return Ok(after);
            }
        }
        if admin_config(self.main) != self.main {
            return Err(PlacementError::VendorFile(self.main.to_owned()));
        }
        let after = self.without.with(self.main, Some(self.insert(main, &lines)));
        if self.is_effective(&after, self.main)? {
            return Ok(after);
        }
        Err(PlacementError::Overridden(self.main.to_owned()))
    }

    /// The drop-ins that the main file includes in its global part, in order of preference. Drop-ins of packages
    /// begin with 10 to 60.
    fn drop_ins(&self, main: &ConfigFile) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for (_, statement) in main.statements(self.base.version()) {
            let Ok(Some(statement)) = statement else { continue };
            if statement.keyword == "match" {
                break;
            }
            if statement.keyword == "include" {
                let directory = admin_config(self.main).with_file_name(drop_in::DIRECTORY);
                let exists = is_directory(&self.without.locate(&directory));
                let included = statement.arguments.iter().any(|argument| {
                    let argument = Path::new(OsStr::from_bytes(argument));
                    let parent = argument.parent();
                    parent.is_some_and(|parent| parent.file_name() == Some(drop_in::DIRECTORY.as_ref()))
                });
                if included && exists && !directories.contains(&directory) {
                    directories.push(directory);
                }
            }
        }
        directories.iter().filter_map(|directory| directory.parent()).flat_map(drop_in_paths).collect()
    }

    /// The main file with our lines in its global part: before the first line that sets either keyword, directly or
    /// through an include; else before the first `Match` and the comment above it; else at the end.
    fn insert(&self, main: &ConfigFile, lines: &[u8]) -> Vec<u8> {
        let base = self.base;
        let all: Vec<&[u8]> = main.lines().collect();
        let mut at = all.len();
        for (line, (_, statement)) in main.statements(base.version()).enumerate() {
            let Ok(Some(statement)) = statement else { continue };
            let sets = match statement.keyword.as_str() {
                "authorizedkeyscommand" | "authorizedkeyscommanduser" => true,
                "include" => statement.arguments.iter().any(|argument| {
                    let read = base.included(argument);
                    base.settings().iter().any(|setting| read.contains(&setting.origin.path))
                        || includes_more(base, read)
                }),
                "match" => {
                    let comment = |line: &&&[u8]| line.trim_ascii_start().starts_with(b"#");
                    at = line.saturating_sub(all.iter().take(line).rev().take_while(comment).count());
                    break;
                }
                _ => false,
            };
            if sets {
                at = line;
                break;
            }
        }
        // If the last line has no newline, insert before it. Otherwise removing our lines could not restore the same
        // bytes.
        if at == all.len() && all.last().is_some_and(|last| !last.ends_with(b"\n")) {
            at = at.saturating_sub(1);
        }
        let (before, after) = all.split_at_checked(at).unwrap_or_default();
        [before.concat().as_slice(), lines, after.concat().as_slice()].concat()
    }

    /// Whether our lines in `path` are effective.
    fn is_effective(&self, after: &ConfigTree, path: &Path) -> Result<bool, PlacementError> {
        let config = Config::read(after, self.main, self.base.version().clone());
        let effective = config.and_then(|config| config.effective(Some(&ConnectionSpec::probe())));
        let effective = effective.map_err(PlacementError::Read)?;
        let here = |setting: &Option<Setting>| {
            setting.as_ref().is_some_and(|setting| setting.origin.path == path && setting.block.is_none())
        };
        Ok(effective.values() == *self.wanted && here(&effective.command) && here(&effective.user))
    }
}

/// Whether one of these files has an `Include`, in a configuration that sets either keyword.
fn includes_more(base: &Config, paths: &[PathBuf]) -> bool {
    let includes = |file: &&ConfigFile| {
        paths.iter().any(|path| path == file.path())
            && file
                .statements(base.version())
                .any(|(_, statement)| matches!(statement, Ok(Some(s)) if s.keyword == "include"))
    };
    !base.settings().is_empty() && base.files().any(|file| includes(&file))
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}
