//! The configuration: the main file and its includes, read in sshd's order, and the effective settings.
//!
//! Source: `parse_server_config_depth`, `sInclude` and `sMatch` of OpenSSH's `servconf.c`. sshd makes two passes. In
//! the first, without a connection, the first value of a keyword wins. In the second, for a connection, only the
//! values in matching `Match` blocks are read; the first of them wins, and overrides the value of the first pass.

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsStr,
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    config_file::{ConfigFile, Malformed},
    criteria::{BadMatch, ConnectionSpec, applies, depends_on_client, sample},
    query::unless_none,
    version::OpensshVersion,
};
use crate::config_tree::{ConfigTree, Origin};

/// The keywords that eic-keys uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyword {
    /// `AuthorizedKeysCommand`
    Command,
    /// `AuthorizedKeysCommandUser`
    User,
}

/// Whether sshd expands this value of AuthorizedKeysCommandUser, which can then be a different user at each login.
pub(crate) fn is_expanded(user: &[u8]) -> bool {
    user.contains(&b'%')
}

/// A place that sets one of the keywords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub(crate) keyword: Keyword,
    /// The value, as sshd stores it.
    pub value: Vec<u8>,
    pub(crate) origin: Origin,
    /// The `Match` line above it, if any.
    pub(crate) block: Option<MatchLine>,
}

/// A `Match` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatchLine {
    pub(crate) origin: Origin,
    pub(crate) criteria: String,
}

/// `"Match CRITERIA"`
impl fmt::Display for MatchLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"Match {}\"", self.criteria)
    }
}

/// Where a line is.
#[derive(Clone, Debug)]
pub(crate) struct LinePlace {
    pub(crate) origin: Origin,
    /// The `Match` line above it, if any.
    pub(crate) block: Option<MatchLine>,
}

/// A `Match` block for some clients.
#[derive(Clone, Debug)]
pub(crate) struct ClientBlock {
    /// Its first line.
    pub(crate) origin: Origin,
    pub(crate) criteria: String,
    /// The keywords in lower case and their values.
    pub(crate) lines: Vec<(String, String)>,
    /// A connection that it applies to. `None` if none was found.
    pub(crate) sample: Option<ConnectionSpec>,
}

/// The effective settings for a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// `AuthorizedKeysCommand`, if set
    pub command: Option<Setting>,
    /// `AuthorizedKeysCommandUser`, if set
    pub user: Option<Setting>,
}

/// The values of both keywords. sshd's `none` is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) command: Option<Vec<u8>>,
    pub(super) user: Option<Vec<u8>>,
}

impl Effective {
    /// The values, without their origins.
    pub(super) fn values(&self) -> Values {
        let value = |setting: &Option<Setting>| {
            setting.as_ref().and_then(|setting| unless_none(setting.value.clone()))
        };
        Values { command: value(&self.command), user: value(&self.user) }
    }

    /// The `Match` lines whose blocks contain the values.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &MatchLine> {
        [&self.command, &self.user].into_iter().flatten().filter_map(|setting| setting.block.as_ref())
    }
}

/// Why a configuration could not be read. sshd would not start with it either, except where a size limit of eic-keys
/// is exceeded.
#[derive(Debug)]
pub enum ReadError {
    /// A file that could not be opened or read, or is too large.
    Unreadable(PathBuf, io::Error),
    /// A line that sshd rejects.
    Line(Origin, Malformed),
    /// A `Match` line that sshd rejects.
    Match(Origin, BadMatch),
    /// Includes are nested more than 16 deep, which is sshd's limit. A file that includes itself exceeds it.
    TooDeep(Origin),
    /// Too many included files.
    TooMany(Origin),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, _) => path.display().fmt(f),
            Self::Line(origin, _) | Self::Match(origin, _) => origin.fmt(f),
            Self::TooDeep(origin) => write!(f, "{origin}: more than {MAX_DEPTH} levels of included files"),
            Self::TooMany(origin) => write!(f, "{origin}: more than {MAX_FILES} files are included"),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            Self::Line(_, error) => Some(error),
            Self::Match(_, error) => Some(error),
            Self::TooDeep(_) | Self::TooMany(_) => None,
        }
    }
}

/// `SERVCONF_MAX_DEPTH`
const MAX_DEPTH: usize = 16;

/// Maximum number of file reads. Real configurations need tens; files that include each other twice would need
/// thousands.
const MAX_FILES: usize = 1000;

/// A parsed configuration with all included files.
#[derive(Clone, Debug)]
pub struct Config {
    version: OpensshVersion,
    main: PathBuf,
    files: BTreeMap<PathBuf, ConfigFile>,
    /// The files that each `Include` argument expanded to at the first read. sshd also expands it only once.
    included: BTreeMap<Vec<u8>, Vec<PathBuf>>,
    settings: Vec<Setting>,
}

impl Config {
    /// Reads `main` and its includes from `tree`.
    ///
    /// # Errors
    /// The configuration is one that sshd rejects, or exceeds a limit.
    pub fn read(tree: &ConfigTree, main: &Path, version: OpensshVersion) -> Result<Self, ReadError> {
        let mut config = Self {
            version,
            main: main.to_owned(),
            files: BTreeMap::new(),
            included: BTreeMap::new(),
            settings: Vec::new(),
        };
        config.load(tree, main)?;
        let mut pass = Pass { tree: Some(tree), left: MAX_FILES, ..Pass::default() };
        let mut state = FileState { active: true, ..FileState::default() };
        config.walk(main, 0, &mut state, &mut pass)?;
        config.settings = pass.settings;
        Ok(config)
    }

    #[must_use]
    pub(super) fn main(&self) -> Option<&ConfigFile> {
        self.files.get(&self.main)
    }

    /// All files that were read, including the main file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &ConfigFile> {
        self.files.values()
    }

    /// The files that an `Include` argument expands to, in sshd's order.
    #[must_use]
    pub(super) fn included(&self, argument: &[u8]) -> &[PathBuf] {
        self.included.get(&under_etc(argument)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The OpenSSH version that determined the parsing rules.
    #[must_use]
    pub(super) fn version(&self) -> &OpensshVersion {
        &self.version
    }

    /// Each place that sets one of the keywords, in sshd's order, whether effective or not.
    #[must_use]
    pub(crate) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The effective settings for a connection, or without one.
    ///
    /// # Errors
    /// Those of `read`. After a successful `read` only one is possible: an invalid address in `Match` with OpenSSH
    /// before 8.4, which sshd also rejects only when a client connects.
    pub fn effective(&self, connection: Option<&ConnectionSpec>) -> Result<Effective, ReadError> {
        let mut copy = self.clone();
        let mut first = Pass { left: MAX_FILES, ..Pass::default() };
        copy.walk(&self.main, 0, &mut FileState { active: true, ..FileState::default() }, &mut first)?;
        let Some(connection) = connection else { return Ok(first.effective) };
        let mut second = Pass { connection: Some(connection), left: MAX_FILES, ..Pass::default() };
        let mut state = FileState { match_only: true, ..FileState::default() };
        copy.walk(&self.main, 0, &mut state, &mut second)?;
        Ok(Effective {
            command: second.effective.command.or(first.effective.command),
            user: second.effective.user.or(first.effective.user),
        })
    }

    /// The line that sets a keyword, given in lower case, for a connection, and the `Match` line above it, if any.
    pub(crate) fn place(&self, keyword: &str, connection: &ConnectionSpec) -> Option<LinePlace> {
        let keyword = canonical(keyword);
        let look = |connection, mut state: FileState| {
            let mut pass = Pass { connection, left: MAX_FILES, keyword, ..Pass::default() };
            self.clone().walk(&self.main, 0, &mut state, &mut pass).ok()?;
            pass.place
        };
        look(Some(connection), FileState { match_only: true, ..FileState::default() })
            .or_else(|| look(None, FileState { active: true, ..FileState::default() }))
    }

    /// The paths that any line sets for a keyword, given in lower case, and the lines.
    pub(crate) fn paths(&self, keyword: &str) -> Vec<(Origin, PathBuf)> {
        let mut found = Vec::new();
        for (origin, statement) in self.files().flat_map(|file| file.statements(&self.version)) {
            let Ok(Some(statement)) = statement else { continue };
            if statement.keyword == keyword {
                found.push((origin, OsStr::from_bytes(statement.first_argument()).into()));
            }
        }
        found
    }

    /// The `Match` blocks that apply to `connection` from some clients only, and not to `connection` itself, with their
    /// lines: keyword and value. Without `dns`, the name of a client is its address.
    pub(crate) fn client_blocks(&self, connection: &ConnectionSpec, dns: bool) -> Vec<ClientBlock> {
        let mut found: Vec<ClientBlock> = Vec::new();
        for file in self.files() {
            let mut open = false;
            for (origin, statement) in file.statements(&self.version) {
                let Ok(Some(statement)) = statement else { continue };
                if statement.keyword == "match" {
                    let words = statement.criteria();
                    open = depends_on_client(&self.version, words, connection);
                    if open {
                        let criteria = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
                        let sample = sample(&self.version, words, connection, dns);
                        found.push(ClientBlock { origin, criteria, lines: Vec::new(), sample });
                    }
                } else if let Some(block) = found.last_mut().filter(|_| open) {
                    let value = String::from_utf8_lossy(&statement.arguments.join(&b' ')).into_owned();
                    block.lines.push((statement.keyword, value));
                }
            }
        }
        found
    }

    fn load(&mut self, tree: &ConfigTree, path: &Path) -> Result<(), ReadError> {
        if !self.files.contains_key(path) {
            let bytes = tree.read(path).map_err(|error| ReadError::Unreadable(path.to_owned(), error))?;
            self.files.insert(path.to_owned(), ConfigFile::new(path, bytes));
        }
        Ok(())
    }

    /// Reads one file as `parse_server_config_depth` does.
    fn walk(
        &mut self,
        path: &Path,
        depth: usize,
        state: &mut FileState,
        pass: &mut Pass<'_>,
    ) -> Result<(), ReadError> {
        // Copied because a line can add included files to `self`. The files are small and few.
        let Some(file) = self.files.get(path).cloned() else { return Ok(()) };
        let version = self.version.clone();
        for (origin, statement) in file.statements(&version) {
            let statement = statement.map_err(|what| ReadError::Line(origin.clone(), what))?;
            let Some(statement) = statement else { continue };
            let keyword = match statement.keyword.as_str() {
                "include" => {
                    for argument in statement.arguments.iter().filter(|argument| !argument.is_empty()) {
                        self.include(argument, &origin, depth, state, pass)?;
                    }
                    continue;
                }
                "match" => {
                    let connection = if state.never { None } else { pass.connection };
                    let applies = applies(&version, &statement.arguments, connection)
                        .map_err(|what| ReadError::Match(origin.clone(), what))?;
                    state.active = applies && !state.never;
                    state.match_only = false;
                    let criteria = statement.criteria().join(&b' ');
                    state.block =
                        Some(MatchLine { origin, criteria: String::from_utf8_lossy(&criteria).into_owned() });
                    continue;
                }
                "authorizedkeyscommand" => Keyword::Command,
                "authorizedkeyscommanduser" => Keyword::User,
                _ => {
                    if state.active && canonical(&statement.keyword) == pass.keyword {
                        pass.place.get_or_insert_with(|| LinePlace { origin, block: state.block.clone() });
                    }
                    continue;
                }
            };
            let value = match keyword {
                Keyword::Command => statement.value,
                Keyword::User => statement.first_argument().to_vec(),
            };
            let setting = Setting { keyword, value, origin, block: state.block.clone() };
            pass.set(setting, state.active);
        }
        Ok(())
    }

    fn include(
        &mut self,
        argument: &[u8],
        origin: &Origin,
        depth: usize,
        state: &FileState,
        pass: &mut Pass<'_>,
    ) -> Result<(), ReadError> {
        if !argument.starts_with(b"/") && !self.version.includes_relative() {
            return Ok(());
        }
        let argument = under_etc(argument);
        if let (false, Some(tree)) = (self.included.contains_key(&argument), pass.tree) {
            let found = tree.glob(&argument, MAX_FILES);
            self.included.insert(argument.clone(), found);
        }
        let found = self.included.get(&argument).cloned().unwrap_or_default();
        for path in found {
            let depth = depth.saturating_add(1);
            if depth > MAX_DEPTH {
                return Err(ReadError::TooDeep(origin.clone()));
            }
            pass.left = pass.left.checked_sub(1).ok_or_else(|| ReadError::TooMany(origin.clone()))?;
            if let Some(tree) = pass.tree {
                self.load(tree, &path)?;
            }
            // A `Match` ends at the end of its file.
            let match_only = state.match_only && self.version.match_applies_in_included();
            let mut inner = FileState {
                active: state.active,
                match_only,
                never: !match_only && !state.active,
                block: state.block.clone(),
            };
            self.walk(&path, depth, &mut inner, pass)?;
        }
        Ok(())
    }
}

/// The keyword with the signature algorithms that sshd accepts for keys, and its name before OpenSSH 8.5, which later releases take, too.
pub(crate) const PUBKEY_ACCEPTED_ALGORITHMS: &str = "pubkeyacceptedalgorithms";
pub(crate) const PUBKEY_ACCEPTED_KEY_TYPES: &str = "pubkeyacceptedkeytypes";

/// The present name of a keyword, given in lower case.
pub(crate) fn canonical(keyword: &str) -> &str {
    if keyword == PUBKEY_ACCEPTED_KEY_TYPES { PUBKEY_ACCEPTED_ALGORITHMS } else { keyword }
}

/// An `Include` argument that does not begin with `/` or `~` is relative to `/etc/ssh` (`SSHDIR`), in any file.
fn under_etc(argument: &[u8]) -> Vec<u8> {
    if argument.starts_with(b"/") || argument.starts_with(b"~") {
        return argument.to_vec();
    }
    [b"/etc/ssh/", argument].concat()
}

/// The state within a file: whether values are active, and sshd's `SSHCFG_MATCH_ONLY` and `SSHCFG_NEVERMATCH`.
#[derive(Clone, Debug, Default)]
struct FileState {
    active: bool,
    match_only: bool,
    never: bool,
    block: Option<MatchLine>,
}

/// The state of one pass over the configuration.
#[derive(Default)]
struct Pass<'a> {
    /// Where to read files from. `None` if all files were read before.
    tree: Option<&'a ConfigTree>,
    connection: Option<&'a ConnectionSpec>,
    left: usize,
    effective: Effective,
    settings: Vec<Setting>,
    /// Another keyword to look for, and its first line.
    keyword: &'a str,
    place: Option<LinePlace>,
}

impl Pass<'_> {
    fn set(&mut self, setting: Setting, active: bool) {
        self.settings.push(setting.clone());
        let slot = match setting.keyword {
            Keyword::Command => &mut self.effective.command,
            Keyword::User => &mut self.effective.user,
        };
        if active && slot.is_none() {
            *slot = Some(setting);
        }
    }
}
