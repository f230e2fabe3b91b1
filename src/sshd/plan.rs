//! What is to be changed, decided before anything is: reads only.

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

/// A file that is to be another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// As sshd names it.
    pub(super) path: PathBuf,
    /// `None`: it is not there.
    pub(super) before: Option<Vec<u8>>,
    /// `None`: it is taken away.
    pub(super) after: Option<Vec<u8>>,
}

/// The two values, `none` being `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) command: Option<Vec<u8>>,
    pub(super) user: Option<Vec<u8>>,
}

/// A decision.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What is decided, and why; for people.
    pub(super) said: Vec<String>,
    /// In the order in which they are made: after each of them sshd starts. None: nothing is to be done.
    pub(super) changes: Vec<Change>,
    /// What has to count afterwards, for `probe()`.
    pub(super) wanted: Values,
    /// The configuration as it will be.
    pub(super) after: ConfigTree,
}

/// Why nothing is done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlanError(pub(super) String);

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> Self {
        Self(format!("the configuration cannot be read: {error}"))
    }
}

/// What a plan is made from.
pub(super) struct Situation<'a> {
    /// The main file, as sshd names it.
    pub(super) main: &'a Path,
    /// The files as they are.
    pub(super) tree: &'a ConfigTree,
    pub(super) version: &'a OpensshVersion,
    /// What sshd says counts for `probe()`; `None` when it cannot be asked.
    pub(super) dump: Option<&'a Dump>,
    /// Our path, as sshd will run it.
    pub(super) program: &'a str,
    /// Whether a command that is there already may be put behind ours.
    pub(super) chain: bool,
    /// Where the system has a user. sshd runs no command at all as a user that it cannot find.
    pub(super) find_user: &'a dyn Fn(&[u8]) -> Option<Found>,
}

/// Where a user was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In a file of this system.
    Local,
    /// By a name service, which may be away for a while.
    Served,
}

/// Whether our lines go with the users that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// They do, or they are not ours to change.
    Fit,
    /// They name a user that is gone.
    Gone,
    /// They leave out a command whose user is there.
    Back,
}

/// The user that runs ours where nobody has named another.
pub(crate) const OWN_USER: &str = "eic-keys";

/// Whether a value of AuthorizedKeysCommandUser has something that sshd expands: it may be another user at each login.
pub(crate) fn is_each_login(user: &[u8]) -> bool {
    user.contains(&b'%')
}

/// A connection that no `Match` block is written for, unless it is for everyone: a user that nobody has, from
/// a network that is reserved for documentation (RFC 5737).
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
    /// Decides how to wire sshd to us.
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
                // Ours stood before it for as long as its user did not exist.
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

    /// Decides how to undo it. `others` are the main files of other daemons: their lines count as well once the program may go.
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

    /// The two values as they have to be, our comments on them, and why.
    fn wanted(
        &self,
        theirs: Option<&Setting>,
        their_user: Option<&Setting>,
        live: &Config,
        said: &mut Vec<String>,
    ) -> Result<(Values, Vec<Vec<u8>>), PlanError> {
        // WiringOptions that an administrator gave ours stay, also when only what is behind it has changed or
        // something else came before it.
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

    /// Whether a command line runs eic-keys: by its own path, or by another that leads to the same file. Not where it is by the name of
    /// AWS's command, which our packages provide: such a line was written for AWS's package.
    fn is_ours(&self, command: &[u8]) -> bool {
        runs(self.version, command, self.program)
            || program(self.version, command).is_some_and(|path| self.leads_to_ours(&path))
                && !runs_aws(self.version, command)
    }

    /// The lines of a configuration that name eic-keys, wherever they stand, for people: once it is gone, sshd finds no keys by them, not
    /// even those of a command behind it.
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

    /// Whether a command line runs eic-keys, or hands it to another program to run.
    fn names_us(&self, command: &[u8]) -> bool {
        let words = words(self.version, command);
        let is_path = |word: &&Vec<u8>| word.starts_with(b"/");
        self.is_ours(command)
            || words.iter().any(|word| word == self.program.as_bytes())
            || !is_aws_command(&words) && words.iter().filter(is_path).any(|word| self.leads_to_ours(word))
    }

    /// Whether the bytes of the main file and of the drop-ins show that nothing there is of ours: for a configuration that cannot be
    /// read as sshd reads it. What cannot be read at all shows nothing.
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

    /// Whether sshd finds a user by this value of AuthorizedKeysCommandUser. sshd expands `%u` in it to the user that logs in, in every
    /// release that has the keyword (`user_key_command_allowed2` in `auth2-pubkey.c`): no single user's lack says anything of it.
    fn runs_as(&self, user: &[u8]) -> bool {
        is_each_login(user) || (self.find_user)(user).is_some()
    }

    /// Whether our lines, where they count, still go with the users that there are. What was set by hand is left alone, and so is the
    /// user of a name service: sshd looks for it at each login, and finds it when the service is back.
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

    /// Notes on what ours will not be asked for: other commands under `Match`.
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

    /// The files without our lines: those that sshd reads, and drop-ins of ours that it does not read any more.
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
            // A file that held nothing else was ours.
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

    /// The configuration as it is, which sshd and the reader have to see alike.
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
        // What is added comes first: in between there are both, never neither.
        changes
            .sort_by_key(|change| change.after.as_ref().map_or(2, |_| usize::from(change.before.is_some())));
        Plan { said, changes, wanted, after }
    }

    fn nothing(&self, said: Vec<String>, effective: &Effective) -> Plan {
        Plan { said, changes: Vec::new(), wanted: values(effective), after: self.tree.clone() }
    }
}

/// The directory of drop-ins, beside the main file.
pub(super) const DROP_INS: &str = "sshd_config.d";

/// What the name of ours is, after its number.
pub(super) const DROP_IN: &[u8] = b"eic-keys.conf";

/// Drop-ins of ours that are looked for.
const MOST_DROP_INS: usize = 100;

/// The files without our lines.
struct Without {
    tree: ConfigTree,
    /// What is to be said of them.
    said: Vec<String>,
    /// The comments of ours that were in them.
    remarks: Vec<Vec<u8>>,
}

/// A configuration and what counts in it.
pub(super) struct View {
    pub(super) config: Config,
    pub(super) effective: Effective,
}

/// The `Match` lines under which what counts stands.
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

/// For people.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
