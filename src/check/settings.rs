//! The settings of sshd, from `sshd -T`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::fix::Fix;
use super::report::{CHANGED_SINCE, Mark};
use super::runner::Answer;
use crate::sshd::command_line::SshdOption;
use crate::sshd::config::{ClientBlock, Config, LinePlace, PUBKEY_ACCEPTED_ALGORITHMS, canonical};
use crate::sshd::criteria::{ConnectionSpec, NamedClients};
use crate::sshd::query::{Dump, QueryError, Sshd};

/// The options of a daemon as arguments of `sshd -T`, which is given the file of the configuration elsewhere.
pub(crate) fn option_words(options: &[SshdOption]) -> Vec<OsString> {
    options.iter().filter(|option| option.letter != 'f').flat_map(SshdOption::words).collect()
}

/// The keywords of the AuthorizedKeysCommand, which [`Config::place`] does not have.
pub(crate) const COMMAND: &str = "authorizedkeyscommand";
pub(crate) const COMMAND_USER: &str = "authorizedkeyscommanduser";

/// The output of `sshd -T` for a login of the user, and where its values come from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) dump: Dump,
    /// The canonical name of each keyword, in lower case, and its value.
    pairs: Vec<(String, String)>,
    pub(crate) source: SettingsSource,
}

/// Where sshd's settings come from.
#[derive(Clone, Debug)]
pub(crate) struct SettingsSource {
    /// The connection that the values are for.
    pub(crate) connection: ConnectionSpec,
    /// The files, if they could be parsed.
    pub(crate) config: Option<Config>,
    /// The `-o` options of the running sshd.
    pub(crate) options: Vec<String>,
    /// The options of the running sshd for its sockets and its log.
    pub(crate) daemon_options: Vec<SshdOption>,
    /// The files that were changed after the running sshd read them. Without a running sshd there is none.
    pub(crate) changed_files: Vec<PathBuf>,
    /// The setting by which the running sshd refused the user after that, so that it cannot allow what this one refuses.
    pub(crate) refused_by: Option<&'static str>,
    /// What makes sshd read its files.
    pub(crate) reload: Fix,
    /// What starts sshd again, with the options of its unit.
    pub(crate) restart: Fix,
    /// The sshd that printed them, with those options.
    pub(crate) sshd: Sshd,
    /// The main file.
    pub(crate) main: PathBuf,
    /// Whether the system has sshd's privilege separation directory. systemd creates it when it starts sshd.
    pub(crate) has_directory: bool,
    /// Whether sshd finds a host key.
    pub(crate) has_host_keys: bool,
    /// Why an sshd that is started now does not run: the values are without the lines that it rejects, or with another directory.
    pub(crate) rejected: Option<&'static str>,
}

impl Settings {
    pub(crate) fn new(dump: Dump, source: SettingsSource) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let pairs = dump
            .settings()
            .map(|(keyword, value)| (canonical(&text(keyword).to_ascii_lowercase()).to_owned(), text(value)));
        Self { pairs: pairs.collect(), dump, source }
    }

    /// All values of a keyword, given by its canonical name, in lower case.
    pub(crate) fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(name, _)| name == keyword).map(|(_, value)| value.as_str())
    }

    /// The first value of a keyword, given as for [`Self::all`]. Empty if it is not set.
    pub(crate) fn one(&self, keyword: &str) -> &str {
        let value = self.pairs.iter().find(|(name, _)| name == keyword);
        value.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// The signature algorithms that sshd accepts.
    pub(crate) fn accepted_algorithms(&self) -> Vec<&str> {
        self.items(PUBKEY_ACCEPTED_ALGORITHMS, ',')
    }

    /// The items of all lists that are the values of a keyword.
    pub(crate) fn items<'a>(&'a self, keyword: &'a str, separator: char) -> Vec<&'a str> {
        self.all(keyword).flat_map(|list| list.split(separator)).collect()
    }

    /// Whether a keyword has this value.
    pub(crate) fn is(&self, keyword: &str, value: &str) -> bool {
        self.one(keyword) == value
    }

    /// Where a keyword is set: "FILE line N", with the `Match` line above it, or the command line of sshd.
    pub(crate) fn place(&self, keyword: &str) -> Option<String> {
        if self.on_command_line(keyword) {
            return Some("sshd's command line".to_owned());
        }
        let (config, connection) = (self.source.config.as_ref()?, &self.source.connection);
        if keyword == COMMAND {
            return Some(config.effective(Some(connection)).ok()?.command?.origin.to_string());
        }
        let LinePlace { origin, block } = match keyword {
            COMMAND_USER => self.line_of_user()?,
            _ => config.place(keyword, connection)?,
        };
        Some(match block {
            None => origin.to_string(),
            Some(block) => format!("{origin}, below {block} in line {}", block.origin.line),
        })
    }

    /// The line that sets AuthorizedKeysCommandUser.
    fn line_of_user(&self) -> Option<LinePlace> {
        let config = self.source.config.as_ref()?;
        let user = config.effective(Some(&self.source.connection)).ok()?.user?;
        Some(LinePlace { origin: user.origin, block: user.block })
    }

    /// Whether AuthorizedKeysCommandUser comes from a `Match` block.
    pub(crate) fn command_user_is_in_block(&self) -> bool {
        !self.on_command_line(COMMAND_USER) && self.line_of_user().is_some_and(|line| line.block.is_some())
    }

    /// Whether the AuthorizedKeysCommand comes from sshd's command line.
    pub(crate) fn command_is_on_command_line(&self) -> bool {
        self.on_command_line(COMMAND)
    }

    fn on_command_line(&self, keyword: &str) -> bool {
        // sshd joins the penalties of its command line and of its files: what a file has counts.
        let in_file = |config: &Config| config.place(keyword, &self.source.connection).is_some();
        if keyword == "persourcepenalties" && self.source.config.as_ref().is_some_and(in_file) {
            return false;
        }
        self.source.options.iter().any(|option| {
            let name = option.split(['=', ' ']).next().unwrap_or_default();
            canonical(&name.to_ascii_lowercase()) == keyword
        })
    }

    /// The fix for a setting: what to change, where it is set, and how sshd reads the change.
    pub(crate) fn fix(&self, keyword: &str, change: &str) -> Fix {
        // A reload keeps the options of the command line.
        let on_command_line = self.on_command_line(keyword);
        let reload = if on_command_line { &self.source.restart } else { &self.source.reload };
        reload.after(&match self.place(keyword) {
            Some(place) => format!("{change} ({place})"),
            None => format!("{change} in sshd_config"),
        })
    }

    /// The answer if sshd refuses logins by a setting: a failure, or a warning if the setting is only for some clients,
    /// or if sshd may not have read it yet.
    pub(crate) fn refuses(&self, keyword: &str, note: &str, change: &str) -> Answer<()> {
        let fix = self.fix(keyword, change);
        if let Some(file) = self.changed_file(keyword) {
            let answer = Answer::warn(note, fix, ());
            return answer.breaks_at_latest(&format!(" ({} {CHANGED_SINCE})", file.display()));
        }
        match self.only_some_clients(keyword) {
            Some(clients) => {
                Answer::warn(format!("{note}, for {clients}"), fix, ()).marked(Mark::SomeClients)
            }
            None => Answer::fail(note, fix),
        }
    }

    /// The answer if a setting refuses something of what clients ask for.
    pub(crate) fn warns(&self, keyword: &str, note: impl Into<String>, change: &str) -> Answer<()> {
        let clients = self.only_some_clients(keyword);
        let clients = clients.map(|clients| format!(", for {clients}")).unwrap_or_default();
        Answer::warn(note.into() + &clients, self.fix(keyword, change), ())
    }

    /// Which clients a setting concerns, if a `Match` block makes it depend on the client.
    fn only_some_clients(&self, keyword: &str) -> Option<String> {
        let of_block = || self.clients_of_block(keyword).map(|clients| clients.to_string());
        self.all_but_some(keyword).or_else(of_block)
    }

    /// Which clients a setting concerns, if a `Match` block has another value for some.
    pub(crate) fn all_but_some(&self, keyword: &str) -> Option<String> {
        // The keyword can have the same value there.
        let differs = |block: &ClientBlock| {
            let there = block.sample.as_ref().and_then(|sample| self.of_connection(sample).ok());
            there.is_none_or(|there| match keyword {
                COMMAND_USER => there.dump.user != self.dump.user,
                _ => !there.all(keyword).eq(self.all(keyword)),
            })
        };
        let sets = |block: &ClientBlock| block.lines.iter().any(|(name, _)| canonical(name) == keyword);
        let other = self.client_blocks().into_iter().find(|block| sets(block) && differs(block));
        other.map(|block| format!("all but {}", NamedClients::of(&block.criteria)))
    }

    /// The clients of the `Match` block that sets a keyword, if it names clients.
    pub(crate) fn clients_of_block(&self, keyword: &str) -> Option<NamedClients> {
        let config = self.source.config.as_ref().filter(|_| !self.on_command_line(keyword))?;
        let connection = &self.source.connection;
        let block = match keyword {
            COMMAND => config.effective(Some(connection)).ok()?.command?.block,
            COMMAND_USER => self.line_of_user()?.block,
            _ => config.place(keyword, connection)?.block,
        };
        let clients = NamedClients::of(&block?.criteria);
        (!clients.is_empty() && !self.is_every_port(&clients)).then_some(clients)
    }

    /// Whether all clients are those that connect to a port: the only one that sshd listens on.
    fn is_every_port(&self, clients: &NamedClients) -> bool {
        let port = clients.only_port().filter(|port| self.source.connection.local_port == Some(*port));
        port.is_some_and(|port| self.all("port").all(|other| other == port.to_string()))
    }

    /// The `Match` blocks that apply to some clients only, with a connection of such a client if one can be given.
    pub(crate) fn client_blocks(&self) -> Vec<ClientBlock> {
        let config = self.source.config.as_ref();
        let dns = self.is("usedns", "yes");
        config.map(|config| config.client_blocks(&self.source.connection, dns)).unwrap_or_default()
    }

    /// The settings for another connection, without their places: a check of them fails, whatever client they are for.
    pub(crate) fn of_connection(&self, connection: &ConnectionSpec) -> Result<Self, QueryError> {
        self.asked(&self.source.sshd, connection, &self.source.main)
    }

    /// The settings that sshd would have with other options and this main file.
    pub(crate) fn with_options(&self, options: &[SshdOption], main: &Path) -> Result<Self, QueryError> {
        let sshd = self.source.sshd.clone().with_options(option_words(options));
        sshd.accepts(main)?;
        self.asked(&sshd, &self.source.connection, main)
    }

    /// These settings without their places.
    pub(crate) fn without_places(&self) -> Self {
        let source = SettingsSource { config: None, changed_files: Vec::new(), ..self.source.clone() };
        Self { source, ..self.clone() }
    }

    fn asked(&self, sshd: &Sshd, connection: &ConnectionSpec, main: &Path) -> Result<Self, QueryError> {
        let dump = sshd.dump(main, connection)?;
        let source = SettingsSource {
            config: None,
            changed_files: Vec::new(),
            main: main.to_owned(),
            ..self.source.clone()
        };
        Ok(Self::new(dump, SettingsSource { connection: connection.clone(), sshd: sshd.clone(), ..source }))
    }

    /// The file that sets a keyword, if sshd has not read its current version.
    pub(crate) fn changed_file(&self, keyword: &str) -> Option<&Path> {
        if self.on_command_line(keyword) || self.source.refused_by == Some(keyword) {
            return None;
        }
        let LinePlace { origin, .. } =
            self.source.config.as_ref()?.place(keyword, &self.source.connection)?;
        self.source.changed_files.iter().map(PathBuf::as_path).find(|file| *file == origin.path)
    }
}
