//! The arguments of the command line, before they are a command.
//!
//! [`crate::cli`] makes a command of them. `--check` reads the line in sshd's configuration with [`key_query`], as sshd's run does.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser};

use crate::authorize::KeyQuery;
use crate::imds::client;
use crate::keys::{Fingerprint, NotAFingerprint};
use crate::limits;
use crate::logins::TimeArgument;
use crate::principal::{PatternError, Principals};
use crate::seconds::{Seconds, decimal, digits};

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Print the keys of a user, for sshd.
    Keys,
    /// `--check`
    Check,
    /// `--logins`
    Logins,
    /// `--enable`
    Enable,
    /// `--disable`
    Disable,
}

impl Mode {
    /// The option that selects it; none for the keys of a user.
    fn option(self) -> &'static str {
        match self {
            Self::Keys => "",
            Self::Check => "--check",
            Self::Logins => "--logins",
            Self::Enable => "--enable",
            Self::Disable => "--disable",
        }
    }
}

/// A row of the table of options.
#[derive(Debug)]
pub(crate) struct OptionRow {
    /// Its name, without `--`.
    name: &'static str,
    /// The name of its value; empty if it takes none.
    value: &'static str,
    /// What it can be used with. Empty if it selects a mode.
    modes: &'static [Mode],
    /// Whether it adds to the values before it.
    repeats: bool,
    /// One line of the help text.
    help: &'static str,
}

impl fmt::Display for OptionRow {
    /// The row in the help text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = format!("--{} {}", self.name, self.value);
        writeln!(f, "  {option:<20} {}", self.help)
    }
}

/// Sets a field to the value of its option, or adds the value to those before.
macro_rules! set_option {
    // An assignment to a field would count as a use of it.
    ($options:ident, $field:ident, $read:ident, $parser:ident, $name:expr) => {
        *$options = Self { $field: $read($parser, $name)?, ..mem::take($options) }
    };
    ($options:ident, $field:ident, $read:ident, $parser:ident, $name:expr, repeated) => {
        $read(&mut $options.$field, $parser)?
    };
}

macro_rules! repeats {
    () => {
        false
    };
    (repeated) => {
        true
    };
}

/// Generates from one table: the options of a command line with their values, the function that reads one of them, and the rows of the
/// help text. A row is `field: type = function that reads the value, "name" "VALUE", [modes], "help";`. If nothing uses the value, the
/// compiler reports that the field is never read.
/// With `repeated` after the function, the option can be repeated, and the function adds its value to those before.
macro_rules! options {
    ($($field:ident: $type:ty = $read:ident $($repeated:ident)?, $name:literal $value:literal, [$($mode:ident),*], $help:literal;)+) => {
        /// The options of a command line.
        #[derive(Debug, Default)]
        #[allow(clippy::struct_excessive_bools, reason = "one for each option without a value")]
        pub(crate) struct Options {
            $(#[doc = $help] pub(crate) $field: $type,)+
        }

        impl Options {
            /// All options except `--help` and `--version`, in the order of the help text.
            pub(crate) const ROWS: &[OptionRow] = &[
                $(OptionRow { name: $name, value: $value, modes: &[$(Mode::$mode),*], repeats: repeats!($($repeated)?), help: $help },)+
            ];

            /// Reads the value of the option with this name. Returns `false` if there is no such option.
            fn read(&mut self, name: &str, parser: &mut Parser) -> Result<bool, UsageError> {
                match name {
                    $($name => set_option!(self, $field, $read, parser, concat!("--", $name) $(, $repeated)?),)+
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}

options! {
    trust_store: Option<PathBuf> = path, "trust-store" "PATH", [Keys, Check],
        "bundle or directory of trusted certificates, PEM (default: the system's trust store)";
    principals: Principals = principal repeated, "principal" "PATTERN", [Keys, Check],
        "accept only keys pushed by IAM principals whose ARN matches; repeatable";
    timeout: Option<Duration> = seconds, "timeout" "SECONDS", [Keys, Check],
        "time limit of the whole run, {least} to {most} (default: {default})";
    imds: Option<SocketAddr> = address, "imds" "ADDRESS", [Keys, Check],
        "metadata service address: IP or IP:PORT (default: {addresses})";
    enable: bool = flag, "enable" "", [],
        "configure sshd to run eic-keys; chain an existing AuthorizedKeysCommand";
    disable: bool = flag, "disable" "", [],
        "remove the lines that --enable added";
    dry_run: bool = flag, "dry-run" "", [Enable, Disable],
        "print what --enable or --disable would change, and change nothing";
    no_chain: bool = flag, "no-chain" "", [Enable],
        "refuse to enable if another AuthorizedKeysCommand is set";
    if_user_missing: bool = flag, "if-user-missing" "", [Enable],
        "enable only if the AuthorizedKeysCommandUser is missing, or an omitted one exists again";
    check: bool = flag, "check" "", [],
        "report why USER cannot log in, and how to fix it; some checks require root";
    rehearse: bool = flag, "rehearse" "", [Check],
        "also log in as USER with a temporary key (root)";
    wait: Option<Duration> = whole_seconds, "wait" "SECONDS", [Check],
        "first wait for a push for USER, {shortest} to {longest}";
    verbose: bool = flag, "verbose" "", [Check],
        "list all checks with their details";
    logins: bool = flag, "logins" "", [],
        "list logins with pushed keys, and the IAM principals that pushed them (root)";
    login_user: Option<OsString> = name, "user" "USER", [Logins],
        "list logins of this user only";
    since: Option<TimeArgument> = time, "since" "TIME", [Logins],
        "list logins since then: 90m, 24h, 7d, 2w, a date, or a time of RFC 3339";
    until: Option<TimeArgument> = time, "until" "TIME", [Logins],
        "list logins until then";
    refused: bool = flag, "refused" "", [Logins],
        "also list refused records";
    json: bool = flag, "json" "", [Check, Logins],
        "print the report of --check or --logins as one JSON document";
}

/// Why the command line is wrong.
#[derive(Debug)]
pub enum UsageError {
    /// There is an unknown option, an option without its value, or an argument too many.
    Syntax(lexopt::Error),
    /// `--help` or `--version` has a value.
    UnexpectedValue(&'static str, OsString),
    /// The value of an option is not valid.
    Value {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What the value must be.
        expected: ValueKind,
    },
    /// The pattern of `--principal` is not valid.
    Principal(PatternError),
    /// The FINGERPRINT is not valid.
    Fingerprint(NotAFingerprint),
    /// There is no USER.
    NoUser,
    /// No command follows `--`.
    NoCommand,
    /// More than one of `--enable`, `--disable`, `--check` and `--logins` is given.
    SeveralModes,
    /// This option cannot be used with this mode.
    NotWith(&'static str, &'static str),
    /// This option can be used with these modes only.
    Needs(&'static str, Vec<&'static str>),
    /// This option is given more than once.
    Repeated(&'static str),
    /// This option without USER.
    NeedsUser(&'static str),
    /// `--check` with a command after `--`.
    CheckWithCommand,
    /// `--logins` with USER as an argument, or a command after `--`.
    LoginsWithUser,
    /// `--enable` or `--disable` with USER, or a command after `--`.
    EnableWithUser,
    /// The command line is not one for sshd.
    PrintsNoKeys,
}

/// What the value of an option must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A number of seconds within [`limits::RUN_RANGE`].
    Seconds,
    /// A whole number of seconds within [`limits::WAIT_RANGE`].
    WholeSeconds,
    /// The address of the metadata service.
    Address,
    /// A time: see [`TimeArgument`].
    Time,
    /// The name of a user.
    UserName,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds => {
                let (least, most) = limits::RUN_RANGE;
                write!(f, "a number of seconds from {} to {}", Seconds(least), Seconds(most))
            }
            Self::WholeSeconds => {
                let (least, most) = limits::WAIT_RANGE;
                write!(f, "a whole number of seconds from {} to {}", least.as_secs(), most.as_secs())
            }
            Self::Address => f.write_str("an address, IP or IP:PORT"),
            Self::Time => f.write_str(
                "a time: 24h or 7d, a date such as 2026-11-21, or RFC 3339 such as 2026-11-21T08:00:00Z",
            ),
            Self::UserName => f.write_str("the name of a user"),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            Self::UnexpectedValue(option, value) => {
                write!(f, "{option} takes no value: {}", value.to_string_lossy())
            }
            Self::Value { option, value, expected } => write!(f, "{option} {value}: not {expected}"),
            Self::Principal(error) => write!(f, "--principal: {error}"),
            Self::Fingerprint(error) => error.fmt(f),
            Self::NoUser => f.write_str("USER is missing (%u in the AuthorizedKeysCommand)"),
            Self::NoCommand => f.write_str("a command is missing after --"),
            Self::SeveralModes => f.write_str("--enable, --disable, --check and --logins exclude each other"),
            Self::NotWith(option, mode) => write!(f, "--{option} cannot be used with {mode}"),
            Self::Needs(option, modes) => write!(f, "--{option} needs {}", modes.join(" or ")),
            Self::Repeated(option) => write!(f, "--{option} is given more than once"),
            Self::NeedsUser(option) => write!(f, "--{option} needs a USER"),
            Self::CheckWithCommand => f.write_str("--check takes no command after --"),
            Self::LoginsWithUser => {
                f.write_str("--logins takes its user from --user, and no command after --")
            }
            Self::EnableWithUser => {
                f.write_str("--enable and --disable take no USER, and no command after --")
            }
            Self::PrintsNoKeys => f.write_str("these arguments print no keys"),
        }
    }
}

impl Error for UsageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Syntax(error) => error.source(),
            Self::Fingerprint(error) => error.source(),
            _ => None,
        }
    }
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::Syntax(error)
    }
}

/// A command line.
#[derive(Debug)]
pub(crate) enum CommandLine {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// All others.
    Arguments(Box<Arguments>),
}

/// The arguments of a command line, without `--help` and `--version`.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) options: Options,
    /// The rows of the given options.
    given: Vec<&'static OptionRow>,
    pub(crate) user: Option<OsString>,
    fingerprint: Option<OsString>,
    /// What follows `--`, if it is there.
    chained_command: Option<Vec<OsString>>,
}

/// Reads the arguments, without the program name.
///
/// # Errors
/// Fails if one of them is wrong by itself.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, UsageError> {
    let mut ours: Vec<OsString> = arguments.into_iter().collect();
    let mut read = Arguments {
        chained_command: ours.iter().position(|argument| argument == "--").map(|end| {
            let command = ours.split_off(end);
            command.into_iter().skip(1).collect()
        }),
        ..Arguments::default()
    };
    let mut parser = Parser::from_args(ours);
    while let Some(argument) = parser.next()? {
        match argument {
            // The rest of the command line is ignored, so `--help` always works.
            Arg::Short('h') => return Ok(CommandLine::Help),
            Arg::Short('V') => return Ok(CommandLine::Version),
            Arg::Long("help") => return without_value(parser, "--help", CommandLine::Help),
            Arg::Long("version") => return without_value(parser, "--version", CommandLine::Version),
            Arg::Long(name) => {
                let name = name.to_owned();
                if !read.options.read(&name, &mut parser)? {
                    return Err(Arg::Long(&name).unexpected().into());
                }
                read.given.extend(Options::ROWS.iter().find(|row| row.name == name));
            }
            Arg::Value(value) if read.user.is_none() => read.user = Some(value),
            Arg::Value(value) if read.fingerprint.is_none() => read.fingerprint = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(CommandLine::Arguments(Box::new(read)))
}

/// The query of a command line that prints keys, as in sshd's configuration.
///
/// # Errors
/// Fails if the command line is wrong, or is for something else.
pub(crate) fn key_query(arguments: impl IntoIterator<Item = OsString>) -> Result<KeyQuery, UsageError> {
    match read(arguments)? {
        CommandLine::Arguments(arguments) if arguments.mode()? == Mode::Keys => arguments.key_query(),
        _ => Err(UsageError::PrintsNoKeys),
    }
}

impl Arguments {
    /// What the command line asks for.
    ///
    /// # Errors
    /// Fails if it asks for several things, or has an option or argument for another.
    pub(crate) fn mode(&self) -> Result<Mode, UsageError> {
        let Options { check, logins, enable, disable, .. } = self.options;
        let mode = match (check, logins, enable, disable) {
            (false, false, false, false) => Mode::Keys,
            (true, false, false, false) => Mode::Check,
            (false, true, false, false) => Mode::Logins,
            (false, false, true, false) => Mode::Enable,
            (false, false, false, true) => Mode::Disable,
            _ => return Err(UsageError::SeveralModes),
        };
        let wrong = |row: &&&OptionRow| !row.modes.is_empty() && !row.modes.contains(&mode);
        if let Some(row) = self.given.iter().find(wrong) {
            return Err(if row.modes.contains(&Mode::Keys) {
                UsageError::NotWith(row.name, mode.option())
            } else {
                UsageError::Needs(row.name, row.modes.iter().map(|mode| mode.option()).collect())
            });
        }
        // In an AuthorizedKeysCommand, the last one counts.
        let once = |row: &&OptionRow| !row.value.is_empty() && !row.repeats && mode != Mode::Keys;
        for (index, row) in self.given.iter().enumerate().filter(|(_, row)| once(row)) {
            if self.given.iter().take(index).any(|before| before.name == row.name) {
                return Err(UsageError::Repeated(row.name));
            }
        }
        let (user, command) = (self.user.is_some(), self.chained_command.is_some());
        match mode {
            Mode::Check if command => Err(UsageError::CheckWithCommand),
            Mode::Enable | Mode::Disable if user || command => Err(UsageError::EnableWithUser),
            Mode::Logins if user || command => Err(UsageError::LoginsWithUser),
            Mode::Keys | Mode::Check | Mode::Logins | Mode::Enable | Mode::Disable => Ok(mode),
        }
    }

    /// The query for the keys of a user.
    ///
    /// # Errors
    /// Fails if USER is missing, or the FINGERPRINT or the chained command is wrong.
    pub(crate) fn key_query(self) -> Result<KeyQuery, UsageError> {
        if self.chained_command.as_ref().is_some_and(Vec::is_empty) {
            return Err(UsageError::NoCommand);
        }
        let fingerprint = self.fingerprint()?;
        let Options { trust_store, principals, timeout, imds, .. } = self.options;
        Ok(KeyQuery {
            user: self.user.ok_or(UsageError::NoUser)?,
            fingerprint,
            trust_store,
            principals,
            timeout: timeout.unwrap_or(limits::RUN_TIME),
            imds: imds.map_or_else(|| client::ADDRESSES.to_vec(), |address| vec![address]),
            chained_command: self.chained_command,
        })
    }

    /// The FINGERPRINT.
    ///
    /// # Errors
    /// Fails if it is not one.
    pub(crate) fn fingerprint(&self) -> Result<Option<Fingerprint>, UsageError> {
        let text = self.fingerprint.as_deref().unwrap_or_default();
        Fingerprint::parse(text.as_bytes()).map_err(UsageError::Fingerprint)
    }
}

fn without_value(
    mut parser: Parser,
    option: &'static str,
    command: CommandLine,
) -> Result<CommandLine, UsageError> {
    match parser.optional_value() {
        None => Ok(command),
        Some(value) => Err(UsageError::UnexpectedValue(option, value)),
    }
}

/// For an option without a value. lexopt reports a value that is given.
#[expect(clippy::unnecessary_wraps, reason = "as the functions for the other options")]
fn flag(_: &mut Parser, _: &'static str) -> Result<bool, UsageError> {
    Ok(true)
}

fn path(parser: &mut Parser, _: &'static str) -> Result<Option<PathBuf>, UsageError> {
    Ok(Some(parser.value()?.into()))
}

fn name(parser: &mut Parser, option: &'static str) -> Result<Option<OsString>, UsageError> {
    let value = parser.value()?;
    if value.is_empty() {
        return Err(UsageError::Value { option, value: String::new(), expected: ValueKind::UserName });
    }
    Ok(Some(value))
}

fn time(parser: &mut Parser, option: &'static str) -> Result<Option<TimeArgument>, UsageError> {
    value(parser, option, ValueKind::Time, TimeArgument::parse)
}

fn principal(principals: &mut Principals, parser: &mut Parser) -> Result<(), UsageError> {
    principals.add(parser.value()?.as_bytes()).map_err(UsageError::Principal)
}

fn seconds(parser: &mut Parser, option: &'static str) -> Result<Option<Duration>, UsageError> {
    value(parser, option, ValueKind::Seconds, |text| {
        let (least, most) = limits::RUN_RANGE;
        decimal(text).filter(|time| (least..=most).contains(time))
    })
}

fn whole_seconds(parser: &mut Parser, option: &'static str) -> Result<Option<Duration>, UsageError> {
    value(parser, option, ValueKind::WholeSeconds, |text| {
        let (least, most) = limits::WAIT_RANGE;
        digits(text).map(Duration::from_secs).filter(|time| (least..=most).contains(time))
    })
}

fn address(parser: &mut Parser, option: &'static str) -> Result<Option<SocketAddr>, UsageError> {
    value(parser, option, ValueKind::Address, |text| {
        let ip = |text: &str| text.parse::<IpAddr>().ok();
        let bracketed = || ip(text.strip_prefix('[')?.strip_suffix(']')?);
        let with_port = |ip| SocketAddr::new(ip, client::PORT);
        ip(text).or_else(bracketed).map(with_port).or_else(|| text.parse().ok())
    })
}

fn value<T>(
    parser: &mut Parser,
    option: &'static str,
    expected: ValueKind,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, UsageError> {
    let value = parser.value()?;
    let text = value.to_string_lossy();
    match read(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(UsageError::Value { option, value: text.into_owned(), expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, Options};

    /// An option in zsh's completion: the option, its group, and what is not completed beside it.
    struct Completed<'a>(&'a str, &'a str, Vec<&'a str>);

    fn completed(text: &str) -> Vec<Completed<'_>> {
        let mut group = "";
        let mut all = Vec::new();
        for line in text.lines().map(|line| line.trim_matches([' ', '\\'])) {
            group = line.strip_prefix("+ ").unwrap_or(group);
            let parts = line.strip_prefix("'(").and_then(|line| line.split_once(')'));
            if let Some((excluded, option)) = parts {
                let option = option.trim_start_matches('*').split(['=', '[']).next().unwrap_or_default();
                all.push(Completed(option, group, excluded.split(' ').collect()));
            }
        }
        all
    }

    #[test]
    fn zsh_completes_each_option_with_its_modes() {
        let all = completed(include_str!("../packaging/completions/_eic-keys"));
        let find = |name: &str| all.iter().find(|one| one.0 == name);
        let excludes = |one: &Completed<'_>, other: &Completed<'_>| {
            one.2.iter().any(|word| *word == other.0 || *word == other.1)
        };
        for row in Options::ROWS.iter().filter(|row| !row.modes.is_empty()) {
            for mode in [Mode::Check, Mode::Logins, Mode::Enable, Mode::Disable] {
                let name = format!("--{}", row.name);
                let together = find(&name)
                    .zip(find(mode.option()))
                    .map(|(option, mode)| !excludes(option, mode) && !excludes(mode, option));
                assert_eq!(together, Some(row.modes.contains(&mode)), "{name} with {}", mode.option());
            }
        }
    }
}
