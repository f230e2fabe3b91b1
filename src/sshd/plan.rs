//! Plans the changes. This module only reads.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    block::{
        alone, chained, chains_itself, is_aws_command, is_left_out, left_out, own_part, program, reads_back,
        render, runs, runs_aws, served, strip, words,
    },
    config::Origin,
    config_tree::ConfigTree,
    criteria::Connection,
    effective::{Config, Effective, Keyword, ReadError, Setting},
    lexer::OpensshVersion,
    query::{Dump, administrators, unless_none},
};

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The path, as in sshd's configuration.
    pub(super) path: PathBuf,
    /// `None` if the file does not exist.
    pub(super) before: Option<Vec<u8>>,
    /// `None` if the file is to be removed.
    pub(super) after: Option<Vec<u8>>,
}

/// The values of both keywords. `none` is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) command: Option<Vec<u8>>,
    pub(super) user: Option<Vec<u8>>,
}

/// A planned change.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Messages for the user: the decision and its reason.
    pub(super) said: Vec<String>,
    /// In order of execution. sshd can start after each of them. Empty if there is nothing to do.
    pub(super) changes: Vec<Change>,
    /// The required effective values for `probe()`.
    pub(super) wanted: Values,
    /// The configuration after the change.
    pub(super) after: ConfigTree,
}

/// Why the plan is refused, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlanError(pub(super) String);

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> Self {
        Self(format!("the configuration cannot be read: {error}"))
    }
}

/// The inputs of a plan.
pub(super) struct Situation<'a> {
    /// The main file, as in sshd's configuration.
    pub(super) main: &'a Path,
    /// The current files.
    pub(super) tree: &'a ConfigTree,
    pub(super) version: &'a OpensshVersion,
    /// The effective values for `probe()` from sshd. `None` if sshd cannot be queried.
    pub(super) dump: Option<&'a Dump>,
    /// The path of eic-keys in sshd's configuration.
    pub(super) program: &'a str,
    /// Whether an existing command may be chained.
    pub(super) chain: bool,
    /// Looks up a user. sshd runs no command as a user that it cannot find.
    pub(super) find_user: &'a dyn Fn(&[u8]) -> Option<Found>,
}

/// Where a user was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In a local file.
    Local,
    /// In a name service, which can be unavailable for a while.
    Served,
}

/// Whether our lines match the existing users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// They match, or were set by hand.
    Fit,
    /// They name a user that does not exist.
    Gone,
    /// They leave out a command whose user exists again.
    Back,
}

/// The default user that runs eic-keys.
pub(crate) const OWN_USER: &str = "eic-keys";

/// Whether sshd expands this value of AuthorizedKeysCommandUser, which can then be a different user at each login.
pub(crate) fn is_each_login(user: &[u8]) -> bool {
    user.contains(&b'%')
}

/// A connection that only a `Match` block for everyone matches: a user that does not exist, from a network that is
/// reserved for documentation (RFC 5737).
pub(crate) fn probe() -> Connection {
    Connection {
        user: Some("eic-keys-probe".into()),
        groups: Vec::new(),
        host: Some("eic-keys.invalid".into()),
        address: Some("192.0.2.1".into()),
        local_address: Some("192.0.2.2".into()),
        local_port: Some(22),
        routing_domain: None,
    }
}

impl Situation<'_> {
    /// Plans `--enable`.
    pub(super) fn enable(&self) -> Result<Plan, PlanError> {
        let live = self.agreed(self.tree)?;
        let Without { tree: without, mut said, remarks: written } = self.without_ours(&live.config)?;
        let base = self.read(&without)?;
        if let Some((origin, text)) = blocks(&base.effective).next() {
            return Err(PlanError(format!(
                "what counts stands under \"Match {text}\" ({origin}), which holds for everyone and beats all \
                 that stands outside: move AuthorizedKeysCommand and AuthorizedKeysCommandUser out of that block, then run --enable again"
            )));
        }

        let (none, theirs) = match &base.effective.command {
            Some(setting) if unless_none(setting.value.clone()).is_none() => (Some(setting), None),
            other => (None, other.as_ref()),
        };
        let by_hand = theirs.filter(|setting| self.is_ours(&setting.value));
        if let (Some(by_hand), Some(user)) = (by_hand, &base.effective.user) {
            if self.runs_as(&user.value) {
                let shown = lossy(&by_hand.value);
                // Our lines were before it because its user did not exist.
                let again = !without.changed().is_empty();
                said.insert(
                    0,
                    if again {
                        format!("{} sets {shown}, by hand: it counts again.", by_hand.origin)
                    } else {
                        format!("Nothing to do: {} sets {shown}, by hand.", by_hand.origin)
                    },
                );
                if chains_itself(self.version, &by_hand.value, self.tree) {
                    said.push(format!(
                        "Note: what {} has after \"--\" is eic-keys again, or AWS's command that it replaces: take it out.",
                        by_hand.origin
                    ));
                }
                if again {
                    return Ok(self.plan(said, values(&base.effective), without));
                }
                return Ok(self.nothing(said, &live.effective));
            }
        }
        let (wanted, remarks) = self.wanted(theirs, base.effective.user.as_ref(), &live.config, &mut said)?;
        said.extend(
            none.map(|setting| {
                format!("Note: {} sets it to none; our lines come before that.", setting.origin)
            }),
        );
        said.extend(self.elsewhere(&base));
        let here = values(&live.effective);
        if here == wanted && remarks == written && blocks(&live.effective).next().is_none() {
            let origin =
                live.effective.command.map_or_else(String::new, |setting| setting.origin.to_string());
            said.insert(0, format!("Nothing to do: {origin} has sshd ask eic-keys already."));
            return Ok(self.nothing(said, &live.config.effective(Some(&probe()))?));
        }
        let after = self.place(&without, &base.config, &wanted, &remarks)?;
        Ok(self.plan(said, wanted, after))
    }

    /// Plans `--disable`. `others` are the main files of other daemons. They must not name eic-keys either, because
    /// the program can be removed afterwards.
    pub(super) fn disable(&self, others: &[(u32, PathBuf)]) -> Result<Plan, PlanError> {
        let live = self.agreed(self.tree)?;
        let Without { tree: without, mut said, .. } = self.without_ours(&live.config)?;
        let base = self.read(&without)?;
        let mut by_hand = self.naming_us(&base.config);
        for (process, file) in others {
            match Config::read(&without, file, self.version.clone()) {
                Ok(config) => by_hand.extend(
                    self.naming_us(&config).into_iter().map(|line| format!("{line}, for the sshd of process {process}")),
                ),
                Err(ReadError::Unreadable(_, error)) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => said.push(format!(
                    "Note: what the sshd of process {process} reads cannot be read: {error}. If it names eic-keys, take that out."
                )),
            }
        }
        if !by_hand.is_empty() {
            return Err(PlanError(format!(
                "{}; without the markers of --enable: it was set by hand, so take it out by hand, then run this again",
                by_hand.join("; ")
            )));
        }
        let wanted = values(&base.effective);
        if without.changed().is_empty() {
            said.insert(0, "Nothing to do: sshd's configuration has no lines of eic-keys.".into());
            return Ok(self.nothing(said, &base.effective));
        }
        said.push(match &wanted.command {
            Some(command) => format!("AuthorizedKeysCommand is {} again.", lossy(command)),
            None => "AuthorizedKeysCommand is not set any more.".into(),
        });
        Ok(self.plan(said, wanted, without))
    }

    /// The required values, our comments on them, and the messages for the user.
    fn wanted(
        &self,
        theirs: Option<&Setting>,
        their_user: Option<&Setting>,
        live: &Config,
        said: &mut Vec<String>,
    ) -> Result<(Values, Vec<Vec<u8>>), PlanError> {
        // Keep the administrator's options of eic-keys, even if only the chained command changed or another setting
        // came before our lines.
        let own = live.settings().iter().find(|setting| {
            setting.keyword == Keyword::Command
                && setting.block.is_none()
                && runs(self.version, &setting.value, self.program)
        });
        let ours = own
            .map_or_else(|| alone(self.program), |setting| own_part(self.version, &setting.value).to_vec());
        let Some(theirs) = theirs else {
            said.push("Nothing else sets AuthorizedKeysCommand.".into());
            return Ok((Values { command: Some(ours), user: Some(OWN_USER.into()) }, Vec::new()));
        };
        let (origin, command) = (&theirs.origin, lossy(&theirs.value));
        let alone = Values { command: Some(ours.clone()), user: Some(OWN_USER.into()) };
        if runs_aws(self.version, &theirs.value) {
            said.push(format!(
                "{origin} sets AuthorizedKeysCommand to {command}, the command of AWS's package ec2-instance-connect. eic-keys \
                 replaces it: the line stays, and is not used."
            ));
            return Ok((alone, Vec::new()));
        }
        let missing = their_user.filter(|user| !self.runs_as(&user.value));
        let remark = missing.map(|user| left_out(&theirs.value, &user.value));
        let never_runs = missing.map(|user| {
            format!(
                "Note: {origin} sets AuthorizedKeysCommand to {command}, to run as the user {}, who does not exist: sshd never runs it.",
                lossy(&user.value)
            )
        });
        if self.is_ours(&theirs.value) {
            said.extend(
                never_runs.map(|note| format!("{note} The line stays, and our lines come before it.")),
            );
            return Ok((alone, remark.into_iter().collect()));
        }
        if !self.chain {
            return Err(PlanError(format!(
                "{origin} sets AuthorizedKeysCommand to {command}, and --no-chain says not to run it behind eic-keys"
            )));
        }
        let together = chained(self.version, &ours, &theirs.value).map_err(|_| {
            PlanError(format!(
                "{origin} sets AuthorizedKeysCommand to {command}, which sshd itself cannot cut into words: \
                 fix it first"
            ))
        })?;
        let user = their_user.map(|setting| setting.value.clone()).ok_or_else(|| {
            PlanError(format!(
                "{origin} sets AuthorizedKeysCommand, but nothing sets AuthorizedKeysCommandUser: \
                 sshd would not start"
            ))
        })?;
        if let Some(note) = never_runs {
            said.push(format!(
                "{note} It is not chained. To have both, make that user and run --enable again."
            ));
            return Ok((alone, remark.into_iter().collect()));
        }
        if !reads_back(self.version, &render(&[], &together, &user), &together, &user) {
            return Err(PlanError(format!(
                "the AuthorizedKeysCommandUser of {origin}, {}, cannot be written again",
                lossy(&user)
            )));
        }
        let expanded = if is_each_login(&user) { ", which sshd expands at each login" } else { "" };
        said.push(format!(
            "{origin} sets AuthorizedKeysCommand to {command}: it stays there, and runs behind eic-keys, as {}{expanded}.",
            lossy(&user)
        ));
        let service = !is_each_login(&user) && (self.find_user)(&user) == Some(Found::Served);
        let remarks = service.then(|| served(&user)).into_iter().collect();
        Ok((Values { command: Some(together), user: Some(user) }, remarks))
    }

    /// Whether a command line runs eic-keys: by its path, or by a path that leads to the same file. The name of AWS's
    /// command does not count, although our packages provide it: such a line was written for AWS's package.
    fn is_ours(&self, command: &[u8]) -> bool {
        runs(self.version, command, self.program)
            || program(self.version, command).is_some_and(|path| self.leads_to_ours(&path))
                && !runs_aws(self.version, command)
    }

    /// Describes the lines of a configuration that name eic-keys, in any block. Without the program, sshd gets no
    /// keys from them, not even those of a chained command.
    fn naming_us(&self, config: &Config) -> Vec<String> {
        let lines = config
            .settings()
            .iter()
            .filter(|setting| setting.keyword == Keyword::Command && self.names_us(&setting.value));
        lines
            .map(|setting| {
                let block = setting
                    .block
                    .as_ref()
                    .map_or_else(String::new, |(_, criteria)| format!(" under \"Match {criteria}\""));
                format!("{} sets {}{block}", setting.origin, lossy(&setting.value))
            })
            .collect()
    }

    /// Whether a command line runs eic-keys, or passes it to another program.
    fn names_us(&self, command: &[u8]) -> bool {
        let words = words(self.version, command);
        let is_path = |word: &&Vec<u8>| word.starts_with(b"/");
        self.is_ours(command)
            || words.iter().any(|word| word == self.program.as_bytes())
            || !is_aws_command(&words) && words.iter().filter(is_path).any(|word| self.leads_to_ours(word))
    }

    /// Whether the main file and the drop-ins contain nothing of eic-keys, from their bytes. This is for a
    /// configuration that sshd's rules cannot parse. `false` if a file cannot be read.
    pub(super) fn shows_nothing_of_ours(&self) -> bool {
        let directory = administrators(self.main).with_file_name(DROP_INS);
        let mut paths = self.tree.glob(&[directory.as_os_str().as_bytes(), b"/*"].concat(), MOST_DROP_INS);
        paths.push(self.main.to_owned());
        let shows = |bytes: &[u8]| {
            contains(bytes, self.program.as_bytes()) || strip(self.version, bytes, self.program).is_some()
        };
        paths.len() <= MOST_DROP_INS
            && paths.iter().all(|path| match self.tree.read(path) {
                Ok(bytes) => !shows(&bytes),
                Err(error) => error.kind() == ErrorKind::NotFound,
            })
    }

    fn leads_to_ours(&self, path: &[u8]) -> bool {
        self.tree.same_file(Path::new(OsStr::from_bytes(path)), Path::new(self.program))
    }

    /// Whether sshd finds a user for this value of AuthorizedKeysCommandUser. All releases with the keyword expand `%u` in
    /// it to the user who logs in (`user_key_command_allowed2` in `auth2-pubkey.c`), so a value with `%` is always accepted.
    fn runs_as(&self, user: &[u8]) -> bool {
        is_each_login(user) || (self.find_user)(user).is_some()
    }

    /// Whether our lines, if effective, match the existing users. Lines that were set by hand are left alone. So is a
    /// user from a name service: sshd looks it up at each login, and finds it when the service is available again.
    pub(super) fn users(&self) -> Users {
        self.try_users().unwrap_or(Users::Fit)
    }

    fn try_users(&self) -> Result<Users, PlanError> {
        let live = self.read(self.tree)?;
        let (Some(command), Some(user)) = (&live.effective.command, &live.effective.user) else {
            return Ok(Users::Fit);
        };
        let without = self.without_ours(&live.config)?;
        if !runs(self.version, &command.value, self.program)
            || !without.tree.changed().contains_key(&command.origin.path)
        {
            return Ok(Users::Fit);
        }
        if without.remarks.iter().any(|remark| is_left_out(remark).is_some()) {
            let base = self.read(&without.tree)?.effective;
            if base.command.zip(base.user).is_some_and(|(_, user)| self.runs_as(&user.value)) {
                return Ok(Users::Back);
            }
        }
        let stays = self.runs_as(&user.value) || without.remarks.contains(&served(&user.value));
        Ok(if stays { Users::Fit } else { Users::Gone })
    }

    /// Notes about other commands under `Match`, where eic-keys does not run.
    fn elsewhere(&self, base: &View) -> Vec<String> {
        let ours = || lossy(&alone(self.program));
        let mut said = Vec::new();
        for setting in base.config.settings() {
            let Some((_, criteria)) = &setting.block else { continue };
            if setting.keyword != Keyword::Command || self.is_ours(&setting.value) {
                continue;
            }
            let better = unless_none(setting.value.clone())
                .filter(|value| !runs_aws(self.version, value))
                .and_then(|value| chained(self.version, &alone(self.program), &value).ok());
            let better = match better {
                Some(line) => lossy(&line),
                None => format!("{}, and its user to {OWN_USER}", ours()),
            };
            said.push(format!(
                "Note: {} sets AuthorizedKeysCommand to {} under \"Match {criteria}\": EC2 Instance Connect does not work there. \
                 To have it there too, change that line to: AuthorizedKeysCommand {better}",
                setting.origin,
                lossy(&setting.value)
            ));
        }
        said
    }

    /// Removes our lines from the files that sshd reads, and from drop-ins of ours that it no longer reads.
    fn without_ours(&self, live: &Config) -> Result<Without, PlanError> {
        let (mut without, mut said, mut remarks) = (self.tree.clone(), Vec::new(), Vec::new());
        let mut paths: Vec<PathBuf> = live.files().map(|file| file.path().to_owned()).collect();
        let directory = administrators(self.main).with_file_name(DROP_INS);
        for path in
            self.tree.glob(&[directory.as_os_str().as_bytes(), b"/*-", DROP_IN].concat(), MOST_DROP_INS)
        {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        for path in paths {
            let bytes = self.tree.read(&path).map_err(|error| ReadError::Unreadable(path.clone(), error))?;
            let Some(stripped) = strip(self.version, &bytes, self.program) else { continue };
            for line in stripped.foreign {
                said.push(format!(
                    "Note: {} line {line} stands between our lines and is not ours: it stays.",
                    path.display()
                ));
            }
            remarks.extend(stripped.remarks);
            // A file without other content was ours.
            let gone = path != self.main && stripped.rest.trim_ascii().is_empty();
            without = without.with(&path, (!gone).then_some(stripped.rest));
        }
        Ok(Without { tree: without, said, remarks })
    }

    pub(super) fn read(&self, tree: &ConfigTree) -> Result<View, PlanError> {
        let config = Config::read(tree, self.main, self.version.clone())?;
        let effective = config.effective(Some(&probe()))?;
        Ok(View { config, effective })
    }

    /// The current configuration, after checking that sshd and our parser agree.
    fn agreed(&self, tree: &ConfigTree) -> Result<View, PlanError> {
        let live = self.read(tree)?;
        let read = values(&live.effective);
        match self.dump {
            Some(dump) if (&dump.command, &dump.user) != (&read.command, &read.user) => {
                let say = |value: &Option<Vec<u8>>| value.as_deref().map_or_else(|| "none".into(), lossy);
                Err(PlanError(format!(
                    "sshd says that AuthorizedKeysCommand is {} (user {}), its files read as {} (user {}): \
                     nothing is changed that is not understood",
                    say(&dump.command),
                    say(&dump.user),
                    say(&read.command),
                    say(&read.user),
                )))
            }
            _ => Ok(live),
        }
    }

    fn plan(&self, mut said: Vec<String>, wanted: Values, after: ConfigTree) -> Plan {
        let mut changes: Vec<Change> = Vec::new();
        for (path, bytes) in after.changed() {
            let before = self.tree.read(path).ok();
            if before != *bytes {
                if before.is_some() && self.tree.has_links(path) {
                    said.push(format!(
                        "Note: {0} has another name, by a hard link. {0} is replaced, and the file of that name stays as it was.",
                        path.display()
                    ));
                }
                changes.push(Change { path: path.clone(), before, after: bytes.clone() });
            }
        }
        // New files come first, so that at each moment there is at least one setting.
        changes
            .sort_by_key(|change| change.after.as_ref().map_or(2, |_| usize::from(change.before.is_some())));
        Plan { said, changes, wanted, after }
    }

    fn nothing(&self, said: Vec<String>, effective: &Effective) -> Plan {
        Plan { said, changes: Vec::new(), wanted: values(effective), after: self.tree.clone() }
    }
}

/// The directory of drop-ins, in the directory of the main file.
pub(super) const DROP_INS: &str = "sshd_config.d";

/// The name of our drop-in after its number.
pub(super) const DROP_IN: &[u8] = b"eic-keys.conf";

/// Maximum number of drop-ins of ours to look for.
const MOST_DROP_INS: usize = 100;

/// The configuration without our lines.
struct Without {
    tree: ConfigTree,
    /// Messages for the user.
    said: Vec<String>,
    /// Our comments that the files contained.
    remarks: Vec<Vec<u8>>,
}

/// A configuration and its effective values.
pub(super) struct View {
    pub(super) config: Config,
    pub(super) effective: Effective,
}

/// The `Match` lines whose blocks contain the effective values.
fn blocks(effective: &Effective) -> impl Iterator<Item = &(Origin, String)> {
    [&effective.command, &effective.user].into_iter().flatten().filter_map(|setting| setting.block.as_ref())
}

pub(super) fn values(effective: &Effective) -> Values {
    let value =
        |setting: &Option<Setting>| setting.as_ref().and_then(|setting| unless_none(setting.value.clone()));
    Values { command: value(&effective.command), user: value(&effective.user) }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Converts bytes to text for messages.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
