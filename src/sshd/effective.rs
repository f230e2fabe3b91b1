//! What counts: the main file and all that it includes, in the order in which sshd reads them.
//!
//! Source: `parse_server_config_depth`, `sInclude` and `sMatch` of OpenSSH's `servconf.c`. sshd reads twice:
//! first without a connection, when the first value of a keyword wins; then, for a connection, only what
//! stands in `Match` blocks that hold, where the first value wins again and beats the one from before.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    config::{File, Malformed, Origin},
    config_tree::ConfigTree,
    criteria::{BadMatch, Connection, holds},
    lexer::OpensshVersion,
};

/// The keywords that eic-keys is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyword {
    /// `AuthorizedKeysCommand`
    Command,
    /// `AuthorizedKeysCommandUser`
    User,
}

/// A place where one of them is given a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which.
    pub keyword: Keyword,
    /// The value, as sshd keeps it.
    pub value: Vec<u8>,
    /// Where.
    pub origin: Origin,
    /// The `Match` line that it stands under, if any: where it is, and its criteria.
    pub block: Option<(Origin, String)>,
}

/// What counts for a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// `AuthorizedKeysCommand`, if set
    pub command: Option<Setting>,
    /// `AuthorizedKeysCommandUser`, if set
    pub user: Option<Setting>,
}

/// Why a configuration could not be read. sshd would not start with it either, apart from what is larger than
/// expected.
#[derive(Debug)]
pub enum ReadError {
    /// A file that could not be opened or read, or is larger than a configuration can be.
    Unreadable(PathBuf, io::Error),
    /// A line that sshd refuses.
    Line(Origin, Malformed),
    /// A `Match` line that sshd refuses.
    Match(Origin, BadMatch),
    /// Files include files more than 16 deep, sshd's own limit: a file that includes itself does.
    TooDeep(Origin),
    /// More files than a configuration can have.
    TooMany(Origin),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Line(origin, what) => write!(f, "{origin}: {what}"),
            Self::Match(origin, what) => write!(f, "{origin}: {what}"),
            Self::TooDeep(origin) => write!(f, "{origin}: files include each other more than {DEEPEST} deep"),
            Self::TooMany(origin) => write!(f, "{origin}: more than {MOST_FILES} files are included"),
        }
    }
}

impl std::error::Error for ReadError {}

/// `SERVCONF_MAX_DEPTH`
const DEEPEST: usize = 16;

/// Reads of files in one reading. Real configurations have tens; files that include each other twice would
/// have thousands.
const MOST_FILES: usize = 1000;

/// A configuration, read whole.
#[derive(Clone, Debug)]
pub struct Config {
    version: OpensshVersion,
    main: PathBuf,
    files: BTreeMap<PathBuf, File>,
    /// What each argument of `Include` stood for when it was read first; sshd looks once, too.
    included: BTreeMap<Vec<u8>, Vec<PathBuf>>,
    settings: Vec<Setting>,
}

impl Config {
    /// Reads `main` and what it includes from `source`.
    ///
    /// # Errors
    /// What sshd would not read either, and what exceeds the limits here.
    pub fn read(tree: &ConfigTree, main: &Path, version: OpensshVersion) -> Result<Self, ReadError> {
        let mut config = Self {
            version,
            main: main.to_owned(),
            files: BTreeMap::new(),
            included: BTreeMap::new(),
            settings: Vec::new(),
        };
        config.load(tree, main)?;
        let mut reading = Reading { tree: Some(tree), left: MOST_FILES, ..Reading::default() };
        let mut pass = Pass { active: true, ..Pass::default() };
        config.walk(main, 0, &mut pass, &mut reading)?;
        config.settings = reading.all;
        Ok(config)
    }

    /// The main file.
    #[must_use]
    pub fn main(&self) -> Option<&File> {
        self.files.get(&self.main)
    }

    /// Every file that was read, the main file among them.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    /// The files that an argument of `Include` stands for, in sshd's order.
    #[must_use]
    pub fn included(&self, argument: &[u8]) -> &[PathBuf] {
        self.included.get(&under_etc(argument)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The version that it was read as.
    #[must_use]
    pub fn version(&self) -> &OpensshVersion {
        &self.version
    }

    /// Every place where one of the keywords is set, in sshd's order, whether it counts or not.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// What counts for a connection, or for none.
    ///
    /// # Errors
    /// Those of `read`. On a configuration that was read they do not occur again, except a bad address behind `Match` before
    /// OpenSSH 8.4, which sshd itself refuses only when somebody connects.
    pub fn effective(&self, connection: Option<&Connection>) -> Result<Effective, ReadError> {
        let mut copy = self.clone();
        let mut first = Reading { left: MOST_FILES, ..Reading::default() };
        copy.walk(&self.main, 0, &mut Pass { active: true, ..Pass::default() }, &mut first)?;
        let Some(connection) = connection else { return Ok(first.won) };
        let mut second = Reading { connection: Some(connection), left: MOST_FILES, ..Reading::default() };
        let mut pass = Pass { match_only: true, ..Pass::default() };
        copy.walk(&self.main, 0, &mut pass, &mut second)?;
        Ok(Effective {
            command: second.won.command.or(first.won.command),
            user: second.won.user.or(first.won.user),
        })
    }

    fn load(&mut self, tree: &ConfigTree, path: &Path) -> Result<(), ReadError> {
        if !self.files.contains_key(path) {
            let bytes = tree.read(path).map_err(|error| ReadError::Unreadable(path.to_owned(), error))?;
            self.files.insert(path.to_owned(), File::new(path, bytes));
        }
        Ok(())
    }

    /// Reads one file as `parse_server_config_depth` does.
    fn walk(
        &mut self,
        path: &Path,
        depth: usize,
        pass: &mut Pass,
        reading: &mut Reading<'_>,
    ) -> Result<(), ReadError> {
        // A copy, because a line may include further files into `self`; they are small and few.
        let Some(file) = self.files.get(path).cloned() else { return Ok(()) };
        let version = self.version.clone();
        for (origin, statement) in file.statements(&version) {
            let statement = statement.map_err(|what| ReadError::Line(origin.clone(), what))?;
            let Some(statement) = statement else { continue };
            let keyword = match statement.keyword.as_str() {
                "include" => {
                    for argument in statement.arguments.iter().filter(|argument| !argument.is_empty()) {
                        self.include(argument, &origin, depth, pass, reading)?;
                    }
                    continue;
                }
                "match" => {
                    let connection = if pass.never { None } else { reading.connection };
                    let holds = holds(&version, &statement.arguments, connection)
                        .map_err(|what| ReadError::Match(origin.clone(), what))?;
                    pass.active = holds && !pass.never;
                    pass.match_only = false;
                    let criteria =
                        statement.arguments.split(|word| word.starts_with(b"#")).next().unwrap_or_default();
                    pass.block = Some((origin, String::from_utf8_lossy(&criteria.join(&b' ')).into_owned()));
                    continue;
                }
                "authorizedkeyscommand" => Keyword::Command,
                "authorizedkeyscommanduser" => Keyword::User,
                _ => continue,
            };
            let value = match keyword {
                Keyword::Command => statement.value,
                Keyword::User => statement.first_argument().to_vec(),
            };
            let setting = Setting { keyword, value, origin, block: pass.block.clone() };
            reading.set(setting, pass.active);
        }
        Ok(())
    }

    fn include(
        &mut self,
        argument: &[u8],
        origin: &Origin,
        depth: usize,
        pass: &Pass,
        reading: &mut Reading<'_>,
    ) -> Result<(), ReadError> {
        if !argument.starts_with(b"/") && !self.version.includes_relative() {
            return Ok(());
        }
        let argument = under_etc(argument);
        if let (false, Some(tree)) = (self.included.contains_key(&argument), reading.tree) {
            let found = tree.glob(&argument, MOST_FILES);
            self.included.insert(argument.clone(), found);
        }
        let found = self.included.get(&argument).cloned().unwrap_or_default();
        for path in found {
            let depth = depth.saturating_add(1);
            if depth > DEEPEST {
                return Err(ReadError::TooDeep(origin.clone()));
            }
            reading.left = reading.left.checked_sub(1).ok_or_else(|| ReadError::TooMany(origin.clone()))?;
            if let Some(tree) = reading.tree {
                self.load(tree, &path)?;
            }
            // What a `Match` in the file does ends with the file.
            let match_only = pass.match_only && self.version.match_holds_in_included();
            let mut inner = Pass {
                active: pass.active,
                match_only,
                never: !match_only && !pass.active,
                block: pass.block.clone(),
            };
            self.walk(&path, depth, &mut inner, reading)?;
        }
        Ok(())
    }
}

/// An argument of `Include` that does not begin with `/` or `~` is one under `/etc/ssh` (`SSHDIR`), wherever
/// it stands.
fn under_etc(argument: &[u8]) -> Vec<u8> {
    if argument.starts_with(b"/") || argument.starts_with(b"~") {
        return argument.to_vec();
    }
    [b"/etc/ssh/", argument].concat()
}

/// Where a reading stands in a file: whether values count there, and sshd's `SSHCFG_MATCH_ONLY` and
/// `SSHCFG_NEVERMATCH`.
#[derive(Clone, Debug, Default)]
struct Pass {
    active: bool,
    match_only: bool,
    never: bool,
    block: Option<(Origin, String)>,
}

/// One reading of everything.
#[derive(Default)]
struct Reading<'a> {
    /// Where files come from, the first time.
    tree: Option<&'a ConfigTree>,
    connection: Option<&'a Connection>,
    left: usize,
    won: Effective,
    all: Vec<Setting>,
}

impl Reading<'_> {
    fn set(&mut self, setting: Setting, active: bool) {
        self.all.push(setting.clone());
        let slot = match setting.keyword {
            Keyword::Command => &mut self.won.command,
            Keyword::User => &mut self.won.user,
        };
        if active && slot.is_none() {
            *slot = Some(setting);
        }
    }
}
