//! Plans the changes. This module only reads.

use std::{
    error::Error,
    ffi::OsStr,
    fmt,
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    config::{Config, Effective, Keyword, MatchLine, ReadError, Setting, Values, is_expanded},
    criteria::ConnectionSpec,
    drop_in,
    managed_lines::{
        chain, chains_itself, has_argument, is_aws_command, left_out_comment, name_service_comment,
        own_command, own_part, parse_left_out, program, reads_back, render, runs, runs_aws, strip, words,
    },
    options::OWN_USER,
    placement::{Placement, PlacementError},
    query::{Dump, unless_none},
    version::OpensshVersion,
};
use crate::config_tree::{ConfigTree, Origin};
use crate::error_text::WithCauses;
use crate::lists;
use crate::safe_path;

/// A planned change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileChange {
    /// The path, as in sshd's configuration.
    pub(super) path: PathBuf,
    pub(super) action: FileAction,
}

/// What is done to a file, with its old and new bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileAction {
    Create { new: Vec<u8> },
    Replace { old: Vec<u8>, new: Vec<u8> },
    Remove { old: Vec<u8> },
}

impl FileAction {
    /// The change from `old` to `new`, where `None` is a missing file. `None` if there is no change.
    fn between(old: Option<Vec<u8>>, new: Option<Vec<u8>>) -> Option<Self> {
        match (old, new) {
            (None, None) => None,
            (None, Some(new)) => Some(Self::Create { new }),
            (Some(old), None) => Some(Self::Remove { old }),
            (Some(old), Some(new)) => (old != new).then_some(Self::Replace { old, new }),
        }
    }

    /// The bytes before the change. `None` if the file does not exist.
    pub(super) fn before(&self) -> Option<&[u8]> {
        match self {
            Self::Create { .. } => None,
            Self::Replace { old, .. } | Self::Remove { old } => Some(old),
        }
    }

    /// The bytes after the change. `None` if the file is to be removed.
    pub(super) fn after(&self) -> Option<&[u8]> {
        match self {
            Self::Create { new } | Self::Replace { new, .. } => Some(new),
            Self::Remove { .. } => None,
        }
    }
}

/// A planned change of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Messages for the user: the decision and its reason.
    pub(super) messages: Vec<String>,
    /// In order of execution. sshd can start after each of them. Empty if there is nothing to do.
    pub(super) changes: Vec<FileChange>,
    /// The required effective values for [`ConnectionSpec::probe`].
    pub(super) wanted: Values,
    pub(super) after: ConfigTree,
}

/// Why there is no plan.
#[derive(Debug)]
pub(super) enum PlanError {
    Read(ReadError),
    /// sshd and eic-keys read different effective values.
    Disagreement {
        sshd: Values,
        files: Values,
    },
    /// A `Match` block for every connection has the effective values.
    UnderMatch(MatchLine),
    /// These lines name eic-keys and are not between our markers.
    SetByHand(Vec<String>),
    /// This command gives eic-keys to another program.
    RunsOurs {
        origin: Origin,
        command: String,
    },
    /// This command must not be chained, because of `--no-chain`.
    ChainForbidden {
        origin: Origin,
        command: String,
    },
    /// sshd cannot split this command.
    NotChainable {
        origin: Origin,
        command: String,
    },
    /// A command is set without a user.
    NoUser(Origin),
    /// sshd would read this user differently in our lines.
    UserNotWritable {
        origin: Origin,
        user: String,
    },
    /// There is no place for our lines.
    Placement(PlacementError),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Vec<u8>>| value.as_deref().map_or_else(|| "none".into(), lossy);
        match self {
            Self::Read(_) => f.write_str("the configuration cannot be read"),
            Self::Disagreement { sshd, files } => write!(
                f,
                "sshd reports that AuthorizedKeysCommand is {} (user {}), but its files read as {} (user {}): a configuration that \
                 eic-keys does not understand is not changed",
                text(&sshd.command),
                text(&sshd.user),
                text(&files.command),
                text(&files.user)
            ),
            Self::UnderMatch(block) => write!(
                f,
                "AuthorizedKeysCommand or its user is set under {block} ({}), which applies to every connection \
                 and overrides the lines outside of it: move AuthorizedKeysCommand and AuthorizedKeysCommandUser out of that block, \
                 then run --enable again",
                block.origin
            ),
            Self::SetByHand(lines) => write!(
                f,
                "{}; without the markers of --enable: it was set by hand, so remove it by hand, then run --disable again",
                lines.join("; ")
            ),
            Self::RunsOurs { origin, command } => write!(
                f,
                "{origin} sets AuthorizedKeysCommand to {command}, which gives eic-keys to another program, and eic-keys does not chain \
                 itself: remove that line and its AuthorizedKeysCommandUser, then run --enable again"
            ),
            Self::ChainForbidden { origin, command } => write!(
                f,
                "{origin} sets AuthorizedKeysCommand to {command}, and --no-chain does not allow eic-keys to chain it"
            ),
            Self::NotChainable { origin, command } => write!(
                f,
                "{origin} sets AuthorizedKeysCommand to {command}, which sshd cannot split into words: fix it first"
            ),
            Self::NoUser(origin) => write!(
                f,
                "{origin} sets AuthorizedKeysCommand, and no line but those of --enable sets AuthorizedKeysCommandUser: add the user of that \
                 command after its line, or remove the line; then run --enable again"
            ),
            Self::UserNotWritable { origin, user } => write!(
                f,
                "the AuthorizedKeysCommandUser of {origin}, {user}, cannot be copied: sshd would read another name"
            ),
            Self::Placement(error) => error.fmt(f),
        }
    }
}

impl Error for PlanError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Placement(error) => error.source(),
            _ => None,
        }
    }
}

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// The inputs of a plan.
pub(super) struct Planner<'a> {
    /// The main file, as in sshd's configuration.
    pub(super) main: &'a Path,
    pub(super) tree: &'a ConfigTree,
    pub(super) version: &'a OpensshVersion,
    /// The effective values for [`ConnectionSpec::probe`] from sshd. `None` if sshd cannot be queried.
    pub(super) dump: Option<&'a Dump>,
    /// The path of eic-keys in sshd's configuration.
    pub(super) program: &'a str,
    /// Whether an existing command may be chained.
    pub(super) chain: bool,
    /// Looks up a user. sshd runs no command as a user that it cannot find.
    pub(super) find_user: &'a dyn Fn(&[u8]) -> Option<UserSource>,
}

/// Where a user was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserSource {
    /// In a local file.
    Local,
    /// In a name service, which can be unavailable for a while.
    NameService,
}

/// Whether our lines match the existing users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// They match, or were set by hand.
    Valid,
    /// They name a user that does not exist.
    Missing,
    /// They leave out a command whose user exists again.
    Returned,
}

impl Planner<'_> {
    pub(super) fn enable(&self) -> Result<Plan, PlanError> {
        let current = self.read_and_compare(self.tree)?;
        let stripped = self.without_our_lines(&current.config)?;
        let base = self.read(&stripped.tree)?;
        if let Some(block) = base.effective.blocks().next().cloned() {
            return Err(PlanError::UnderMatch(block));
        }
        let (none, previous) = match &base.effective.command {
            Some(setting) if unless_none(setting.value.clone()).is_none() => (Some(setting), None),
            other => (None, other.as_ref()),
        };
        let previous_user = base.effective.user.as_ref();
        let user_exists = previous_user.is_some_and(|user| self.user_exists(&user.value));
        if let Some(by_hand) = previous.filter(|setting| user_exists && self.is_ours(&setting.value)) {
            return Ok(self.keep_line_by_hand(by_hand, &current, stripped, &base));
        }
        let ours = self.own_command_of(&current.config);
        let treatment = self.treatment(previous, previous_user, &ours)?;
        let mut messages = stripped.messages;
        messages.extend(treatment.message());
        messages.extend(none.map(|setting| {
            format!(
                "Note: {} sets AuthorizedKeysCommand to none; the lines of eic-keys come before it.",
                setting.origin
            )
        }));
        messages.extend(self.notes_on_match_blocks(&base));
        let comments = self.comments(&treatment);
        let wanted = treatment.wanted(ours);
        let is_there = current.effective.values() == wanted && stripped.comments == comments;
        if is_there && current.effective.blocks().next().is_none() {
            let origin =
                current.effective.command.map_or_else(String::new, |setting| setting.origin.to_string());
            messages.insert(
                0,
                format!("Nothing to do: {origin} already sets AuthorizedKeysCommand to eic-keys."),
            );
            return Ok(self.no_change(messages, &current.config.effective(Some(&ConnectionSpec::probe()))?));
        }
        let placement = Placement {
            main: self.main,
            without: &stripped.tree,
            base: &base.config,
            wanted: &wanted,
            comments: &comments,
        };
        let after = placement.place().map_err(PlanError::Placement)?;
        Ok(self.plan(messages, wanted, after))
    }

    /// The plan if a line that was set by hand runs eic-keys: lines of ours, which were before it because its user did not exist, are
    /// removed.
    fn keep_line_by_hand(
        &self,
        by_hand: &Setting,
        current: &ParsedConfig,
        stripped: StrippedConfig,
        base: &ParsedConfig,
    ) -> Plan {
        let StrippedConfig { tree: without, mut messages, .. } = stripped;
        let (origin, shown) = (&by_hand.origin, lossy(&by_hand.value));
        let again = !without.changed().is_empty();
        messages.insert(
            0,
            if again {
                format!("{origin} sets {shown}, by hand: sshd uses it again.")
            } else {
                format!("Nothing to do: {origin} sets AuthorizedKeysCommand to {shown} (set by hand).")
            },
        );
        if chains_itself(self.version, &by_hand.value, self.tree) {
            messages.push(format!(
                "Note: the command after \"--\" in {origin} is eic-keys itself, or AWS's command, which eic-keys replaces: remove it."
            ));
        }
        if again {
            self.plan(messages, base.effective.values(), without)
        } else {
            self.no_change(messages, &current.effective)
        }
    }

    /// Plans `--disable`. `others` are the main files of other daemons. They must not name eic-keys either, because
    /// the program can be removed afterwards.
    pub(super) fn disable(&self, others: &[(u32, PathBuf)]) -> Result<Plan, PlanError> {
        let current = self.read_and_compare(self.tree)?;
        let StrippedConfig { tree: without, mut messages, .. } = self.without_our_lines(&current.config)?;
        let base = self.read(&without)?;
        let mut by_hand = self.lines_with_program(&base.config);
        for (process, file) in others {
            match Config::read(&without, file, self.version.clone()) {
                Ok(config) => by_hand.extend(
                    self.lines_with_program(&config).into_iter().map(|line| format!("{line}, for the sshd with process {process}")),
                ),
                Err(ReadError::Unreadable(_, error)) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => messages.push(format!(
                    "Note: the configuration of the sshd with process {process} cannot be read: {}. If it names eic-keys, remove that.",
                    WithCauses(&error)
                )),
            }
        }
        if !by_hand.is_empty() {
            return Err(PlanError::SetByHand(by_hand));
        }
        let wanted = base.effective.values();
        if without.changed().is_empty() {
            messages.insert(0, "Nothing to do: sshd's configuration has no lines of eic-keys.".into());
            return Ok(self.no_change(messages, &base.effective));
        }
        messages.push(match &wanted.command {
            Some(command) => format!("AuthorizedKeysCommand is {} again.", lossy(command)),
            None => "AuthorizedKeysCommand is no longer set.".into(),
        });
        Ok(self.plan(messages, wanted, without))
    }

    /// The command of our lines, without a chained one. It keeps the administrator's options of eic-keys, even if only the chained command
    /// changed or another setting came before our lines.
    fn own_command_of(&self, current: &Config) -> Vec<u8> {
        let own = current.settings().iter().find(|setting| {
            setting.keyword == Keyword::Command
                && setting.block.is_none()
                && runs(self.version, &setting.value, self.program)
        });
        own.map_or_else(
            || own_command(self.program),
            |setting| own_part(self.version, &setting.value).to_vec(),
        )
    }

    /// What our lines do with the command that is set without them. `ours` is [`Planner::own_command_of`].
    fn treatment<'s>(
        &self,
        previous: Option<&'s Setting>,
        user: Option<&'s Setting>,
        ours: &[u8],
    ) -> Result<Treatment<'s>, PlanError> {
        let Some(previous) = previous else { return Ok(Treatment::Absent) };
        if runs_aws(self.version, &previous.value) {
            return Ok(Treatment::Replace(previous));
        }
        let missing = user.filter(|user| !self.user_exists(&user.value));
        if self.is_ours(&previous.value) {
            return Ok(Treatment::Precede { previous, missing });
        }
        let (origin, command) = (previous.origin.clone(), lossy(&previous.value));
        if self.mentions_program(&previous.value) {
            return match missing {
                Some(_) => Ok(Treatment::Precede { previous, missing }),
                None if self.is_runnable(&previous.value) => Err(PlanError::RunsOurs { origin, command }),
                None => Ok(Treatment::NotRun(previous)),
            };
        }
        if !self.chain {
            return Err(PlanError::ChainForbidden { origin, command });
        }
        let Ok(together) = chain(self.version, ours, &previous.value) else {
            return Err(PlanError::NotChainable { origin, command });
        };
        let Some(user) = user else { return Err(PlanError::NoUser(origin)) };
        if missing.is_some() {
            return Ok(Treatment::LeaveOut { previous, missing: user });
        }
        if !reads_back(self.version, &render(&[], &together, &user.value), &together, &user.value) {
            return Err(PlanError::UserNotWritable { origin, user: lossy(&user.value) });
        }
        Ok(Treatment::Chain { previous, user, together })
    }

    /// Our comments, which the next run reads.
    fn comments(&self, treatment: &Treatment<'_>) -> Vec<Vec<u8>> {
        let comment = match *treatment {
            Treatment::Absent
            | Treatment::Replace(_)
            | Treatment::NotRun(_)
            | Treatment::Precede { missing: None, .. } => None,
            Treatment::Precede { previous, missing: Some(missing) }
            | Treatment::LeaveOut { previous, missing } => {
                Some(left_out_comment(&previous.value, &missing.value))
            }
            Treatment::Chain { user, .. } => {
                let from_service = !is_expanded(&user.value)
                    && (self.find_user)(&user.value) == Some(UserSource::NameService);
                from_service.then(|| name_service_comment(&user.value))
            }
        };
        comment.into_iter().collect()
    }

    /// Whether a command line runs eic-keys: by its path, or by a path that leads to the same file. The name of AWS's
    /// command does not count, although our packages provide it: such a line was written for AWS's package.
    fn is_ours(&self, command: &[u8]) -> bool {
        runs(self.version, command, self.program)
            || program(self.version, command).is_some_and(|path| self.is_own_program(&path))
                && !runs_aws(self.version, command)
    }

    /// Whether sshd would run the program of a command line.
    fn is_runnable(&self, command: &[u8]) -> bool {
        let path = program(self.version, command).unwrap_or_default();
        safe_path::program(&self.tree.locate(Path::new("/")), Path::new(OsStr::from_bytes(&path))).is_ok()
    }

    /// Describes the lines of a configuration that name eic-keys, in any block. Without the program, sshd gets no
    /// keys from them, not even those of a chained command.
    fn lines_with_program(&self, config: &Config) -> Vec<String> {
        let lines = config
            .settings()
            .iter()
            .filter(|setting| setting.keyword == Keyword::Command && self.mentions_program(&setting.value));
        lines
            .map(|setting| {
                let block =
                    setting.block.as_ref().map_or_else(String::new, |block| format!(" under {block}"));
                format!("{} sets {}{block}", setting.origin, lossy(&setting.value))
            })
            .collect()
    }

    /// Whether a command line runs eic-keys, or passes it to another program.
    fn mentions_program(&self, command: &[u8]) -> bool {
        let words = words(self.version, command);
        let is_aws = is_aws_command(&words);
        let is_own = |word: &[u8]| {
            word == self.program.as_bytes() || !is_aws && word.starts_with(b"/") && self.is_own_program(word)
        };
        self.is_ours(command) || has_argument(&words, &is_own)
    }

    /// Whether the main file and the drop-ins contain nothing of eic-keys, from their bytes. This is for a
    /// configuration that sshd's rules cannot parse. `false` if a file cannot be read.
    pub(super) fn has_no_trace_of_ours(&self) -> bool {
        let mut paths = drop_in::files(self.tree, self.main, b"");
        paths.push(self.main.to_owned());
        let shows = |bytes: &[u8]| {
            contains(bytes, self.program.as_bytes()) || strip(self.version, bytes, self.program).is_some()
        };
        paths.len() <= drop_in::MAX_DROP_INS
            && paths.iter().all(|path| match self.tree.read(path) {
                Ok(bytes) => !shows(&bytes),
                Err(error) => error.kind() == ErrorKind::NotFound,
            })
    }

    fn is_own_program(&self, path: &[u8]) -> bool {
        self.tree.same_file(Path::new(OsStr::from_bytes(path)), Path::new(self.program))
    }

    /// Whether sshd finds a user for this value of AuthorizedKeysCommandUser. All releases with the keyword expand `%u` in
    /// it to the user who logs in (`user_key_command_allowed2` in `auth2-pubkey.c`), so a value with `%` is always accepted.
    fn user_exists(&self, user: &[u8]) -> bool {
        is_expanded(user) || (self.find_user)(user).is_some()
    }

    /// Whether our lines, if effective, match the existing users. Lines that were set by hand are left alone. So is a
    /// user from a name service: sshd looks it up at each login, and finds it when the service is available again.
    pub(super) fn users(&self) -> Users {
        self.try_users().unwrap_or(Users::Valid)
    }

    fn try_users(&self) -> Result<Users, PlanError> {
        let current = self.read(self.tree)?;
        let (Some(command), Some(user)) = (&current.effective.command, &current.effective.user) else {
            return Ok(Users::Valid);
        };
        let without = self.without_our_lines(&current.config)?;
        if !runs(self.version, &command.value, self.program)
            || !without.tree.changed().contains_key(&command.origin.path)
        {
            return Ok(Users::Valid);
        }
        if without.comments.iter().any(|comment| parse_left_out(comment).is_some()) {
            let base = self.read(&without.tree)?.effective;
            if base.command.zip(base.user).is_some_and(|(_, user)| self.user_exists(&user.value)) {
                return Ok(Users::Returned);
            }
        }
        let stays =
            self.user_exists(&user.value) || without.comments.contains(&name_service_comment(&user.value));
        Ok(if stays { Users::Valid } else { Users::Missing })
    }

    /// Notes about other commands under `Match`, where eic-keys does not run.
    fn notes_on_match_blocks(&self, base: &ParsedConfig) -> Vec<String> {
        let ours = || lossy(&own_command(self.program));
        let mut messages = Vec::new();
        for setting in base.config.settings() {
            let Some(block) = &setting.block else { continue };
            if setting.keyword != Keyword::Command || self.mentions_program(&setting.value) {
                continue;
            }
            let replacement = unless_none(setting.value.clone())
                .filter(|value| !runs_aws(self.version, value))
                .and_then(|value| chain(self.version, &own_command(self.program), &value).ok());
            let replacement = match replacement {
                Some(line) => lossy(&line),
                None => format!("{}, and its user to {OWN_USER}", ours()),
            };
            messages.push(format!(
                "Note: {} sets AuthorizedKeysCommand to {} under {block}: EC2 Instance Connect does not work there. \
                 To have it there too, change that line to: AuthorizedKeysCommand {replacement}",
                setting.origin,
                lossy(&setting.value)
            ));
        }
        messages
    }

    /// Removes our lines from the files that sshd reads, and from drop-ins of ours that it no longer reads.
    fn without_our_lines(&self, current: &Config) -> Result<StrippedConfig, PlanError> {
        let (mut without, mut messages, mut comments) = (self.tree.clone(), Vec::new(), Vec::new());
        let mut paths: Vec<PathBuf> = current.files().map(|file| file.path().to_owned()).collect();
        for path in drop_in::all_ours(self.tree, self.main) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        for path in paths {
            let bytes = self.tree.read(&path).map_err(|error| ReadError::Unreadable(path.clone(), error))?;
            let Some(stripped) = strip(self.version, &bytes, self.program) else { continue };
            for line in stripped.foreign {
                messages.push(format!(
                    "Note: {} line {line} is between the lines of eic-keys, but is not one of them: it stays.",
                    path.display()
                ));
            }
            comments.extend(stripped.comments);
            // A file without other content was ours.
            let gone = path != self.main && stripped.rest.trim_ascii().is_empty();
            without = without.with(&path, (!gone).then_some(stripped.rest));
        }
        Ok(StrippedConfig { tree: without, messages, comments })
    }

    pub(super) fn read(&self, tree: &ConfigTree) -> Result<ParsedConfig, PlanError> {
        let config = Config::read(tree, self.main, self.version.clone())?;
        let effective = config.effective(Some(&ConnectionSpec::probe()))?;
        Ok(ParsedConfig { config, effective })
    }

    /// The current configuration, after checking that sshd and our parser agree.
    fn read_and_compare(&self, tree: &ConfigTree) -> Result<ParsedConfig, PlanError> {
        let current = self.read(tree)?;
        let files = current.effective.values();
        match self.dump {
            Some(dump) if (&dump.command, &dump.user) != (&files.command, &files.user) => {
                let sshd = Values { command: dump.command.clone(), user: dump.user.clone() };
                Err(PlanError::Disagreement { sshd, files })
            }
            _ => Ok(current),
        }
    }

    fn plan(&self, mut messages: Vec<String>, wanted: Values, after: ConfigTree) -> Plan {
        let mut changes: Vec<FileChange> = Vec::new();
        for (path, new) in after.changed() {
            let Some(action) = FileAction::between(self.tree.read(path).ok(), new.clone()) else { continue };
            if !matches!(action, FileAction::Create { .. }) && self.tree.has_links(path) {
                messages.push(format!(
                    "Note: {0} has another name, by a hard link. {0} is replaced, and the file with the other name is not changed.",
                    path.display()
                ));
            }
            let change = FileChange { path: path.clone(), action };
            // New files come first, so that at each moment there is at least one setting.
            let rank = |change: &FileChange| match change.action {
                FileAction::Create { .. } => 0,
                FileAction::Replace { .. } => 1,
                FileAction::Remove { .. } => 2,
            };
            lists::insert(&mut changes, change, |one, other| rank(one).cmp(&rank(other)));
        }
        Plan { messages, changes, wanted, after }
    }

    fn no_change(&self, messages: Vec<String>, effective: &Effective) -> Plan {
        Plan { messages, changes: Vec::new(), wanted: effective.values(), after: self.tree.clone() }
    }
}

/// What our lines do with the AuthorizedKeysCommand that is set without them, and its user.
enum Treatment<'a> {
    /// There is none.
    Absent,
    /// It is AWS's, which eic-keys replaces.
    Replace(&'a Setting),
    /// It gives eic-keys to a program that sshd does not run: our lines are placed before it.
    NotRun(&'a Setting),
    /// It runs eic-keys, but as no user, or as one that does not exist: our lines are placed before it.
    Precede { previous: &'a Setting, missing: Option<&'a Setting> },
    /// Its user does not exist, so it is not chained.
    LeaveOut { previous: &'a Setting, missing: &'a Setting },
    /// It is chained as `together`, which runs as its user.
    Chain { previous: &'a Setting, user: &'a Setting, together: Vec<u8> },
}

impl Treatment<'_> {
    /// The required values. `ours` is our command without a chained one.
    fn wanted(self, ours: Vec<u8>) -> Values {
        match self {
            Self::Chain { user, together, .. } => {
                Values { command: Some(together), user: Some(user.value.clone()) }
            }
            _ => Values { command: Some(ours), user: Some(OWN_USER.into()) },
        }
    }

    /// The message for the user. `None` if nothing is decided about a command.
    fn message(&self) -> Option<String> {
        let sets = |setting: &Setting| {
            format!("{} sets AuthorizedKeysCommand to {}", setting.origin, lossy(&setting.value))
        };
        let never_runs = |previous, missing: &Setting| {
            format!(
                "Note: {}, to run as the user {}, who does not exist: sshd never runs it.",
                sets(previous),
                lossy(&missing.value)
            )
        };
        match self {
            Self::Absent => Some("No other AuthorizedKeysCommand is set.".into()),
            Self::Replace(previous) => Some(format!(
                "{}, the command of AWS's package ec2-instance-connect. eic-keys replaces it: the line stays, and is not used.",
                sets(previous)
            )),
            Self::NotRun(previous) => Some(format!(
                "Note: {}, a program that sshd cannot run. The line stays, and the lines of eic-keys are placed before it.",
                sets(previous)
            )),
            Self::Precede { missing: None, .. } => None,
            Self::Precede { previous, missing: Some(missing) } => Some(format!(
                "{} The line stays, and the lines of eic-keys are placed before it.",
                never_runs(previous, missing)
            )),
            Self::LeaveOut { previous, missing } => Some(format!(
                "{} It is not chained. To chain it, create that user and run --enable again.",
                never_runs(previous, missing)
            )),
            Self::Chain { previous, user, .. } => {
                let user = &user.value;
                let expanded = if is_expanded(user) { ", which sshd expands at each login" } else { "" };
                Some(format!(
                    "{}: the line stays, and eic-keys chains the command, which runs as {}{expanded}.",
                    sets(previous),
                    lossy(user)
                ))
            }
        }
    }
}

/// The configuration without our lines.
struct StrippedConfig {
    tree: ConfigTree,
    messages: Vec<String>,
    /// Our comments that the files contained.
    comments: Vec<Vec<u8>>,
}

/// A configuration and its effective values.
pub(super) struct ParsedConfig {
    pub(super) config: Config,
    pub(super) effective: Effective,
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Converts bytes to text for messages.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
