//! Chooses the place of our lines.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    block::render,
    config::File,
    config_tree::ConfigTree,
    effective::{Config, Setting},
    plan::{DROP_IN, DROP_INS, PlanError, Situation, Values, values},
    query::administrators,
};

impl Situation<'_> {
    /// The configuration with our lines in a place where they are effective: a drop-in if possible, else the main
    /// file, before all lines that would override them.
    pub(super) fn place(
        &self,
        without: &ConfigTree,
        base: &Config,
        wanted: &Values,
        remarks: &[Vec<u8>],
    ) -> Result<ConfigTree, PlanError> {
        let (command, user) =
            (wanted.command.clone().unwrap_or_default(), wanted.user.clone().unwrap_or_default());
        let lines = render(remarks, &command, &user);
        let main = base.main().ok_or_else(|| PlanError("there is no main file".into()))?;
        for name in self.drop_ins(main, base) {
            if without.read(&name).is_ok() {
                continue;
            }
            let after = without.with(&name, Some(lines.clone()));
            if self.wins(&after, wanted, &name)? {
                return Ok(after);
            }
        }
        let administrators = administrators(self.main);
        if administrators != self.main {
            return Err(PlanError(format!(
                "{0} belongs to the vendor and is not changed, and no file in {1} would count: \
                 copy {0} to {2}, then run --enable again",
                self.main.display(),
                administrators.with_file_name(DROP_INS).display(),
                administrators.display()
            )));
        }
        let after = without.with(self.main, Some(Self::inserted(main, base, &lines)));
        if self.wins(&after, wanted, self.main)? {
            return Ok(after);
        }
        Err(PlanError(format!("no place was found in {} where the lines would count", self.main.display())))
    }

    /// The drop-ins that the main file includes in its global part, in order of preference. Drop-ins of packages
    /// begin with 10 to 60.
    fn drop_ins(&self, main: &File, base: &Config) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for (_, statement) in main.statements(base.version()) {
            let Ok(Some(statement)) = statement else { continue };
            if statement.keyword == "match" {
                break;
            }
            if statement.keyword == "include" {
                let directory = administrators(self.main).with_file_name(DROP_INS);
                let here = fs_is_directory(&self.tree.locate(&directory));
                let reads = statement.arguments.iter().any(|argument| {
                    let argument = Path::new(std::ffi::OsStr::from_bytes(argument));
                    argument.parent().is_some_and(|parent| parent.file_name() == Some(DROP_INS.as_ref()))
                });
                if reads && here && !directories.contains(&directory) {
                    directories.push(directory);
                }
            }
        }
        directories.iter().filter_map(|directory| directory.parent()).flat_map(drop_ins).collect()
    }

    /// The main file with our lines in its global part: before the first line that sets either keyword, directly or
    /// through an include; else before the first `Match` and the comment above it; else at the end.
    fn inserted(main: &File, base: &Config, lines: &[u8]) -> Vec<u8> {
        let all: Vec<&[u8]> = main.lines().collect();
        let mut at = all.len();
        for (line, (_, statement)) in main.statements(base.version()).enumerate() {
            let Ok(Some(statement)) = statement else { continue };
            let sets = match statement.keyword.as_str() {
                "authorizedkeyscommand" | "authorizedkeyscommanduser" => true,
                "include" => statement.arguments.iter().any(|argument| {
                    let read = base.included(argument);
                    base.settings().iter().any(|setting| read.contains(&setting.origin.path))
                        || reads_more(base, read)
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

    fn wins(&self, after: &ConfigTree, wanted: &Values, path: &Path) -> Result<bool, PlanError> {
        let effective = self.read(after)?.effective;
        let here = |setting: &Option<Setting>| {
            setting.as_ref().is_some_and(|setting| setting.origin.path == path && setting.block.is_none())
        };
        Ok(values(&effective) == *wanted && here(&effective.command) && here(&effective.user))
    }
}

/// The possible names of our drop-in, in order of preference. `ssh` is the directory of the main file.
pub(super) fn drop_ins(ssh: &Path) -> impl Iterator<Item = PathBuf> {
    ["10", "05", "01", "00", "000"].into_iter().map(|number| {
        let name = [number.as_bytes(), b"-", DROP_IN].concat();
        ssh.join(DROP_INS).join(std::ffi::OsStr::from_bytes(&name))
    })
}

/// Whether one of these files has an `Include`, in a configuration that sets either keyword.
fn reads_more(base: &Config, paths: &[PathBuf]) -> bool {
    let includes = |file: &&File| {
        paths.iter().any(|path| path == file.path())
            && file
                .statements(base.version())
                .any(|(_, statement)| matches!(statement, Ok(Some(s)) if s.keyword == "include"))
    };
    !base.settings().is_empty() && base.files().any(|file| includes(&file))
}

fn fs_is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}
